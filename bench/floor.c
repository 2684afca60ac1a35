// The floor of the benchmark: the container of bench/run's config.json made by hand, with as few
// system calls as that takes. Static, no parser, no state, no error messages, no protocol: a
// parent that makes the cgroup, a child that shares its memory until exec, and the clean-up.
//   floor ROOTFS CGROUP-DIRECTORY HOSTNAME SECCOMP-PROGRAM|- PROGRAM
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

// From <sys/mount.h>, which cannot stand beside <linux/mount.h>.
int mount(const char* source, const char* target, const char* type, unsigned long flags,
          const void* data);
int umount2(const char* target, int flags);
enum { detach = 2 };

enum { last_capability = 40 };
static const uint64_t kept_capabilities =
    1ULL << CAP_AUDIT_WRITE | 1ULL << CAP_KILL | 1ULL << CAP_NET_BIND_SERVICE;

static struct sock_filter filter[4096];
static struct sock_fprog program = {0, filter};

// A failed step ends the child with its line's number: the benchmark shows the exit status.
#define MUST(call)                               \
  do {                                           \
    if ((call) < 0) _exit(100 + __LINE__ % 100); \
  } while (0)

static void mounts(void) {
  const unsigned long plain = MS_NOSUID | MS_NOEXEC | MS_NODEV;
  MUST(mount("proc", "proc", "proc", 0, 0));
  MUST(mount("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k"));
  MUST(mkdir("dev/pts", 0755));
  MUST(mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
             "newinstance,ptmxmode=0666,mode=0620,gid=5"));
  MUST(mkdir("dev/shm", 0755));
  MUST(mount("shm", "dev/shm", "tmpfs", plain, "mode=1777,size=65536k"));
  MUST(mkdir("dev/mqueue", 0755));
  MUST(mount("mqueue", "dev/mqueue", "mqueue", plain, 0));
  MUST(mount("sysfs", "sys", "sysfs", plain | MS_RDONLY, 0));
  MUST(mount("cgroup2", "sys/fs/cgroup", "cgroup2", plain | MS_RDONLY | MS_RELATIME, 0));
}

static void devices(void) {
  static const struct {
    const char* name;
    unsigned major, minor;
  } nodes[] = {{"dev/null", 1, 3},   {"dev/zero", 1, 5},    {"dev/full", 1, 7},
               {"dev/random", 1, 8}, {"dev/urandom", 1, 9}, {"dev/tty", 5, 0}};
  static const char* const links[][2] = {{"/proc/self/fd", "dev/fd"},
                                         {"/proc/self/fd/0", "dev/stdin"},
                                         {"/proc/self/fd/1", "dev/stdout"},
                                         {"/proc/self/fd/2", "dev/stderr"},
                                         {"pts/ptmx", "dev/ptmx"}};
  for (size_t i = 0; i < sizeof nodes / sizeof nodes[0]; ++i)
    MUST(mknod(nodes[i].name, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)));
  for (size_t i = 0; i < sizeof links / sizeof links[0]; ++i)
    MUST(symlink(links[i][0], links[i][1]));
}

static void masks(void) {
  static const char* const masked[] = {"proc/acpi",        "proc/asound",        "proc/kcore",
                                       "proc/keys",        "proc/latency_stats", "proc/timer_list",
                                       "proc/timer_stats", "proc/sched_debug",   "sys/firmware",
                                       "proc/scsi"};
  static const char* const read_only[] = {"proc/bus", "proc/fs", "proc/irq", "proc/sys",
                                          "proc/sysrq-trigger"};
  for (size_t i = 0; i < sizeof masked / sizeof masked[0]; ++i) {
    if (mount("dev/null", masked[i], 0, MS_BIND, 0) == 0 || errno == ENOENT) continue;
    MUST(mount("tmpfs", masked[i], "tmpfs", MS_RDONLY, "nr_blocks=1,nr_inodes=1"));
  }
  struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};
  for (size_t i = 0; i < sizeof read_only / sizeof read_only[0]; ++i) {
    if (mount(read_only[i], read_only[i], 0, MS_BIND | MS_REC, 0) < 0) {
      if (errno != ENOENT) _exit(99);
      continue;
    }
    MUST(syscall(SYS_mount_setattr, AT_FDCWD, read_only[i], AT_RECURSIVE, &attr, sizeof attr));
  }
}

static void enter_root(const char* rootfs) {
  MUST(mount(0, "/", 0, MS_REC | MS_PRIVATE, 0));
  MUST(mount(rootfs, rootfs, 0, MS_BIND | MS_REC, 0));
  MUST(chdir(rootfs));
  mounts();
  devices();
  masks();
  MUST(syscall(SYS_pivot_root, ".", "."));
  MUST(umount2(".", detach));
  MUST(chdir("/"));
  struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};
  MUST(syscall(SYS_mount_setattr, AT_FDCWD, "/", 0, &attr, sizeof attr));
}

static void loopback(void) {
  struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  MUST(fd);
  MUST(ioctl(fd, SIOCSIFFLAGS, &request));
}

static void identity(void) {
  const struct rlimit files = {1024, 1024};
  MUST(setsid());
  MUST(syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, &files, 0));
  umask(0022);
  for (int i = 0; i <= last_capability; ++i)
    if ((kept_capabilities >> i & 1) == 0) MUST(prctl(PR_CAPBSET_DROP, i, 0, 0, 0));
  MUST(syscall(SYS_setgroups, 0, 0));
  const uint32_t low = (uint32_t)kept_capabilities, high = (uint32_t)(kept_capabilities >> 32);
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  const struct __user_cap_data_struct data[2] = {{low, low, 0}, {high, high, 0}};
  MUST(syscall(SYS_capset, &header, data));
  MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  MUST(syscall(SYS_close_range, 3, ~0U, 4 /* CLOSE_RANGE_CLOEXEC */));
  if (program.len != 0) MUST(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
}

static void child(char** argv) {
  static char* const environment[] = {
      "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm", 0};
  char* const arguments[] = {argv[5], 0};
  MUST(prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0));
  MUST(syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, argv[3], 0, 0, 0));
  umask(0);
  enter_root(argv[1]);
  MUST(sethostname(argv[3], __builtin_strlen(argv[3])));
  loopback();
  identity();
  execve(argv[5], arguments, environment);
  _exit(99);
}

int main(int argc, char** argv) {
  if (argc != 6) return 98;
  if (argv[4][0] != '-') {
    int fd = open(argv[4], O_RDONLY | O_CLOEXEC);
    ssize_t size = read(fd, filter, sizeof filter);
    if (size <= 0) return 97;
    program.len = (unsigned short)((size_t)size / sizeof filter[0]);
  }
  if (mkdir(argv[2], 0755) < 0) return 96;
  const int cgroup = open(argv[2], O_PATH | O_DIRECTORY | O_CLOEXEC);
  // CLONE_VFORK without CLONE_VM: the parent does not run, so nothing is copied on write twice.
  struct clone_args args = {.flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC |
                                     CLONE_NEWUTS | CLONE_NEWCGROUP | CLONE_INTO_CGROUP |
                                     CLONE_VFORK,
                            .exit_signal = SIGCHLD,
                            .cgroup = (uint64_t)cgroup};
  const long pid = syscall(SYS_clone3, &args, sizeof args);
  if (pid == 0) child(argv);
  int status = 0;
  if (pid < 0 || wait4((pid_t)pid, &status, 0, 0) != pid) return 95;
  if (rmdir(argv[2]) < 0) return 94;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
