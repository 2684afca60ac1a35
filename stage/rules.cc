// Owns: the rules of the kernel behind a refusal, in words: which one a step broke and what to do.
// Must not: guess. A row is here only where the call, its errno and the step leave one reason.
#include <fmt/format.h>

#include <cerrno>

#include "stage/step.h"

namespace minirun {
namespace {

using wire::Call;

std::string of_attributes(const Step& step, int errnum) {
  const bool idmapped = step.op == Op::set_attr && step.n[5] >= 0;
  if (idmapped && errnum == EINVAL) return "the kernel cannot idmap a mount of this file system";
  if (idmapped && errnum == EPERM)
    return "idmapping needs CAP_SYS_ADMIN over the file system, and a user namespace of its own";
  if (errnum == EPERM)
    return "the flags ro, nosuid, nodev, noexec and the atime mode of a mount that comes from a "
           "more "
           "privileged namespace cannot be taken back";
  return {};
}

std::string of_new_mount(const Step& step, Call call, int errnum) {
  const std::string_view type = step.text(0);
  if (call == Call::fsopen && errnum == ENODEV)
    return fmt::format("the kernel has no file system \"{}\" (/proc/filesystems lists them)", type);
  if (errnum != EPERM) return {};
  if (type == "sysfs") return "sysfs needs a network namespace that belongs to the user namespace";
  if (type == "proc")
    return "proc needs a pid namespace that belongs to the user namespace, and a /proc of the "
           "caller "
           "that nothing covers";
  if (type == "mqueue") return "mqueue needs an IPC namespace that belongs to the user namespace";
  return "a user namespace may mount only what the kernel marks as safe for it";
}

std::string of_attach(const Step& step, Call call, int errnum) {
  // The kernel says EINVAL, and has no other reason for a mount that was made a moment ago.
  if (call == Call::move_mount && (errnum == ENOTDIR || errnum == EINVAL))
    return "a directory can be mounted only on a directory, and a file only on a file";
  if (errnum == EROFS)
    return "the mount point is missing, and cannot be made in a read-only file system";
  if (call == Call::openat2 && errnum == ELOOP)
    return step.n[4] != 0 ? "the mount point of proc and sysfs must not be reached through a link"
                          : "too many links lead to the mount point";
  if (call == Call::openat2 && errnum == ENOTDIR)
    return "a part of the path to the mount point is not a directory";
  return {};
}

}  // namespace

std::string failure_rule(const Step& step, Call call, int errnum) {
  switch (step.op) {
    case Op::set_attr:
    case Op::set_attr_path:
    case Op::readonly_path:
      return call == Call::mount_setattr ? of_attributes(step, errnum) : std::string();
    case Op::make_mount:
      return of_new_mount(step, call, errnum);
    case Op::attach:
      return of_attach(step, call, errnum);
    case Op::clone_tree:
      if (errnum == ENOENT) return "the source does not exist";
      if (errnum == EINVAL) return "an unbindable mount cannot be bound";
      return {};
    case Op::user_namespace:
      if (call == Call::write && errnum == EPERM)
        return "only root may map ids that are not its own";
      if (call == Call::write && errnum == EINVAL)
        return "the kernel takes ranges that do not overlap, at most 340 of them";
      if (errnum == ENOSPC || errnum == EPERM)
        return "user namespaces are switched off or at their limit (user.max_user_namespaces)";
      return {};
    case Op::set_namespace:
      if (errnum == EINVAL) return "the file is not a namespace of this type";
      if (errnum == EPERM)
        return "joining needs CAP_SYS_ADMIN in the user namespace that the namespace belongs to";
      return {};
    case Op::lsm_label: {
      const std::string_view path = step.text(0);
      const bool apparmor = path.find("apparmor") != path.npos;
      if (call == Call::openat2)
        return apparmor ? "this kernel has no AppArmor, or it is switched off"
                        : "this kernel has no SELinux, or it is switched off";
      if (apparmor && errnum == ENOENT)
        return "the profile is not loaded (apparmor_parser loads it)";
      if (errnum == EINVAL)
        return apparmor ? "AppArmor is switched off" : "not a label of the loaded policy";
      return {};
    }
    case Op::memory_policy:
      if (errnum == ENOSYS) return "this kernel is built without NUMA";
      if (errnum == EINVAL) return "the kernel does not know the mode, or a node is not there";
      return {};
    case Op::scheduler:
      if (errnum == EPERM)
        return "real-time and deadline policies and negative nice values need CAP_SYS_NICE; "
               "SCHED_DEADLINE also a cpuset of all CPUs";
      if (errnum == EBUSY) return "the kernel has no room left for this deadline";
      return {};
    case Op::pivot_root:
      return step.n[2] == 0 && errnum == EINVAL
                 ? "the root of this machine cannot be pivoted away, as that of an initramfs: use "
                   "--no-pivot"
                 : "";
    case Op::io_priority:
      return errnum == EPERM ? "IOPRIO_CLASS_RT needs CAP_SYS_ADMIN or CAP_SYS_NICE"
                             : std::string();
    case Op::rlimit:
      return errnum == EPERM ? "raising a hard limit needs CAP_SYS_RESOURCE" : std::string();
    case Op::seccomp:
      if (errnum == EBUSY) return "a filter with a listener is loaded already";
      return {};
    case Op::attach_root:
      if (call == Call::move_mount && (errnum == ENOTDIR || errnum == EINVAL))
        return "it is not a directory";
      return {};
    case Op::make_overlay:
    case Op::stage_mount:
    case Op::copy_up:
    case Op::propagation:
    case Op::mask:
    case Op::open_file:
    case Op::make_directory:
    case Op::make_node:
    case Op::bind_node:
    case Op::make_symlink:
    case Op::write_file:
    case Op::unshare:
    case Op::become_root:
    case Op::fork_into:
    case Op::new_session:
    case Op::keyring:
    case Op::hostname:
    case Op::domainname:
    case Op::loopback:
    case Op::death_signal:
    case Op::umask_:
    case Op::affinity:
    case Op::personality:
    case Op::dumpable:
    case Op::working_directory:
    case Op::home:
    case Op::bounding:
    case Op::groups:
    case Op::ids:
    case Op::capset:
    case Op::ambient:
    case Op::no_new_privs:
    case Op::console:
    case Op::barrier:
    case Op::listen_start:
    case Op::check_executable:
    case Op::close_fds:
    case Op::reset_signals:
    case Op::execute:
    case Op::fail:
    case Op::die:
    case Op::count_:
      return {};
  }
  return {};
}

}  // namespace minirun
