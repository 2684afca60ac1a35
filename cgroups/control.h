// Owns: what is done to a cgroup that exists: kill, freeze, list, remove.
// Must not: create one, or write limits (apply.h). Waiting is poll(2) on cgroup.events, which the
// kernel wakes; the bound is for what never ends by itself, not a protocol.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/host_facts.h"
#include "base/result.h"

namespace minirun {

/// How long removal and freezing wait for the kernel.
inline constexpr std::chrono::milliseconds kCgroupPatience{2000};

struct CgroupEvents {
  bool populated = false;  ///< a live process in it or below it
  bool frozen = false;     ///< everything in it and below it stands still
  bool operator==(const CgroupEvents&) const = default;
};
[[nodiscard]] CgroupEvents parse_cgroup_events(std::string_view text);

/// The root of the cgroup2 mount, verified to be cgroup2 (CGROUP2_SUPER_MAGIC).
[[nodiscard]] Result<DirFd> open_cgroup_mount(const CgroupFacts& facts);

/// An existing cgroup; `path` is below the mount, absolute, without "..".
/// Errors: ENOENT, or EXDEV for a path that leaves the mount.
[[nodiscard]] Result<CgroupFd> open_cgroup(const CgroupFacts& facts, std::string_view path);

/// A cgroup below `cgroup`, for `exec --cgroup`; "" and "/" are the cgroup itself, ".." is refused
/// even where it would stay inside.
[[nodiscard]] Result<CgroupFd> open_sub_cgroup(const CgroupFd& cgroup, std::string_view path);

[[nodiscard]] Result<CgroupEvents> read_cgroup_events(const CgroupFd& cgroup);

/// SIGKILL to every process in it and below it at once, also frozen ones and those being forked
/// (cgroup.kill, Linux 5.14). Does not wait.
[[nodiscard]] Status kill_cgroup(const CgroupFd& cgroup);
[[nodiscard]] Status kill_cgroup(const CgroupFacts& facts, std::string_view path);

/// Waits until nothing lives in it. False when `patience` ran out.
[[nodiscard]] Result<bool> wait_until_empty(const CgroupFd& cgroup,
                                            std::chrono::milliseconds patience = kCgroupPatience);

/// Stops or continues all of it and waits until it stands still or moves. A freeze that does not
/// come about within `patience` is taken back.
[[nodiscard]] Status freeze_cgroup(const CgroupFd& cgroup,
                                   std::chrono::milliseconds patience = kCgroupPatience);
[[nodiscard]] Status thaw_cgroup(const CgroupFd& cgroup,
                                 std::chrono::milliseconds patience = kCgroupPatience);

/// The processes in it, in its order; with `recursive` also those below it. Processes of another
/// pid namespace, which have no number here, are left out.
[[nodiscard]] Result<std::vector<pid_t>> cgroup_pids(const CgroupFd& cgroup, bool recursive);

/// Whether a cgroup (by its path below the mount) is ours by its name: that of all containers,
/// which the last one to leave removes, whoever made it.
[[nodiscard]] bool is_shared_parent(std::string_view path);

/// Kills what lives in the cgroup and removes it and all below it, then "/minirun" if it was the
/// last one there. One that does not exist is fine. Gives up when nobody died for `patience`, and
/// after five times that in any case.
/// Errors: the pids that survived.
[[nodiscard]] Status remove_cgroup(const CgroupFacts& facts, std::string_view path,
                                   std::chrono::milliseconds patience = kCgroupPatience);

/// The same for the cgroup `name` in the directory `parent`, and nothing else.
[[nodiscard]] Status remove_cgroup_at(int parent, const std::string& name,
                                      std::chrono::milliseconds patience = kCgroupPatience);

/// "17 (bash), 19 (sleep)": at most five of `pids`, for messages.
[[nodiscard]] std::string describe_pids(const std::vector<pid_t>& pids);

}  // namespace minirun
