// Reading of what only `events` shows: a dozen more files, and /proc for the context switches.
// Must not: be used on the way of a start or of a report.
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>
#include <charconv>
#include <memory>

#include "base/file.h"
#include "base/text.h"
#include "cgroups/control.h"
#include "cgroups/files.h"
#include "cgroups/stats.h"

namespace minirun {
namespace {

constexpr std::uint64_t threads_most = 4096;

struct CloseDir {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

/// The names in a directory; nothing when it is gone.
std::vector<std::string> names_in(int fd) {
  std::vector<std::string> names;
  const std::unique_ptr<DIR, CloseDir> directory(::fdopendir(fd));
  if (!directory) return names;
  // NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is ours alone
  while (const dirent* entry = ::readdir(directory.get()))
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  return names;
}

std::string text_of(int cgroup, const std::string& name) {
  std::string text = read_beneath(cgroup, name.c_str()).value_or("");
  while (text.ends_with('\n')) text.pop_back();
  return text;
}

// hugetlb.2MB.current -> "2MB"
void read_hugetlb(int cgroup, DetailedStats& stats) {
  const int fd = open_beneath(cgroup, ".", O_RDONLY | O_DIRECTORY);
  if (fd < 0) return;
  constexpr std::string_view prefix = "hugetlb.", suffix = ".current";
  for (const std::string& name : names_in(fd)) {
    if (!name.starts_with(prefix) || !name.ends_with(suffix)) continue;
    const std::string size =
        name.substr(prefix.size(), name.size() - prefix.size() - suffix.size());
    if (size.find('.') != std::string::npos) continue;  // hugetlb.2MB.rsvd.current
    HugetlbStats& pages = stats.hugetlb[size];
    pages.current = leading_number(text_of(cgroup, name)).value_or(0);
    pages.max = leading_number(text_of(cgroup, fmt::format("hugetlb.{}.max", size)));
    const FlatKeys events =
        parse_flat_keyed(text_of(cgroup, fmt::format("hugetlb.{}.events", size)));
    if (const auto max = events.find("max"); max != events.end()) pages.failures = max->second;
  }
}

// "mlx5_0 hca_handle=2 hca_object=20"
void read_rdma(int cgroup, DetailedStats& stats) {
  const std::string text = text_of(cgroup, "rdma.current");
  for (std::string_view line : split(text, '\n')) {
    const auto words = split_words(line);
    for (std::size_t i = 1; i < words.size(); ++i) {
      const std::size_t equals = words[i].find('=');
      if (equals == std::string_view::npos) continue;
      stats.rdma[std::string(words[0])][std::string(words[i].substr(0, equals))] =
          leading_number(words[i].substr(equals + 1)).value_or(0);
    }
  }
}

std::uint64_t status_number(const std::string& text, std::string_view key) {
  const std::size_t at = text.find(key);
  if (at == std::string::npos) return 0;
  const std::size_t digits = text.find_first_not_of("\t ", at + key.size());
  if (digits == std::string::npos) return 0;
  return leading_number(std::string_view(text).substr(digits)).value_or(0);
}

Status read_switches(const CgroupFd& cgroup, DetailedStats& stats) {
  for (const pid_t pid : TRY(cgroup_pids(cgroup, true))) {
    ++stats.processes;
    const std::string tasks = fmt::format("/proc/{}/task", pid);
    const int fd = ::open(tasks.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) continue;  // it ended since
    for (const std::string& name : names_in(fd)) {
      if (stats.threads == threads_most) {
        stats.switches_truncated = true;
        return {};
      }
      const Result<std::string> text =
          read_file(AT_FDCWD, fmt::format("{}/{}/status", tasks, name));
      if (!text) continue;
      ++stats.threads;
      stats.voluntary_switches += status_number(*text, "\nvoluntary_ctxt_switches:");
      stats.involuntary_switches += status_number(*text, "\nnonvoluntary_ctxt_switches:");
    }
  }
  return {};
}

}  // namespace

Result<DetailedStats> read_detailed_stats(const CgroupFd& cgroup) {
  DetailedStats stats;
  read_hugetlb(cgroup.get(), stats);
  read_rdma(cgroup.get(), stats);
  stats.misc = parse_flat_keyed(text_of(cgroup.get(), "misc.current"));
  stats.cpus = text_of(cgroup.get(), "cpuset.cpus.effective");
  stats.mems = text_of(cgroup.get(), "cpuset.mems.effective");
  TRY(read_switches(cgroup, stats));
  return stats;
}

}  // namespace minirun
