// Owns: the device filter of a container: ordered rules -> BPF instructions -> attached program.
// Must not: touch RLIMIT_MEMLOCK. BPF has not been charged to it since Linux 5.11, and raising it
// needs CAP_SYS_RESOURCE, which many containers lack.
#pragma once

#include <linux/bpf.h>

#include <span>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "spec/model.h"

namespace minirun {

/// What every container may use: mknod of anything (opening it is another matter), null, zero,
/// full, random, urandom, tty, ptmx and the pseudo terminals.
[[nodiscard]] std::span<const DeviceRule> default_device_rules();

/// True when `rules` allow every access to every device, so that no filter is needed.
[[nodiscard]] bool allows_everything(std::span<const DeviceRule> rules);

/// A BPF_PROG_TYPE_CGROUP_DEVICE program. Each requested access bit (read, write, mknod) is
/// decided by the last rule that names it and matches the device; without one it is denied.
[[nodiscard]] std::vector<bpf_insn> compile_device_rules(std::span<const DeviceRule> rules);

/// Loads the program and attaches it beside those that are there already (BPF_F_ALLOW_MULTI; all
/// must allow). Errors: EPERM outside of the first user namespace, or the verifier's last words.
[[nodiscard]] Status attach_device_filter(const CgroupFd& cgroup,
                                          std::span<const DeviceRule> rules);

/// Attaches the new program, then detaches those that were there: no moment without a filter.
/// An empty `rules` denies everything.
[[nodiscard]] Status replace_device_filter(const CgroupFd& cgroup,
                                           std::span<const DeviceRule> rules);

/// How many device programs are attached to this very cgroup (not to its ancestors).
[[nodiscard]] Result<unsigned> count_device_filters(const CgroupFd& cgroup);

}  // namespace minirun
