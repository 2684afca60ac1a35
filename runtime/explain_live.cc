// Owns: reading a container's cgroup and those above it for `explain`.
// Must not: write.
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>

#include "base/text.h"
#include "cgroups/control.h"
#include "cgroups/files.h"
#include "runtime/explain.h"

namespace minirun {
namespace {

std::optional<std::string> read_value(int directory, const std::string& file) {
  auto text = read_beneath(directory, file.c_str());
  if (!text) return std::nullopt;
  return std::string(trimmed(*text));
}

std::optional<std::uint64_t> read_number(int directory, const std::string& file) {
  const auto text = read_value(directory, file);
  return text ? parse_limit(*text) : std::nullopt;
}

/// The weights of the children of `parent` that have processes.
struct Siblings {
  std::uint64_t sum = 0;
  unsigned count = 0;
};
Siblings siblings_in(int parent) {
  Siblings result;
  const int copy = open_beneath(parent, ".", O_RDONLY | O_DIRECTORY);
  if (copy < 0) return result;
  DIR* list = ::fdopendir(copy);
  if (list == nullptr) return result;
  while (const dirent* entry = ::readdir(list)) {
    const std::string name = entry->d_name;
    if (entry->d_type != DT_DIR || name == "." || name == "..") continue;
    const auto events = read_value(parent, name + "/cgroup.events");
    if (!events || !parse_cgroup_events(*events).populated) continue;
    if (const auto weight = read_number(parent, name + "/cpu.weight")) {
      result.sum += *weight;
      ++result.count;
    }
  }
  ::closedir(list);
  return result;
}

std::string parent_path(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
}

Result<PathLevel> read_level(const HostFacts& facts, const std::string& path, bool leaf) {
  const CgroupFd cgroup = TRY(open_cgroup(facts.cgroup, path));
  PathLevel level{.name = leaf ? "the container" : path, .path = path};
  const int fd = cgroup.get();
  if (const auto text = read_value(fd, "cpu.max")) level.cpus = parse_cpu_max(*text);
  level.memory_max = read_number(fd, "memory.max");
  level.memory_min = read_number(fd, "memory.min");
  level.memory_low = read_number(fd, "memory.low");
  level.pids_max = read_number(fd, "pids.max");
  level.weight = read_number(fd, "cpu.weight");
  if (level.weight) {
    const std::string above = parent_path(path);
    const DirFd mount = TRY(open_cgroup_mount(facts.cgroup));
    const Fd parent(
        open_beneath(mount.get(), above == "/" ? "." : above.c_str() + 1, O_PATH | O_DIRECTORY));
    const Siblings siblings = siblings_in(parent.get());
    if (siblings.sum > 0) {
      level.share = static_cast<double>(*level.weight) / static_cast<double>(siblings.sum);
      level.among =
          fmt::format("{} ({} of {}, {} group{} with processes)", parent_path(path), *level.weight,
                      siblings.sum, siblings.count, siblings.count == 1 ? "" : "s");
    }
  }
  return level;
}

}  // namespace

Status read_back(Explanation& explanation, const HostFacts& facts, const std::string& path) {
  const CgroupFd cgroup = TRY(open_cgroup(facts.cgroup, path));
  for (ExplainedGroup& group : explanation.groups) {
    if (group.path.empty()) continue;  // the network's: no files of a cgroup
    for (ExplainedValue& value : group.values) {
      const auto actual = read_value(cgroup.get(), value.file);
      value.actual = actual.value_or("(no such file)");
      value.drift = !actual || !same_value(value.file, value.value, *actual, facts.page_size_bytes);
    }
  }
  EffectivePath levels{.who = "the container", .levels = {}, .conclusions = {}};
  for (std::string at = path; at != "/" && !at.empty(); at = parent_path(at))
    levels.levels.push_back(TRY(read_level(facts, at, at == path)));
  conclude(levels);
  explanation.paths = {std::move(levels)};
  return {};
}

}  // namespace minirun
