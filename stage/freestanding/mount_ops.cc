// Owns: the operations on mounts and on the root. Everything is built detached and attached to a
// descriptor: no path of the root is resolved twice (CVE-2021-30465, CVE-2025-31133 and others).
#include <asm/statfs.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/stat.h>

#include "stage/freestanding/interpreter.h"
#include "stage/freestanding/raw.h"

namespace minirun::wire {
namespace {

using raw::call;

constexpr unsigned open_tree_clone = 1;  // OPEN_TREE_CLONE
constexpr unsigned move_both_empty = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;

long config(int context_fd, unsigned command, const char* key, const char* value) noexcept {
  return call(__NR_fsconfig, context_fd, command, key, value, 0);
}

long set_attributes(int fd, unsigned flags, std::uint64_t set, std::uint64_t clear,
                    std::uint64_t propagation, int userns) noexcept {
  mount_attr attributes = {};
  attributes.attr_set = set;
  attributes.attr_clr = clear;
  attributes.propagation = propagation;
  attributes.userns_fd = userns < 0 ? 0U : static_cast<unsigned>(userns);
  return call(__NR_mount_setattr, fd, "", flags | AT_EMPTY_PATH, &attributes, sizeof attributes);
}

#ifndef __NR_open_tree_attr
#define __NR_open_tree_attr 467
#endif

/// open_tree(2) of a copy, and what its mounts become: one call since Linux 6.15, two before. A
/// refusal of the one is asked again as two, so that it is known whose it is.
long clone_with(Context& context, Call& which, int from, const char* path, unsigned flags,
                std::uint64_t set, std::uint64_t propagation) noexcept {
  mount_attr attributes = {};
  attributes.attr_set = set;
  attributes.propagation = propagation;
  const unsigned copy = flags | open_tree_clone | static_cast<unsigned>(O_CLOEXEC);
  which = Call::open_tree;
  if (!context.two_calls) {
    const long tree = call(__NR_open_tree_attr, from, path, copy, &attributes, sizeof attributes);
    if (tree >= 0 || tree == -ENOENT) return tree;
    context.two_calls = tree == -ENOSYS;
  }
  const long tree = call(__NR_open_tree, from, path, copy);
  if (tree < 0) return tree;
  which = Call::mount_setattr;
  const long result =
      set_attributes(static_cast<int>(tree), flags & AT_RECURSIVE, set, 0, propagation, -1);
  return result < 0 ? result : tree;
}

bool finish_mount(Context& context, int fs, std::int64_t slot, std::uint64_t attributes) noexcept {
  long result = config(fs, FSCONFIG_CMD_CREATE, nullptr, nullptr);
  if (result < 0) return context.fail_words(Call::fsconfig, result, fs);
  result = call(__NR_fsmount, fs, FSMOUNT_CLOEXEC, attributes);
  if (result < 0) return context.fail_words(Call::fsmount, result, fs);
  drop(fs);
  return context.store(slot, Call::fsmount, result);
}

bool mount_inside(Context& context, const Step& step) noexcept;

bool make_mount(Context& context, const Step& step) noexcept {
  if (step.n[5] > 0) return mount_inside(context, step);
  const long fs = call(__NR_fsopen, context.text(step.s[0]), FSOPEN_CLOEXEC);
  if (fs == -EPERM && step.n[2] > 0)
    return context.store(step.n[0], Call::fsopen, context.slot(step.n[2]));
  if (fs < 0) return context.fail(Call::fsopen, fs);
  const int fd = static_cast<int>(fs);
  if (char** pairs = context.list(step.s[1])) {
    for (; pairs[0] != nullptr; pairs += 2) {
      const bool flag = pairs[1] == nullptr || pairs[1][0] == '\0';
      const long result = flag ? config(fd, FSCONFIG_SET_FLAG, pairs[0], nullptr)
                               : config(fd, FSCONFIG_SET_STRING, pairs[0], pairs[1]);
      if (result < 0) return context.fail_words(Call::fsconfig, result, fd);
    }
  }
  if (finish_mount(context, fd, step.n[0], static_cast<std::uint64_t>(step.n[1]))) return true;
  if (context.failure.errnum != EPERM || step.n[2] <= 0) return false;
  context.failure.errnum = 0;
  context.failure.detail_length = 0;
  return context.store(step.n[0], Call::fsmount, context.slot(step.n[2]));
}

// Layers are named as "N" relative to /proc/self/fd: no character of a user's path can change the
// meaning of the option string, the 255 bytes of fsconfig(2) hold about 60 layers on kernels
// before 6.7 that lack "lowerdir+", and the container's mountinfo does not show host paths.
/// A path of the host, or "#N" for slot N.
long open_layer(const Context& context, const char* path) noexcept {
  if (path[0] != '#') return call(__NR_openat, AT_FDCWD, path, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
  std::int64_t slot = 0;
  for (const char* digit = path + 1; *digit != '\0'; ++digit) slot = slot * 10 + (*digit - '0');
  return context.slot(slot);
}

bool add_lowers(Context& context, const Step& step, int fs) noexcept {
  char joined[256];
  char* end = joined;
  *end = '\0';
  for (char** path = context.list(step.s[0]); *path != nullptr; ++path) {
    const long layer = open_layer(context, *path);
    if (layer < 0) {
      const std::size_t size = length(*path) < detail_size ? length(*path) : detail_size;
      copy(context.failure.detail, *path, size);
      context.failure.detail_length = static_cast<std::uint32_t>(size);
      return context.fail(Call::open, layer);
    }
    if (step.n[3] != 0) {
      char name[12];
      append_number(name, static_cast<int>(layer));
      const long result = config(fs, FSCONFIG_SET_STRING, "lowerdir+", name);
      if (result < 0) return context.fail_words(Call::fsconfig, result, fs);
    } else {
      if (end - joined > 240) return context.fail(Call::fsconfig, -E2BIG);
      if (end != joined) *end++ = ':';
      end = append_number(end, static_cast<int>(layer));
    }
  }
  if (step.n[3] != 0) return true;
  const long result = config(fs, FSCONFIG_SET_STRING, "lowerdir", joined);
  return result < 0 ? context.fail_words(Call::fsconfig, result, fs) : true;
}

bool add_upper(Context& context, const Step& step, int fs) noexcept {
  int directory[2] = {-1, -1};
  if (step.n[2] >= 0) {
    const int tmpfs = context.slot(step.n[2]);
    static constexpr const char* names[2] = {"upper", "work"};
    for (int i = 0; i < 2; ++i) {
      long result = call(__NR_mkdirat, tmpfs, names[i], 0755);
      if (result < 0) return context.fail(Call::mkdirat, result);
      result = open_in(tmpfs, names[i], O_PATH | O_DIRECTORY, 0, RESOLVE_BENEATH);
      if (result < 0) return context.fail(Call::openat2, result);
      directory[i] = static_cast<int>(result);
    }
  } else {
    for (int i = 0; i < 2; ++i) {
      const long result = call(__NR_openat, AT_FDCWD, context.text(step.s[1 + i]),
                               O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
      if (result < 0) return context.fail(Call::open, result);
      directory[i] = static_cast<int>(result);
    }
  }
  static constexpr const char* keys[2] = {"upperdir", "workdir"};
  for (int i = 0; i < 2; ++i) {
    char name[12];
    append_number(name, directory[i]);
    const long result = config(fs, FSCONFIG_SET_STRING, keys[i], name);
    if (result < 0) return context.fail_words(Call::fsconfig, result, fs);
  }
  return true;
}

bool make_overlay(Context& context, const Step& step) noexcept {
  const long fs = call(__NR_fsopen, "overlay", FSOPEN_CLOEXEC);
  if (fs < 0) return context.fail(Call::fsopen, fs);
  const int fd = static_cast<int>(fs);
  const long here = call(__NR_chdir, "/proc/self/fd");
  if (here < 0) return context.fail(Call::chdir, here);
  if (!add_lowers(context, step, fd) || !add_upper(context, step, fd)) return false;
  if (char** option = context.list(step.s[3])) {
    for (; option[0] != nullptr; option += 2) {
      const bool flag = option[1] == nullptr || option[1][0] == '\0';
      const long result = flag ? config(fd, FSCONFIG_SET_FLAG, option[0], nullptr)
                               : config(fd, FSCONFIG_SET_STRING, option[0], option[1]);
      if (result < 0) return context.fail_words(Call::fsconfig, result, fd);
    }
  }
  return finish_mount(context, fd, step.n[0], static_cast<std::uint64_t>(step.n[1]));
}

bool clone_tree(Context& context, const Step& step) noexcept {
  if (step.n[2] != 0) {
    Call which = Call::open_tree;
    const long tree =
        clone_with(context, which, AT_FDCWD, context.text(step.s[0]),
                   static_cast<unsigned>(step.n[1]), 0, static_cast<std::uint64_t>(step.n[2]));
    return context.store(step.n[0], which, tree);
  }
  const unsigned flags =
      open_tree_clone | static_cast<unsigned>(O_CLOEXEC) | static_cast<unsigned>(step.n[1]);
  return context.store(step.n[0], Call::open_tree,
                       call(__NR_open_tree, AT_FDCWD, context.text(step.s[0]), flags));
}

bool set_attr(Context& context, const Step& step) noexcept {
  const long result =
      set_attributes(context.slot(step.n[0]), static_cast<unsigned>(step.n[4]),
                     static_cast<std::uint64_t>(step.n[1]), static_cast<std::uint64_t>(step.n[2]),
                     static_cast<std::uint64_t>(step.n[3]), context.slot(step.n[5]));
  if (result >= 0) return true;
  if (step.n[5] >= 0 && result == -EINVAL) say(context, file_system_name(context.slot(step.n[0])));
  return context.fail(Call::mount_setattr, result);
}

bool set_attr_path(Context& context, const Step& step) noexcept {
  const long target =
      open_target(context, context.slot(step.n[0]), context.text(step.s[0]), create_nothing, 0, 0);
  if (target < 0) return false;
  const long result =
      set_attributes(static_cast<int>(target), static_cast<unsigned>(step.n[4]),
                     static_cast<std::uint64_t>(step.n[1]), static_cast<std::uint64_t>(step.n[2]),
                     static_cast<std::uint64_t>(step.n[3]), -1);
  return result < 0 ? context.fail(Call::mount_setattr, result) : true;
}

bool over_root(Context& context, int mount) noexcept {
  const long result = call(__NR_move_mount, mount, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH);
  return result < 0 ? context.fail(Call::move_mount, result) : true;
}

bool same_text(const char* a, const char* b) noexcept {
  for (; *a != '\0' && *a == *b; ++a) ++b;
  return *a == *b;
}

/// "/proc" -> "proc": the name, when the path is one component below the root; else nullptr.
const char* only_component(const char* path) noexcept {
  while (*path == '/') ++path;
  for (const char* c = path; *c != '\0'; ++c)
    if (*c == '/') return nullptr;
  const bool dots = path[0] == '.' && (path[1] == '\0' || (path[1] == '.' && path[2] == '\0'));
  return path[0] == '\0' || dots ? nullptr : path;
}

// Two cases of attach that need no descriptor of the target, because move_mount does not follow a
// link in the last component, and refuses to cover one by a directory: a name directly below the
// root, and a directory that is made here and now (in procfs none can be). They are most of a
// default set of mounts. 1: done; 0: it is another case; negative: a failure, noted.
long attach_by_name(Context& context, const Step& step, int mount) noexcept {
  if (step.n[2] != create_directory) return 0;
  const int root = context.slot(step.n[1]);
  const char* path = context.text(step.s[0]);
  const char* name = only_component(path);
  int parent = root;
  if (name == nullptr) {
    const PathParts parts = split_path(path);
    if (path[parts.size] != '\0' || step.n[4] != 0) return 0;
    const long directory = open_parent(context, root, path, false);
    if (directory == -ENOENT) return 0;
    if (directory < 0) return context.fail(Call::openat2, directory), directory;
    parent = static_cast<int>(directory);
    name = parts.name;
    const long made = call(__NR_mkdirat, parent, name, static_cast<std::uint32_t>(step.n[3]));
    if (made == -EEXIST || made == -ENOENT) return 0;  // procfs says ENOENT
    if (made < 0) return context.fail(Call::mkdirat, made), made;
  }
  const long result = call(__NR_move_mount, mount, "", parent, name, MOVE_MOUNT_F_EMPTY_PATH);
  if (result == -ENOENT || result == -EINVAL) return 0;  // nothing there, or no directory
  if (result < 0) return context.fail(Call::move_mount, result), result;
  context.through_links = false;
  forget_parent(context, path);
  // Of proc and sysfs nothing else is made in them.
  if (step.n[4] == 0) remember_parent(context, root, path, mount);
  return 1;
}

bool attach(Context& context, const Step& step) noexcept {
  const int mount = context.slot(step.n[0]);
  // What the kernel's trees hold has no link that leaves them: no walk from the root.
  if (step.n[5] < 0 && !context.links_followed) {
    const long result = call(__NR_move_mount, mount, "", context.slot(-step.n[5]),
                             context.text(step.s[1]), MOVE_MOUNT_F_EMPTY_PATH);
    if (result == 0) {
      context.through_links = false;
      forget_parent(context, context.text(step.s[0]));
      return true;
    }
  }
  if (const long done = attach_by_name(context, step, mount); done != 0) return done > 0;
  std::int64_t create = step.n[2];
  if (create == create_like) {
    struct statx info = {};
    const long result = call(__NR_statx, mount, "", AT_EMPTY_PATH, STATX_TYPE, &info);
    if (result < 0) return context.fail(Call::fstat, result);
    create = (info.stx_mode & 0170000U) == 0040000U ? create_directory : create_file;
  }
  const long target =
      open_target(context, context.slot(step.n[1]), context.text(step.s[0]), create,
                  static_cast<std::uint32_t>(step.n[3]), static_cast<std::uint64_t>(step.n[4]));
  if (target < 0) return false;
  context.links_followed |= context.through_links;
  if (context.through_links && step.n[5] <= 0) {
    // What the planner refuses by name (CVE-2019-16884), a link of the image must not reach.
    struct statfs info = {};
    const long asked = call(__NR_fstatfs, target, &info);
    if (asked < 0) return context.fail(Call::fstat, asked);
    if (info.f_type == PROC_SUPER_MAGIC) {
      say(context, "a link of the image leads into /proc");
      return context.fail(Call::move_mount, -EPERM);
    }
  }
  const long result = call(__NR_move_mount, mount, "", target, "", move_both_empty);
  forget_parent(context, context.text(step.s[0]));
  return result < 0 ? context.fail(Call::move_mount, result) : true;
}

/// "k=v,k" of a list, without its source, which goes to `source`. False: it is too long.
bool join_options(char** pairs, char* text, std::size_t capacity, const char** source) noexcept {
  std::size_t at = 0;
  text[0] = '\0';
  for (; pairs != nullptr && pairs[0] != nullptr; pairs += 2) {
    const std::size_t key = length(pairs[0]), value = pairs[1] == nullptr ? 0 : length(pairs[1]);
    if (key == 6 && same_text(pairs[0], "source")) {
      *source = pairs[1];
      continue;
    }
    if (at + key + value + 3 > capacity) return false;
    if (at > 0) text[at++] = ',';
    copy(text + at, pairs[0], key);
    at += key;
    if (value > 0) {
      text[at++] = '=';
      copy(text + at, pairs[1], value);
      at += value;
    }
    text[at] = '\0';
  }
  return true;
}

// mount(2) is one call where the way by descriptors is six to ten. Its target is a path, so only
// where nobody else can have put anything: a name that we make just now (s2, a path in the root n3)
// in a tmpfs of our own (n5). n4 has its flags, as MS_*. A refusal goes the long way, too, because
// there the kernel says why; and so does what a link of the image may have covered.
bool mount_inside(Context& context, const Step& step) noexcept {
  const int parent = context.slot(step.n[5]);
  const char* source = nullptr;
  char options[1024];
  const char* name = split_path(context.text(step.s[2])).name;
  if (!context.links_followed &&
      join_options(context.list(step.s[1]), options, sizeof options, &source) &&
      call(__NR_mkdirat, parent, name, 0755) == 0) {
    const long entered = context.here == parent ? 0 : call(__NR_fchdir, parent);
    if (entered < 0) return context.fail(Call::fchdir, entered);
    context.here = parent;
    if (call(__NR_mount, source, name, context.text(step.s[0]), step.n[4], options) == 0)
      return true;
  }
  Step make = step, put = {};
  make.n[5] = 0;
  put.n[0] = step.n[0];
  put.n[1] = step.n[3];
  put.n[2] = create_directory;
  put.n[3] = 0755;
  put.s[0] = step.s[2];
  return make_mount(context, make) && attach(context, put);
}

bool propagation(Context& context, const Step& step) noexcept {
  mount_attr attributes = {};
  attributes.propagation = static_cast<std::uint64_t>(step.n[0]);
  const long result = call(__NR_mount_setattr, AT_FDCWD, "/", step.n[1] != 0 ? AT_RECURSIVE : 0,
                           &attributes, sizeof attributes);
  return result < 0 ? context.fail(Call::mount_setattr, result) : true;
}

bool attach_root(Context& context, const Step& step) noexcept {
  const int root = context.slot(step.n[0]);
  if (!over_root(context, root)) return false;
  const long result = call(__NR_fchdir, root);
  return result < 0 ? context.fail(Call::fchdir, result) : true;
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
  long result = context.here >= 0 ? call(__NR_fchdir, context.slot(step.n[1])) : 0;
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
                           open_tree_clone | static_cast<unsigned>(O_CLOEXEC) | AT_EMPTY_PATH);
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

bool open_file(Context& context, const Step& step) noexcept {
  const long file = call(__NR_openat, AT_FDCWD, context.text(step.s[0]), step.n[1] | O_CLOEXEC, 0);
  if (!context.store(step.n[0], Call::open, file)) return false;
  if (step.s[1] == 0) return true;
  struct statx mine = {}, given = {};
  long result = call(__NR_statx, AT_FDCWD, context.text(step.s[1]), 0, STATX_INO, &mine);
  if (result >= 0) result = call(__NR_statx, file, "", AT_EMPTY_PATH, STATX_INO, &given);
  if (result < 0) return context.fail(Call::fstat, result);
  if (mine.stx_ino != given.stx_ino || mine.stx_dev_minor != given.stx_dev_minor ||
      mine.stx_dev_major != given.stx_dev_major)
    return true;
  say(context, "is the caller's own, whose names and sysctls are not the container's to change");
  return context.fail(Call::open, -EINVAL);
}

}  // namespace

bool mount_operation(Context& context, const Step& step) noexcept {
  switch (step.op) {
    case Op::make_mount:
      return make_mount(context, step);
    case Op::make_overlay:
      return make_overlay(context, step);
    case Op::clone_tree:
      return clone_tree(context, step);
    case Op::set_attr:
      return set_attr(context, step);
    case Op::stage_mount:
      return over_root(context, context.slot(step.n[0]));
    case Op::attach:
      return attach(context, step);
    case Op::set_attr_path:
      return set_attr_path(context, step);
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
    case Op::user_namespace:
      return user_namespace(context, step);
    case Op::open_file:
      return open_file(context, step);
    default:
      return context.fail(Call::program, -EINVAL);
  }
}

}  // namespace minirun::wire
