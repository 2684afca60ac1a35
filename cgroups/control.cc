// Removal walks with two descriptors, not one per level: what ran in the container may have left
// a tree of any depth. Must not: follow anything but directories of the one cgroup2 mount.
#include "cgroups/control.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <poll.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <functional>
#include <limits>

#include "base/text.h"
#include "cgroups/files.h"

namespace minirun {
namespace {

using Clock = std::chrono::steady_clock;

Result<std::string> relative(std::string_view path) {
  std::string below;
  for (std::string_view name : split(path, '/')) {
    if (name == "..") return os_error(EXDEV, std::string(path), "contains \"..\"");
    if (name.empty() || name == ".") continue;
    if (!below.empty()) below += '/';
    below += name;
  }
  if (below.empty()) return plain_error(std::string(path), "is the root of the cgroup2 mount");
  return below;
}

// cgroup.events, kept open: a read arms the notification that poll(2) waits for.
class EventsFile {
 public:
  static Result<EventsFile> open(int cgroup) {
    Fd fd(open_beneath(cgroup, "cgroup.events", O_RDONLY));
    if (!fd) return os_error("cgroup.events");
    return EventsFile(std::move(fd));
  }

  Result<CgroupEvents> read() const {
    std::array<char, 256> text;
    const ssize_t n = TEMP_FAILURE_RETRY(::pread(fd_.get(), text.data(), text.size(), 0));
    if (n < 0) return os_error("cgroup.events");
    return parse_cgroup_events({text.data(), static_cast<std::size_t>(n)});
  }

  // True as soon as `wanted` holds; false at the deadline.
  Result<bool> wait(const std::function<bool(const CgroupEvents&)>& wanted,
                    Clock::time_point deadline) const {
    for (;;) {
      if (wanted(TRY(read()))) return true;
      const auto left =
          std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
      if (left <= 0) return false;
      pollfd wait_for{fd_.get(), POLLPRI, 0};
      if (::poll(&wait_for, 1, static_cast<int>(left)) < 0 && errno != EINTR)
        return os_error("cgroup.events", "poll");
    }
  }

