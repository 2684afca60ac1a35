// Owns: the mount options of OCI runtime-spec 1.3 (config.md "Linux mount options"), one row per
// option: reading, `minirun features` and the tests use this table.
// Must not: mount anything or know a format.
#pragma once

#include <sys/mount.h>

#include <array>
#include <cstdint>
#include <string_view>

#include "spec/model.h"

namespace minirun {

/// What an option does to MountOptions.
enum class MountOptionKind : std::uint8_t {
  set,            ///< a MOUNT_ATTR_* of this mount
  clear,          ///< the opposite
  recursive_set,  ///< the same for the whole tree (mount_setattr, AT_RECURSIVE, Linux 5.12)
  recursive_clear,
  /// One of the access time modes, which are a field of MOUNT_ATTR__ATIME and not single bits.
  atime_mode,
  /// Takes a mode back to the kernel's default, relatime, when `bits` is the mode chosen so far.
  atime_back,
  recursive_atime_mode,
  recursive_atime_back,
  propagation,  ///< MS_* for a mount(2) call of its own
  superblock,   ///< a flag that fsconfig(2) takes by name; of no effect on a bind
  bind,
  recursive_bind,
  remount,
  tmpcopyup,
  idmap,
  recursive_idmap,
  /// Nothing to do on Linux 5.15 and newer: "defaults"; "mand" is gone; "iversion" is what file
  /// systems that can do it always do; "silent" is about the kernel's log.
  nothing,
};

struct MountOptionRow {
  std::string_view name;
  MountOptionKind kind;
  std::uint64_t bits = 0;
};

/// Every option that is not passed on to the file system as it is, sorted by name.
inline constexpr auto mount_option_table = std::to_array<MountOptionRow>({
    {"async", MountOptionKind::superblock},
    {"atime", MountOptionKind::atime_back, MOUNT_ATTR_NOATIME},
    {"bind", MountOptionKind::bind},
    {"defaults", MountOptionKind::nothing},
    {"dev", MountOptionKind::clear, MOUNT_ATTR_NODEV},
    {"diratime", MountOptionKind::clear, MOUNT_ATTR_NODIRATIME},
    {"dirsync", MountOptionKind::superblock},
    {"exec", MountOptionKind::clear, MOUNT_ATTR_NOEXEC},
    {"idmap", MountOptionKind::idmap},
    {"iversion", MountOptionKind::nothing},
    {"lazytime", MountOptionKind::superblock},
    {"loud", MountOptionKind::nothing},
    {"mand", MountOptionKind::nothing},
    {"noatime", MountOptionKind::atime_mode, MOUNT_ATTR_NOATIME},
    {"nodev", MountOptionKind::set, MOUNT_ATTR_NODEV},
    {"nodiratime", MountOptionKind::set, MOUNT_ATTR_NODIRATIME},
    {"noexec", MountOptionKind::set, MOUNT_ATTR_NOEXEC},
    {"noiversion", MountOptionKind::nothing},
    {"nolazytime", MountOptionKind::superblock},
    {"nomand", MountOptionKind::nothing},
    {"norelatime", MountOptionKind::atime_back, MOUNT_ATTR_RELATIME},
    {"nostrictatime", MountOptionKind::atime_back, MOUNT_ATTR_STRICTATIME},
    {"nosuid", MountOptionKind::set, MOUNT_ATTR_NOSUID},
    {"nosymfollow", MountOptionKind::set, MOUNT_ATTR_NOSYMFOLLOW},
    {"private", MountOptionKind::propagation, MS_PRIVATE},
    {"ratime", MountOptionKind::recursive_atime_back, MOUNT_ATTR_NOATIME},
    {"rbind", MountOptionKind::recursive_bind},
    {"rdev", MountOptionKind::recursive_clear, MOUNT_ATTR_NODEV},
    {"rdiratime", MountOptionKind::recursive_clear, MOUNT_ATTR_NODIRATIME},
    {"relatime", MountOptionKind::atime_mode, MOUNT_ATTR_RELATIME},
    {"remount", MountOptionKind::remount},
    {"rexec", MountOptionKind::recursive_clear, MOUNT_ATTR_NOEXEC},
    {"ridmap", MountOptionKind::recursive_idmap},
    {"rnoatime", MountOptionKind::recursive_atime_mode, MOUNT_ATTR_NOATIME},
    {"rnodev", MountOptionKind::recursive_set, MOUNT_ATTR_NODEV},
    {"rnodiratime", MountOptionKind::recursive_set, MOUNT_ATTR_NODIRATIME},
    {"rnoexec", MountOptionKind::recursive_set, MOUNT_ATTR_NOEXEC},
    {"rnorelatime", MountOptionKind::recursive_atime_back, MOUNT_ATTR_RELATIME},
    {"rnostrictatime", MountOptionKind::recursive_atime_back, MOUNT_ATTR_STRICTATIME},
    {"rnosuid", MountOptionKind::recursive_set, MOUNT_ATTR_NOSUID},
    {"rnosymfollow", MountOptionKind::recursive_set, MOUNT_ATTR_NOSYMFOLLOW},
    {"ro", MountOptionKind::set, MOUNT_ATTR_RDONLY},
    {"rprivate", MountOptionKind::propagation, MS_PRIVATE | MS_REC},
    {"rrelatime", MountOptionKind::recursive_atime_mode, MOUNT_ATTR_RELATIME},
    {"rro", MountOptionKind::recursive_set, MOUNT_ATTR_RDONLY},
    {"rrw", MountOptionKind::recursive_clear, MOUNT_ATTR_RDONLY},
    {"rshared", MountOptionKind::propagation, MS_SHARED | MS_REC},
    {"rslave", MountOptionKind::propagation, MS_SLAVE | MS_REC},
    {"rstrictatime", MountOptionKind::recursive_atime_mode, MOUNT_ATTR_STRICTATIME},
    {"rsuid", MountOptionKind::recursive_clear, MOUNT_ATTR_NOSUID},
    {"rsymfollow", MountOptionKind::recursive_clear, MOUNT_ATTR_NOSYMFOLLOW},
    {"runbindable", MountOptionKind::propagation, MS_UNBINDABLE | MS_REC},
    {"rw", MountOptionKind::clear, MOUNT_ATTR_RDONLY},
    {"shared", MountOptionKind::propagation, MS_SHARED},
    {"silent", MountOptionKind::nothing},
    {"slave", MountOptionKind::propagation, MS_SLAVE},
    {"strictatime", MountOptionKind::atime_mode, MOUNT_ATTR_STRICTATIME},
    {"suid", MountOptionKind::clear, MOUNT_ATTR_NOSUID},
    {"symfollow", MountOptionKind::clear, MOUNT_ATTR_NOSYMFOLLOW},
    {"sync", MountOptionKind::superblock},
    {"tmpcopyup", MountOptionKind::tmpcopyup},
    {"unbindable", MountOptionKind::propagation, MS_UNBINDABLE},
});

/// Applies one option to what the options before it have made; the later of two opposites wins.
/// An option that is not in the table goes to `data` for the file system to judge.
void apply_mount_option(std::string_view option, MountOptions& options);

/// To be called after the last option: a bind mount has no file system of its own to configure, so
/// superblock flags ("sync") are dropped as mount(2) does. Its other data stays, for an error.
void finish_mount_options(MountOptions& options);

}  // namespace minirun
