// Owns: the operations on the root as a whole: what it hangs on, the pivot, and what covers its
// paths.
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/stat.h>

#include "stage/freestanding/interpreter.h"
#include "stage/freestanding/raw.h"

namespace minirun::wire {
namespace {

using raw::call;

constexpr unsigned move_both_empty = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;

bool over_root(Context& context, int mount) noexcept {
  const long result = call(__NR_move_mount, mount, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH);
  return result < 0 ? context.fail(Call::move_mount, result) : true;
}

bool propagation(Context& context, const Step& step) noexcept {
  mount_attr attributes = {};
  attributes.propagation = static_cast<std::uint64_t>(step.n[0]);
  const long result = call(__NR_mount_setattr, AT_FDCWD, "/", step.n[1] != 0 ? AT_RECURSIVE : 0,
                           &attributes, sizeof attributes);
  return result < 0 ? context.fail(Call::mount_setattr, result) : true;
}

bool attach_root(Context& context, const Step& step) noexcept {
  return over_root(context, context.slot(step.n[0]));
}

/// The mount that a path ends on; "/.." climbs to whatever is stacked on the root.
long mount_id(int directory, const char* path, std::uint64_t* id) noexcept {
  struct statx info = {};
  const long result =
      call(__NR_statx, directory, path, AT_EMPTY_PATH | AT_NO_AUTOMOUNT, STATX_MNT_ID, &info);
  *id = info.stx_mnt_id;
  return result;
}

bool root_is_topmost(Context& context, int directory) noexcept {
  std::uint64_t root = 0, top = 1;
  long result = mount_id(directory, "", &root);
  if (result >= 0) result = mount_id(AT_FDCWD, "/..", &top);
  if (result < 0) return context.fail(Call::fstat, result);
  return root == top ? true : context.fail(Call::umount2, -EBUSY);
}

// --no-pivot. pivot_root(2) fails where "/" is the first mount of all, the ramfs of an initramfs.
// The root is attached over it already; chroot(2) makes it the root of this process, and what is
// below can be reached by nobody who cannot take the root off. The host's other mounts (s0) go
// first: a procfs or sysfs that is in sight of this mount namespace would let a user namespace in
// the container mount one without masks. n2 1: they are taken off; 2: they are locked to a user
// namespace, so those two kinds are covered.
bool change_root(Context& context, const Step& step) noexcept {
  const bool cover = step.n[2] == 2;
  for (char** path = context.list(step.s[0]); path != nullptr && *path != nullptr; ++path) {
    const long result =
        cover ? call(__NR_mount, "none", *path, "tmpfs",
                     MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0755")
              : call(__NR_umount2, *path, 2 /* MNT_DETACH */ | 8 /* UMOUNT_NOFOLLOW */);
    if (result < 0) {
      say(context, *path);
      return context.fail(cover ? Call::mount : Call::umount2, result);
    }
  }
  long result = call(__NR_chroot, ".");
  if (result < 0) {
    say(context, "chroot");
    return context.fail(Call::pivot_root, result);
  }
  result = call(__NR_chdir, "/");
  if (result < 0) return context.fail(Call::chdir, result);
  return root_is_topmost(context, context.slot(step.n[1]));
}

// pivot_root(2) NOTES: the new and the old root may be the same directory; the old root is then
// stacked on top. umount2 takes the topmost of a stack, so what was staged on the old root goes
// first, one call each; and because anything that stayed would be the host's whole tree, within
// reach of setns(2), the end of it is verified.
bool pivot(Context& context, const Step& step) noexcept {
  long result = call(__NR_fchdir, context.slot(step.n[1]));
  if (result < 0) return context.fail(Call::fchdir, result);
  if (step.n[2] != 0) return change_root(context, step);
  result = call(__NR_pivot_root, ".", ".");
  if (result < 0) return context.fail(Call::pivot_root, result);
  for (std::int64_t i = 0; i < step.n[0]; ++i) {
    result = call(__NR_umount2, ".", 2 /* MNT_DETACH */);
    if (result < 0) return context.fail(Call::umount2, result);
  }
  return root_is_topmost(context, context.slot(step.n[1]));
}

// What covers a masked path is attached once and copied from there for the next (a detached mount
// can be copied only since Linux 6.15): one read-only tmpfs for directories, the host's /dev/null,
// which is still in sight before the pivot, for anything else; never a path of the container
// (CVE-2025-31133). A copy that nothing needs would cost more than all of them: closing a detached
// mount waits for the kernel's readers (about 0.1 ms).
bool has_first_cover(const Context& context, bool directory) noexcept {
  return directory ? !context.mask_attached : context.null_cover < 0 || context.spare_cover >= 0;
}

long first_file_cover(Context& context) noexcept {
  Call which = Call::open_tree;
  const long null = clone_with(context, which, AT_FDCWD, "/dev/null", 0,
                               MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, 0);
  if (null < 0) return context.fail(which, null), null;
  struct statx info = {};
  long result = call(__NR_statx, null, "", AT_EMPTY_PATH, STATX_TYPE, &info);
  // What is written to a masked file must go nowhere: a regular file there would collect it.
  if (result >= 0 && ((info.stx_mode & 0170000U) != 0020000U || info.stx_rdev_major != 1 ||
                      info.stx_rdev_minor != 3)) {
    say(context, "the host's /dev/null is not the character device 1:3");
    result = -ENODEV;
  }
  if (result < 0) return context.fail(Call::fstat, result), result;
  return context.null_cover = context.spare_cover = static_cast<int>(null);
}

/// The first cover until it is attached, then a copy of it.
long cover_for(Context& context, bool directory, std::int64_t slot) noexcept {
  if (!directory && context.null_cover < 0) return first_file_cover(context);
  const int first = directory ? context.slot(slot) : context.null_cover;
  if (has_first_cover(context, directory)) return first;
  const long copied = call(__NR_open_tree, first, "",
                           OPEN_TREE_CLONE | static_cast<unsigned>(O_CLOEXEC) | AT_EMPTY_PATH);
  if (copied < 0) context.fail(Call::open_tree, copied);
  return copied;
}

/// The mount that a protected path is known to be below, unless a mount went through a link of the
/// image since: what it covers is known only by walking.
int known_mount(const Context& context, std::int64_t slot) noexcept {
  return context.links_followed ? -1 : context.slot(slot);
}

void mark_attached(Context& context, bool directory) noexcept {
  if (directory)
    context.mask_attached = true;
  else
    context.spare_cover = -1;
}

/// What is there: 1 a directory, 0 anything else, or -errno.
long kind_of(int directory, const char* path) noexcept {
  struct statx info = {};
  const long result =
      call(__NR_statx, directory, path, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_TYPE, &info);
  return result < 0 ? result : (info.stx_mode & 0170000U) == 0040000U ? 1 : 0;
}

bool mask_walked(Context& context, const Step& step) noexcept {
  const long target = open_in(context.slot(step.n[0]), context.text(step.s[0]), O_PATH, 0,
                              RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
  if (target == -ENOENT) return true;  // the only reason to leave one out (SEC-24)
  if (target < 0) return context.fail(Call::openat2, target);
  const long kind = kind_of(static_cast<int>(target), "");
  if (kind < 0) return context.fail(Call::fstat, kind);
  const long cover = cover_for(context, kind == 1, step.n[1]);
  if (cover < 0) return false;
  const long result = call(__NR_move_mount, cover, "", target, "", move_both_empty);
  if (result < 0) return context.fail(Call::move_mount, result);
  mark_attached(context, kind == 1);
  return true;
}

bool mask(Context& context, const Step& step) noexcept {
  const int base = known_mount(context, step.n[2]);
  if (base < 0) return mask_walked(context, step);
  const char* path = context.text(step.s[1]);
  bool directory = step.n[3] != 0;
  // With a first cover at hand the attachment itself tells whether the path is there, and by EINVAL
  // that it is of the other kind. A copy is made only for what is known.
  for (int attempt = 0; attempt < 2; ++attempt) {
    if (!has_first_cover(context, directory)) {
      const long kind = kind_of(base, path);
      if (kind == -ENOENT) return true;
      if (kind < 0) return context.fail(Call::fstat, kind);
      directory = kind == 1;
    }
    const long cover = cover_for(context, directory, step.n[1]);
    if (cover < 0) return false;
    const long result = call(__NR_move_mount, cover, "", base, path, MOVE_MOUNT_F_EMPTY_PATH);
    if (result == -ENOENT) return true;
    if (result == -EINVAL && attempt == 0) {
      directory = !directory;
      continue;
    }
    if (result < 0) return context.fail(Call::move_mount, result);
    mark_attached(context, directory);
    return true;
  }
  return context.fail(Call::move_mount, -EINVAL);
}

bool readonly_path(Context& context, const Step& step) noexcept {
  const int base = known_mount(context, step.n[1]);
  int target = base;
  const char* path = base < 0 ? "" : context.text(step.s[1]);
  if (base < 0) {
    const long found = open_in(context.slot(step.n[0]), context.text(step.s[0]), O_PATH, 0,
                               RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
    if (found == -ENOENT) return true;
    if (found < 0) return context.fail(Call::openat2, found);
    target = static_cast<int>(found);
  }
  Call which = Call::open_tree;
  const long cover =
      clone_with(context, which, target, path, AT_EMPTY_PATH | AT_RECURSIVE | AT_SYMLINK_NOFOLLOW,
                 MOUNT_ATTR_RDONLY, 0);
  if (cover == -ENOENT) return true;
  if (cover < 0) return context.fail(which, cover);
  const long result = call(__NR_move_mount, cover, "", target, path, move_both_empty);
  return result < 0 ? context.fail(Call::move_mount, result) : true;
}

}  // namespace

bool root_operation(Context& context, const Step& step) noexcept {
  switch (step.op) {
    case Op::stage_mount:
      return over_root(context, context.slot(step.n[0]));
    case Op::propagation:
      return propagation(context, step);
    case Op::attach_root:
      return attach_root(context, step);
    case Op::pivot_root:
      return pivot(context, step);
    case Op::mask:
      return mask(context, step);
    case Op::readonly_path:
      return readonly_path(context, step);
    default:
      return context.fail(Call::program, -EINVAL);
  }
}

}  // namespace minirun::wire