 private:
  explicit EventsFile(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
};

bool is_empty(const CgroupEvents& events) {
  return !events.populated;
}

// The cgroups directly below; a directory that just went away has none.
Result<std::vector<std::string>> children(int cgroup) {
  const int fd = open_beneath(cgroup, ".", O_RDONLY | O_DIRECTORY);
  if (fd < 0) {
    if (errno == ENOENT || errno == ENODEV) return std::vector<std::string>();
    return os_error("cgroup directory");
  }
  DIR* directory = ::fdopendir(fd);
  if (directory == nullptr) {
    ::close(fd);
    return os_error("cgroup directory");
  }
  std::vector<std::string> names;
  // NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is ours alone
  while (const dirent* entry = ::readdir(directory)) {
    const std::string_view name = entry->d_name;
    if (entry->d_type == DT_DIR && name != "." && name != "..") names.emplace_back(name);
  }
  ::closedir(directory);
  return names;
}

// Removes all that is below `top`, which nobody lives in any more. `top` is at depth 0 and stays.
// cgroup2 has no rename, so that ".." of a directory below is where we came from.
Status remove_below(int top) {
  Fd current(open_beneath(top, ".", O_RDONLY | O_DIRECTORY));
  if (!current) return os_error("cgroup directory");
  std::vector<std::string> names;  // from `top` down to `current`
  for (;;) {
    std::string busy;
    int busy_errno = 0;
    for (const std::string& name : TRY(children(current.get()))) {
      if (::unlinkat(current.get(), name.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT) continue;
      busy_errno = errno;
      busy = name;
      break;
    }
    if (!busy.empty()) {
      Fd child(open_beneath(current.get(), busy.c_str(), O_RDONLY | O_DIRECTORY));
      if (!child && errno == ENOENT) continue;
      if (!child) return os_error(busy);
      // One without children that is still busy is waited for by the caller.
      if (TRY(children(child.get())).empty()) return os_error(busy_errno, busy);
      names.push_back(busy);
      current = std::move(child);
      continue;
    }
    if (names.empty()) return {};
    Fd parent(::openat(current.get(), "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!parent) return os_error(names.back());
    current = std::move(parent);
    if (::unlinkat(current.get(), names.back().c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT)
      return os_error(names.back());
    names.pop_back();
  }
}

void collect_pids(std::string_view text, std::vector<pid_t>& pids) {
  for (std::string_view word : split_words(text)) {
    pid_t pid = 0;
    std::from_chars(word.data(), word.data() + word.size(), pid);
    if (pid > 0) pids.push_back(pid);
  }
}

Status collect_pids(int cgroup, bool recursive, unsigned depth, std::vector<pid_t>& pids) {
  const auto text = read_beneath(cgroup, "cgroup.procs");
  if (text)
    collect_pids(*text, pids);
  else if (text.error().errnum != EOPNOTSUPP)  // threaded: the processes are listed above it
    return std::unexpected(text.error());
  // Deeper ones than this have no list of pids that anybody would read.
  constexpr unsigned kDepthMax = 64;
  if (!recursive || depth == kDepthMax) return {};
  for (const std::string& name : TRY(children(cgroup))) {
    const Fd child(open_beneath(cgroup, name.c_str(), O_RDONLY | O_DIRECTORY));
    if (!child) continue;  // removed since
    const Status below = collect_pids(child.get(), true, depth + 1, pids);
    if (!below && below.error().errnum != ENODEV && below.error().errnum != ENOENT) return below;
  }
  return {};
}

Status survivors(const CgroupFd& cgroup, const std::string& name, int errnum) {
  const auto pids = cgroup_pids(cgroup, true);
  if (pids && !pids->empty())
    return os_error(errnum, name,
                    fmt::format("processes that do not die: {}", describe_pids(*pids)));
  return os_error(errnum, name, "cannot be removed");
}

// True when nothing lives any more. `patience` is for a wait in which nobody dies: on a starved
// machine hundreds of killed processes take longer than that to go, but they do go.
Result<bool> wait_while_dying(const EventsFile& events, const CgroupFd& cgroup,
                              std::chrono::milliseconds patience) {
  constexpr int kRoundsMax = 5;
  std::size_t alive = std::numeric_limits<std::size_t>::max();
  for (int round = 0; round < kRoundsMax; ++round) {
    if (TRY(events.wait(is_empty, Clock::now() + patience))) return true;
    const std::size_t now = TRY(cgroup_pids(cgroup, true)).size();
    if (now >= alive) return false;
    alive = now;
  }
  return false;
}

Status set_frozen(const CgroupFd& cgroup, bool frozen, std::chrono::milliseconds patience) {
  const auto events = TRY(EventsFile::open(cgroup.get()));
  if (Status written = write_beneath(cgroup.get(), "cgroup.freeze", frozen ? "1" : "0"); !written)
    return written;
  const auto reached = events.wait(
      [frozen](const CgroupEvents& now) { return now.frozen == frozen; }, Clock::now() + patience);
  if (reached && *reached) return {};
  // Never leave it half frozen behind an error.
  if (frozen)
    if (const Status thawed = write_beneath(cgroup.get(), "cgroup.freeze", "0"); !thawed)
      return thawed;
  if (!reached) return std::unexpected(reached.error());
  return os_error(
      ETIMEDOUT, "cgroup.freeze",
      frozen ? "a process in uninterruptible sleep does not stop" : "a cgroup above it is frozen");
}

}  // namespace

CgroupEvents parse_cgroup_events(std::string_view text) {
  CgroupEvents events;
  for (std::string_view line : split(text, '\n')) {
    if (line == "populated 1") events.populated = true;
    if (line == "frozen 1") events.frozen = true;
  }
  return events;
}

Result<DirFd> open_cgroup_mount(const CgroupFacts& facts) {
  if (facts.mount_point.empty()) return plain_error("cgroup2", "is not mounted anywhere");
  DirFd mount(::open(facts.mount_point.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!mount) return os_error(facts.mount_point);
  struct statfs fs{};
  if (::fstatfs(mount.get(), &fs) != 0) return os_error(facts.mount_point);
  if (fs.f_type != CGROUP2_SUPER_MAGIC)
    return plain_error(facts.mount_point, "is not a cgroup2 file system any more");
  return mount;
}

Result<CgroupFd> open_cgroup(const CgroupFacts& facts, std::string_view path) {
  const DirFd mount = TRY(open_cgroup_mount(facts));
  const std::string below = TRY(relative(path));
  CgroupFd cgroup(open_beneath(mount.get(), below.c_str(), O_RDONLY | O_DIRECTORY));
  if (!cgroup) return os_error(std::string(path));
  return cgroup;
}

Result<CgroupFd> open_sub_cgroup(const CgroupFd& cgroup, std::string_view path) {
  std::string below = ".";
  for (std::string_view name : split(path, '/')) {
    if (name == "..") return os_error(EXDEV, std::string(path), "contains \"..\"");
    if (!name.empty()) below.append("/").append(name);
  }
  CgroupFd sub(open_beneath(cgroup.get(), below.c_str(), O_RDONLY | O_DIRECTORY));
  if (!sub) return os_error(std::string(path));
  return sub;
}

Result<CgroupEvents> read_cgroup_events(const CgroupFd& cgroup) {
  return TRY(EventsFile::open(cgroup.get())).read();
}

Status kill_cgroup(const CgroupFd& cgroup) {
  Status killed = write_beneath(cgroup.get(), "cgroup.kill", "1");
  if (!killed && killed.error().errnum == ENODEV) return {};  // removed since it was opened: empty
  return killed;
}

Status kill_cgroup(const CgroupFacts& facts, std::string_view path) {
  return kill_cgroup(TRY(open_cgroup(facts, path)));
}

Result<bool> wait_until_empty(const CgroupFd& cgroup, std::chrono::milliseconds patience) {
  return TRY(EventsFile::open(cgroup.get())).wait(is_empty, Clock::now() + patience);
}

Status freeze_cgroup(const CgroupFd& cgroup, std::chrono::milliseconds patience) {
  return set_frozen(cgroup, true, patience);
}

Status thaw_cgroup(const CgroupFd& cgroup, std::chrono::milliseconds patience) {
  return set_frozen(cgroup, false, patience);
}

Result<std::vector<pid_t>> cgroup_pids(const CgroupFd& cgroup, bool recursive) {
  std::vector<pid_t> pids;
  if (Status done = collect_pids(cgroup.get(), recursive, 0, pids); !done)
    return std::unexpected(done.error());
  return pids;
}

namespace {

Status remove_existing(int parent, const std::string& name, std::chrono::milliseconds patience) {
  // The usual case costs one call: everybody has exited, and there was nothing below.
  if (::unlinkat(parent, name.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT) return {};
  if (errno != EBUSY) return os_error(name);
  const CgroupFd cgroup(open_beneath(parent, name.c_str(), O_RDONLY | O_DIRECTORY));
  if (!cgroup) return errno == ENOENT ? Status() : os_error(name);
  const auto events = TRY(EventsFile::open(cgroup.get()));
  long busy = 0;  // milliseconds in which it was empty and could not be removed
  for (;;) {
    if (Status killed = kill_cgroup(cgroup); !killed)
      return std::unexpected(std::move(killed).error().in(name));
    if (!TRY(wait_while_dying(events, cgroup, patience))) return survivors(cgroup, name, EBUSY);
    const Status below = remove_below(cgroup.get());
    if (!below && below.error().errnum != EBUSY) return below;
    if (::unlinkat(parent, name.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT) return {};
    if (errno != EBUSY) return os_error(name);
    if (++busy > patience.count()) return survivors(cgroup, name, EBUSY);
    // Empty and still busy: a dead process is on its way out of the kernel, and nothing tells us
    // when. A millisecond in poll keeps us off its CPU.
    (void)::poll(nullptr, 0, 1);
  }
}

}  // namespace

Status remove_cgroup_at(int parent, const std::string& name, std::chrono::milliseconds patience) {
  Status removed = remove_existing(parent, name, patience);
  // systemd removes the cgroup of a scope as soon as it is empty, under our hands.
  if (!removed && removed.error().errnum == ENODEV) return {};
  return removed;
}

bool is_shared_parent(std::string_view path) {
  return path == "minirun" || path.ends_with("/minirun");
}

Status remove_cgroup(const CgroupFacts& facts, std::string_view path,
                     std::chrono::milliseconds patience) {
  const DirFd mount = TRY(open_cgroup_mount(facts));
  const std::string below = TRY(relative(path));
  const std::size_t slash = below.rfind('/');
  const std::string name = below.substr(slash == std::string::npos ? 0 : slash + 1);
  const std::string above = slash == std::string::npos ? "." : below.substr(0, slash);
  const Fd parent(open_beneath(mount.get(), above.c_str(), O_PATH | O_DIRECTORY));
  if (!parent) return errno == ENOENT ? Status() : os_error(above);
  if (Status removed = remove_cgroup_at(parent.get(), name, patience); !removed) return removed;
  // EBUSY means that another container is there, and the kernel decides that atomically.
  if (is_shared_parent(above)) (void)::unlinkat(mount.get(), above.c_str(), AT_REMOVEDIR);
  return {};
}

std::string describe_pids(const std::vector<pid_t>& pids) {
  constexpr std::size_t kShown = 5;
  std::string text;
  for (std::size_t i = 0; i < std::min(pids.size(), kShown); ++i) {
    const Fd fd(::open(fmt::format("/proc/{}/comm", pids[i]).c_str(), O_RDONLY | O_CLOEXEC));
    std::string comm = "gone";
    if (fd) comm = read_all(fd.get(), "comm").value_or(comm);
    if (!comm.empty() && comm.back() == '\n') comm.pop_back();
    text += fmt::format("{}{} ({})", i == 0 ? "" : ", ", pids[i], comm);
  }
  if (pids.size() > kShown) text += fmt::format(" and {} more", pids.size() - kShown);
  return text;
}

}  // namespace minirun
