// Owns: the operations on single mounts. Everything is built detached and attached to a
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

#ifndef __NR_open_tree_attr
#define __NR_open_tree_attr 467
#endif

namespace minirun::wire {
namespace {

using raw::call;

constexpr unsigned move_both_empty = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;

long set_attributes(int fd, unsigned flags, std::uint64_t set, std::uint64_t clear,
                    std::uint64_t propagation, int userns) noexcept {
  mount_attr attributes = {};
  attributes.attr_set = set;
  attributes.attr_clr = clear;
  attributes.propagation = propagation;
  attributes.userns_fd = userns < 0 ? 0U : static_cast<unsigned>(userns);
  return call(__NR_mount_setattr, fd, "", flags | AT_EMPTY_PATH, &attributes, sizeof attributes);
}

}  // namespace

long clone_with(Context& context, Call& which, int from, const char* path, unsigned flags,
                std::uint64_t set, std::uint64_t propagation) noexcept {
  mount_attr attributes = {};
  attributes.attr_set = set;
  attributes.propagation = propagation;
  const unsigned copy = flags | OPEN_TREE_CLONE | static_cast<unsigned>(O_CLOEXEC);
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

namespace {

long config(int context_fd, unsigned command, const char* key, const char* value) noexcept {
  return call(__NR_fsconfig, context_fd, command, key, value, 0);
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
bool join_options(char** pairs, char* text, std::size_t capacity, const char** source) noexcept;

// One call and one for its descriptor, where the way by fsopen(2) is four and one for each option.
// mount(2) needs a place: the host's /proc, in this mount namespace, from where the mount is moved
// right away. A refusal goes the long way, too, because there the kernel says why.
long mount_over_proc(const Context& context, const Step& step) noexcept {
  constexpr const char* place = "/proc";
  const char* source = nullptr;
  char options[1024];
  if (!join_options(context.list(step.s[1]), options, sizeof options, &source)) return -E2BIG;
  const long made = call(__NR_mount, source, place, context.text(step.s[0]), step.n[4], options);
  if (made < 0) return made;
  return call(__NR_openat, AT_FDCWD, place, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
}

bool make_mount(Context& context, const Step& step) noexcept {
  if (step.n[5] != 0) return mount_inside(context, step);
  const long mount = step.n[3] != 0 ? mount_over_proc(context, step) : -1;
  if (mount >= 0) return context.store(step.n[0], Call::open, mount);
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
      OPEN_TREE_CLONE | static_cast<unsigned>(O_CLOEXEC) | static_cast<unsigned>(step.n[1]);
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
  if (context.through_links && step.n[5] == 0) {
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
// where nobody else can have put anything. n5 > 0: a name that we make just now in this tmpfs of
// our own; n5 < 0: the path s3 in this sysfs, where no link leads out. s2 is the same place in the
// root n3, n4 has the flags as MS_*. A refusal goes the long way, too, because there the kernel
// says why; and so does what a link of the image may have covered.
bool mount_inside(Context& context, const Step& step) noexcept {
  const bool made = step.n[5] < 0;
  const int parent = context.slot(made ? -step.n[5] : step.n[5]);
  const char* source = nullptr;
  char options[1024];
  const char* name = made ? context.text(step.s[3]) : split_path(context.text(step.s[2])).name;
  if (!context.links_followed &&
      join_options(context.list(step.s[1]), options, sizeof options, &source) &&
      (made || call(__NR_mkdirat, parent, name, 0755) == 0)) {
    const long entered = context.here == parent ? 0 : call(__NR_fchdir, parent);
    if (entered < 0) return context.fail(Call::fchdir, entered);
    context.here = parent;
    if (call(__NR_mount, source, name, context.text(step.s[0]), step.n[4], options) == 0) {
      forget_parent(context, context.text(step.s[2]));
      return true;
    }
  }
  Step make = step, put = {};
  make.n[3] = make.n[5] = 0;
  put.n[0] = step.n[0];
  put.n[1] = step.n[3];
  put.n[2] = create_directory;
  put.n[3] = 0755;
  put.s[0] = step.s[2];
  return make_mount(context, make) && attach(context, put);
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
    case Op::attach:
      return attach(context, step);
    case Op::set_attr_path:
      return set_attr_path(context, step);
    case Op::user_namespace:
      return user_namespace(context, step);
    case Op::open_file:
      return open_file(context, step);
    default:
      return context.fail(Call::program, -EINVAL);
  }
}

}  // namespace minirun::wire
