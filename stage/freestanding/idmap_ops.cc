// Owns: a user namespace that exists only for its mappings (MOUNT_ATTR_IDMAP takes one), and the
// names of file systems for the words of a refusal. Run by the parent.
#include <asm/statfs.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/magic.h>
#include <linux/sched.h>

#include "stage/freestanding/interpreter.h"
#include "stage/freestanding/raw.h"

namespace minirun::wire {

using raw::call;

void say(Context& context, const char* words) noexcept {
  const std::size_t size = length(words) < detail_size ? length(words) : detail_size;
  context.failure.detail_length = static_cast<std::uint32_t>(size);
  copy(context.failure.detail, words, size);
}

const char* file_system_name(int fd) noexcept {
  struct Row {
    std::uint32_t magic;
    const char* name;
  };
  static constexpr Row rows[] = {{EXT4_SUPER_MAGIC, "ext4"},         {TMPFS_MAGIC, "tmpfs"},
                                 {OVERLAYFS_SUPER_MAGIC, "overlay"}, {BTRFS_SUPER_MAGIC, "btrfs"},
                                 {XFS_SUPER_MAGIC, "xfs"},           {V9FS_MAGIC, "9p"},
                                 {NFS_SUPER_MAGIC, "nfs"},           {FUSE_SUPER_MAGIC, "fuse"},
                                 {PROC_SUPER_MAGIC, "proc"},         {SYSFS_MAGIC, "sysfs"},
                                 {CGROUP2_SUPER_MAGIC, "cgroup2"},   {RAMFS_MAGIC, "ramfs"},
                                 {SQUASHFS_MAGIC, "squashfs"},       {MSDOS_SUPER_MAGIC, "vfat"},
                                 {DEVPTS_SUPER_MAGIC, "devpts"},     {F2FS_SUPER_MAGIC, "f2fs"},
                                 {EROFS_SUPER_MAGIC_V1, "erofs"}};
  struct statfs info = {};
  if (call(__NR_fstatfs, fd, &info) == 0)
    for (const Row& row : rows)
      if (row.magic == static_cast<std::uint32_t>(info.f_type)) return row.name;
  return "this file system";
}

char* append_number(char* to, int number) noexcept {
  char digits[12];
  int n = 0;
  do {
    digits[n++] = static_cast<char>('0' + number % 10);
    number /= 10;
  } while (number != 0);
  while (n > 0) *to++ = digits[--n];
  *to = '\0';
  return to;
}

namespace {

long open_of_process(long pid, const char* name, int flags) noexcept {
  char path[64];
  copy(path, "/proc/", 6);
  char* end = append_number(path + 6, static_cast<int>(pid));
  copy(end, name, length(name) + 1);
  return call(__NR_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0);
}

bool write_map(Context& context, long pid, const char* name, const char* text) noexcept {
  const long file = open_of_process(pid, name, O_WRONLY);
  if (file < 0) return context.fail(Call::open, file);
  const long result = call(__NR_write, file, text, length(text));
  call(__NR_close, file);
  if (result >= 0) return true;
  say(context, name + 1);
  return context.fail(Call::write, result);
}

}  // namespace

// A process has to be in the namespace while the maps are written: one that does nothing but wait
// for the end of a pipe, so that it is gone with us. Its end is no signal to anybody.
bool user_namespace(Context& context, const Step& step) noexcept {
  int pipe[2];
  long result = call(__NR_pipe2, pipe, O_CLOEXEC);
  if (result < 0) return context.fail(Call::open, result);
  const long pid = call(__NR_clone, static_cast<long>(CLONE_NEWUSER), 0, 0, 0, 0);
  if (pid == 0) {
    call(__NR_close, pipe[1]);
    char byte;
    while (call(__NR_read, pipe[0], &byte, 1) == -EINTR) {
    }
    for (;;) call(__NR_exit_group, 0);
  }
  bool good = false;
  if (pid < 0)
    context.fail(Call::clone, pid);
  else
    good = write_map(context, pid, "/gid_map", context.text(step.s[1])) &&
           write_map(context, pid, "/uid_map", context.text(step.s[0])) &&
           context.store(step.n[0], Call::open, open_of_process(pid, "/ns/user", O_RDONLY));
  call(__NR_close, pipe[0]);
  call(__NR_close, pipe[1]);
  if (pid > 0)
    while (call(__NR_wait4, pid, 0, 0x40000000 /* __WALL */, 0) == -EINTR) {
    }
  return good;
}

}  // namespace minirun::wire
