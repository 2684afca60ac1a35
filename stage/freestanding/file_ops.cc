// Owns: files, nodes and links that are made below the container's root, and the copy-up of a
// directory into a new tmpfs. Everything by descriptor, nothing follows a link out of the root.
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/openat2.h>
#include <linux/stat.h>

#include "stage/freestanding/interpreter.h"
#include "stage/freestanding/raw.h"

namespace minirun::wire {
namespace {

using raw::call;

constexpr unsigned format_mask = 0170000, format_directory = 0040000, format_regular = 0100000,
                   format_link = 0120000;

bool make_directory(Context& context, const Step& step) noexcept {
  return open_target(context, context.slot(step.n[0]), context.text(step.s[0]), create_directory,
                     static_cast<std::uint32_t>(step.n[1]), 0) >= 0;
}

/// Whether a file is the node of this type and number (the type bits of `mode`, `device` as in
/// mknod(2)). 0 or -errno.
long is_device(int fd, std::int64_t mode, std::int64_t device, bool* same) noexcept {
  struct statx info = {};
  const long result = call(__NR_statx, fd, "", AT_EMPTY_PATH, STATX_TYPE, &info);
  const auto number = static_cast<std::uint64_t>(device);
  const std::uint64_t major = (number >> 8) & 0xfffU,
                      minor = (number & 0xffU) | ((number >> 12) & 0xfff00U);
  *same = (info.stx_mode & format_mask) == (static_cast<unsigned>(mode) & format_mask) &&
          info.stx_rdev_major == major && info.stx_rdev_minor == minor;
  return result;
}

bool make_node(Context& context, const Step& step) noexcept {
  const char* name = split_path(context.text(step.s[0])).name;
  const long parent = open_parent(context, context.slot(step.n[0]), context.text(step.s[0]), true);
  if (parent < 0) return context.fail(Call::openat2, parent);
  long result = call(__NR_mknodat, parent, name, step.n[1], step.n[2]);
  if (result < 0 && result != -EEXIST) return context.fail(Call::mknodat, result);
  if (result == 0 && step.n[3] == 0 && step.n[4] == 0) return true;
  const bool made = result == 0;
  const long node = open_in(static_cast<int>(parent), name, O_PATH | O_NOFOLLOW, 0,
                            RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
  if (node < 0) return context.fail(Call::openat2, node);
  if (!made) {
    // config-linux.md "Devices": a file that exists and is another one is an error.
    bool same = false;
    result = is_device(static_cast<int>(node), step.n[1], step.n[2], &same);
    if (result < 0) return context.fail(Call::fstat, result);
    if (same) return true;
    say(context, "another file is there");
    return context.fail(Call::mknodat, -EEXIST);
  }
  result = call(__NR_fchownat, node, "", step.n[3], step.n[4], AT_EMPTY_PATH);
  return result < 0 ? context.fail(Call::fchownat, result) : true;
}

bool bind_node(Context& context, const Step& step) noexcept {
  // The host may have something else at this path: a container that asked for one device must
  // not get another.
  bool same = false;
  long result = is_device(context.slot(step.n[1]), step.n[2], step.n[3], &same);
  if (result < 0) return context.fail(Call::fstat, result);
  if (!same) {
    say(context, "the host has another file there, and a user namespace cannot make the device");
    return context.fail(Call::mknodat, -ENODEV);
  }
  const long target =
      open_target(context, context.slot(step.n[0]), context.text(step.s[0]), create_file, 0666, 0);
  if (target < 0) return false;
  struct statx there = {};
  result = call(__NR_statx, target, "", AT_EMPTY_PATH, STATX_TYPE, &there);
  if (result < 0) return context.fail(Call::fstat, result);
  if ((there.stx_mode & format_mask) != format_regular) {
    result = is_device(static_cast<int>(target), step.n[2], step.n[3], &same);
    if (result < 0) return context.fail(Call::fstat, result);
    if (!same) {
      say(context, "another file is there");
      return context.fail(Call::mknodat, -EEXIST);
    }
  }
  result = call(__NR_move_mount, context.slot(step.n[1]), "", target, "",
                0x4U | 0x40U /* both paths empty */);
  return result < 0 ? context.fail(Call::move_mount, result) : true;
}

bool make_symlink(Context& context, const Step& step) noexcept {
  const char* name = split_path(context.text(step.s[1])).name;
  const long parent = open_parent(context, context.slot(step.n[0]), context.text(step.s[1]), true);
  if (parent < 0) return context.fail(Call::openat2, parent);
  // What an image has there already stays: it can only mislead the container itself.
  const long result = call(__NR_symlinkat, context.text(step.s[0]), parent, name);
  if (result < 0 && result != -EEXIST) return context.fail(Call::symlinkat, result);
  return true;
}

bool write_file(Context& context, const Step& step) noexcept {
  const long file = open_in(context.slot(step.n[0]), context.text(step.s[0]), O_WRONLY, 0,
                            static_cast<std::uint64_t>(step.n[1]));
  if (file < 0) return context.fail(Call::openat2, file);
  const char* text = context.text(step.s[1]);
  const long result = call(__NR_write, file, text, length(text));
  if (result < 0) return context.fail(Call::write, result);
  drop(static_cast<int>(file));
  return true;
}

// ---- copy-up

struct DirectoryEntry {
  std::uint64_t inode;
  std::int64_t next;
  std::uint16_t size;
  std::uint8_t type;
  char name[1];
};

bool copy_entry(Context& context, int from, int to, const char* name, int depth) noexcept;

bool copy_directory(Context& context, int from, int to, int depth) noexcept {
  if (depth > 64) return context.fail(Call::getdents64, -ELOOP);
  alignas(8) char buffer[2048];
  for (;;) {
    const long size = call(__NR_getdents64, from, buffer, sizeof buffer);
    if (size < 0) return context.fail(Call::getdents64, size);
    if (size == 0) return true;
    for (long at = 0; at < size;) {
      const auto* entry = reinterpret_cast<const DirectoryEntry*>(buffer + at);
      at += entry->size;
      const char* name = entry->name;
      if (name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'))) continue;
      if (!copy_entry(context, from, to, name, depth)) return false;
    }
  }
}

bool copy_content(Context& context, int from, int to) noexcept {
  char buffer[4096];
  for (;;) {
    const long size = call(__NR_read, from, buffer, sizeof buffer);
    if (size < 0) return context.fail(Call::read, size);
    if (size == 0) return true;
    for (long done = 0; done < size;) {
      const long part = call(__NR_write, to, buffer + done, size - done);
      if (part < 0) return context.fail(Call::write, part);
      done += part;
    }
  }
}

bool copy_entry(Context& context, int from, int to, const char* name, int depth) noexcept {
  struct statx info = {};
  long result = call(__NR_statx, from, name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &info);
  if (result < 0) return context.fail(Call::fstat, result);
  const unsigned type = info.stx_mode & format_mask, mode = info.stx_mode & 07777U;
  if (type == format_directory || type == format_regular) {
    const bool directory = type == format_directory;
    const long source =
        open_in(from, name, directory ? O_RDONLY | O_DIRECTORY : O_RDONLY | O_NONBLOCK, 0,
                RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
    if (source < 0) return context.fail(Call::openat2, source);
    if (directory) {
      result = call(__NR_mkdirat, to, name, mode);
      if (result < 0) return context.fail(Call::mkdirat, result);
    }
    const long target =
        open_in(to, name, directory ? O_RDONLY | O_DIRECTORY : O_WRONLY | O_CREAT | O_EXCL,
                directory ? 0 : mode, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
    if (target < 0) return context.fail(Call::openat2, target);
    const bool good =
        directory
            ? copy_directory(context, static_cast<int>(source), static_cast<int>(target), depth + 1)
            : copy_content(context, static_cast<int>(source), static_cast<int>(target));
    call(__NR_close, source);
    call(__NR_close, target);
    if (!good) return false;
  } else if (type == format_link) {
    char link[4096];
    result = call(__NR_readlinkat, from, name, link, sizeof link - 1);
    if (result < 0) return context.fail(Call::read, result);
    link[result] = '\0';
    result = call(__NR_symlinkat, link, to, name);
    if (result < 0) return context.fail(Call::symlinkat, result);
  } else {
    const std::uint64_t device = (static_cast<std::uint64_t>(info.stx_rdev_major) << 8) |
                                 (info.stx_rdev_minor & 0xffU) |
                                 (static_cast<std::uint64_t>(info.stx_rdev_minor & ~0xffU) << 12);
    result = call(__NR_mknodat, to, name, info.stx_mode, device);
    if (result < 0) return context.fail(Call::mknodat, result);
  }
  result = call(__NR_fchownat, to, name, info.stx_uid, info.stx_gid, AT_SYMLINK_NOFOLLOW);
  return result < 0 ? context.fail(Call::fchownat, result) : true;
}

/// "tmpcopyup" of runtime-spec config.md: before the mount covers the directory.
bool copy_up(Context& context, const Step& step) noexcept {
  const long from = open_in(context.slot(step.n[1]), context.text(step.s[0]),
                            O_RDONLY | O_DIRECTORY, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
  if (from == -ENOENT) return true;
  if (from < 0) return context.fail(Call::openat2, from);
  return copy_directory(context, static_cast<int>(from), context.slot(step.n[0]), 0);
}

}  // namespace

bool file_operation(Context& context, const Step& step) noexcept {
  switch (step.op) {
    case Op::make_directory:
      return make_directory(context, step);
    case Op::make_node:
      return make_node(context, step);
    case Op::bind_node:
      return bind_node(context, step);
    case Op::make_symlink:
      return make_symlink(context, step);
    case Op::write_file:
      return write_file(context, step);
    case Op::copy_up:
      return copy_up(context, step);
    default:
      return context.fail(Call::program, -EINVAL);
  }
}

}  // namespace minirun::wire
