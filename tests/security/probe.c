// The attacker inside: one static program with many small modes, each prints what it could do.
// Exit status 0 unless the mode itself could not run; the judgement is made outside, in `run`.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef F_GET_SEALS
#define F_GET_SEALS 1034
#endif

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static const char* name_of(int error) {
  return error == 0 ? "ok" : strerrorname_np(error) ? strerrorname_np(error) : "?";
}

static void json_text(const char* text) {
  putchar('"');
  for (; *text; ++text) {
    const unsigned char c = (unsigned char)*text;
    if (c == '"' || c == '\\' || c < 0x20 || c > 0x7e)
      printf("\\u%04x", c);
    else
      putchar(c);
  }
  putchar('"');
}

static void json_pair(const char* key, const char* value) {
  json_text(key);
  putchar(':');
  json_text(value);
  putchar(',');
}

static void status_lines(void) {
  FILE* f = fopen("/proc/self/status", "re");
  char line[4096];
  while (f && fgets(line, sizeof line, f)) {
    char* colon = strchr(line, ':');
    if (!colon) continue;
    *colon = 0;
    char* value = colon + 1;
    while (*value == ' ' || *value == '\t') ++value;
    value[strcspn(value, "\n")] = 0;
    json_pair(line, value);
  }
  if (f) fclose(f);
}

static void descriptors(const char* key, const char* path) {
  json_text(key);
  printf(":{");
  DIR* dir = opendir(path);
  struct dirent* e;
  int first = 1;
  while (dir && (e = readdir(dir))) {
    if (e->d_name[0] == '.' ||
        (strcmp(path, "/proc/self/fd") == 0 && atoi(e->d_name) == dirfd(dir)))
      continue;
    char link[600], target[512];
    snprintf(link, sizeof link, "%s/%s", path, e->d_name);
    ssize_t n = readlink(link, target, sizeof target - 1);
    target[n < 0 ? 0 : n] = 0;
    if (!first) putchar(',');
    first = 0;
    json_text(e->d_name);
    putchar(':');
    json_text(target);
  }
  if (dir) closedir(dir);
  printf("},");
}

static int info(char** environment) {
  printf("{");
  status_lines();
  char text[4096];
  long n = syscall(SYS_getcwd, text, sizeof text);
  json_pair("cwd", n < 0 ? name_of(errno) : text);
  printf("\"keepcaps\":%d,\"securebits\":%d,", prctl(PR_GET_KEEPCAPS), prctl(PR_GET_SECUREBITS));
  int deathsig = -1;
  prctl(PR_GET_PDEATHSIG, &deathsig);
  printf("\"nice\":%d,\"personality\":%d,\"deathsig\":%d,", getpriority(PRIO_PROCESS, 0),
         personality(0xffffffff), deathsig);
  printf("\"timerslack\":%d,\"dumpable\":%d,\"subreaper\":%d,", prctl(PR_GET_TIMERSLACK),
         prctl(PR_GET_DUMPABLE), 0);
  printf("\"sid\":%d,\"pid\":%d,\"ppid\":%d,", getsid(0), getpid(), getppid());
  for (int i = 0; i < RLIM_NLIMITS; ++i) {
    struct rlimit limit;
    getrlimit(i, &limit);
    printf("\"rlimit%d\":[%lld,%lld],", i, (long long)limit.rlim_cur, (long long)limit.rlim_max);
  }
  long ring = syscall(SYS_keyctl, 0 /* GET_KEYRING_ID */, -3 /* session */, 0);
  if (ring < 0) {
    json_pair("keyring", name_of(errno));
  } else {
    memset(text, 0, sizeof text);
    long r = syscall(SYS_keyctl, 6 /* DESCRIBE */, ring, text, sizeof text - 1);
    json_pair("keyring", r < 0 ? name_of(errno) : text);
    printf("\"keyring_id\":%ld,", ring);
  }
  long found = syscall(SYS_keyctl, 10 /* SEARCH */, -3, "user", "minirun_canary", 0);
  json_pair("key_search", found < 0 ? name_of(errno) : "ok");
  descriptors("fds", "/proc/self/fd");
  descriptors("fds1", "/proc/1/fd");
  printf("\"env\":[");
  for (char** e = environment; *e; ++e) {
    if (e != environment) putchar(',');
    json_text(*e);
  }
  printf("]}\n");
  return 0;
}

/// Looks at every process that appears: is its program a file that we can change?
static int racer(double seconds) {
  const double end = now() + seconds;
  int writes = 0, handles = 0, unsealed = 0, foreign = 0;
  char seen[200] = "";
  struct stat own;
  stat("/proc/self/exe", &own);
  printf("up\n");
  fflush(stdout);
  while (now() < end) {
    DIR* dir = opendir("/proc");
    struct dirent* e;
    while (dir && (e = readdir(dir))) {
      const int pid = atoi(e->d_name);
      if (pid <= 0 || pid == getpid()) continue;
      char path[64];
      snprintf(path, sizeof path, "/proc/%d/exe", pid);
      const int fd = open(path, O_RDONLY | O_CLOEXEC);
      if (fd < 0) continue;
      struct stat info;
      if (fstat(fd, &info) == 0 && (info.st_ino != own.st_ino || info.st_dev != own.st_dev)) {
        ++handles;
        struct statfs fs;
        fstatfs(fd, &fs);
        const int seals = fcntl(fd, F_GET_SEALS);
        if (seals < 0 || (seals & 0xf) != 0xf) ++unsealed;
        if (fs.f_type != 0x01021994 || info.st_nlink != 0) {
          ++foreign;
          ssize_t n = readlink(path, seen, sizeof seen - 1);
          seen[n < 0 ? 0 : n] = 0;
        }
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        for (int i = 0; i < 50; ++i) {
          const int out = open(path, O_WRONLY | O_CLOEXEC);
          if (out >= 0) {
            if (write(out, "#!/owned\n", 9) > 0) ++writes;
            close(out);
          }
          usleep(200);
        }
      }
      close(fd);
    }
    if (dir) closedir(dir);
  }
  printf("{\"handles\":%d,\"unsealed\":%d,\"foreign\":%d,\"writes\":%d,\"seen\":", handles,
         unsealed, foreign, writes);
  json_text(seen);
  printf("}\n");
  return 0;
}

/// Whether `pid` still runs minirun's stage, and not the program that it becomes.
static int is_stage(int pid) {
  char path[64], target[256];
  snprintf(path, sizeof path, "/proc/%d/exe", pid);
  const ssize_t n = readlink(path, target, sizeof target - 1);
  target[n < 0 ? 0 : n] = 0;
  return strstr(target, "minirun") != 0;
}

/// Walks over every process that appears and is not ours: descriptors, memory, ptrace.
static int spy(double seconds) {
  const double end = now() + seconds;
  printf("up\n");
  fflush(stdout);
  unsigned long rounds = 0, looked = 0;
  while (now() < end) {
    ++rounds;
    DIR* proc = opendir("/proc");
    struct dirent* process;
    while (proc && (process = readdir(proc))) {
      const int pid = atoi(process->d_name);
      if (pid <= 1 || pid == getpid()) continue;
      char path[128], target[256], comm[64] = "";
      // the name is for everybody to read; /proc/PID/exe may be refused
      snprintf(path, sizeof path, "/proc/%d/comm", pid);
      const int name = open(path, O_RDONLY | O_CLOEXEC);
      if (name < 0) continue;
      ssize_t n = read(name, comm, sizeof comm - 1);
      close(name);
      if (n <= 0 || !strncmp(comm, "probe", 5)) continue;
      ++looked;
      static const char* const things[] = {"cwd", "root"};
      for (int i = 0; i < 2; ++i) {
        char canary[160];
        snprintf(canary, sizeof canary, "/proc/%d/%s/minirun-canary", pid, things[i]);
        if (access(canary, F_OK) == 0) printf("{\"what\":\"%s\",\"target\":\"host\"}\n", things[i]);
      }
      snprintf(path, sizeof path, "/proc/%d/fd", pid);
      DIR* dir = opendir(path);
      struct dirent* e;
      while (dir && (e = readdir(dir))) {
        if (e->d_name[0] == '.') continue;
        char link[400];
        snprintf(link, sizeof link, "%s/%s", path, e->d_name);
        n = readlink(link, target, sizeof target - 1);
        if (n <= 0 || !is_stage(pid)) continue;
        target[n] = 0;
        printf("{\"what\":\"fd\",\"fd\":%d,\"target\":", atoi(e->d_name));
        json_text(target);
        printf("}\n");
      }
      if (dir) closedir(dir);
      if (ptrace(PTRACE_SEIZE, pid, 0, 0) == 0) {
        // what could be done with it counts: its capabilities. It is not stopped: what it executes
        // meanwhile is looked at again below.
        char status[64], line[256], caps[32] = "?";
        snprintf(status, sizeof status, "/proc/%d/status", pid);
        FILE* f = fopen(status, "re");
        while (f && fgets(line, sizeof line, f)) sscanf(line, "CapPrm: %31s", caps);
        if (f) fclose(f);
        if (is_stage(pid)) printf("{\"what\":\"ptrace\",\"target\":\"%s\"}\n", caps);
        ptrace(PTRACE_INTERRUPT, pid, 0, 0);
        waitpid(pid, 0, __WALL);
        ptrace(PTRACE_DETACH, pid, 0, 0);
      }
    }
    if (proc) closedir(proc);
  }
  printf("{\"what\":\"end\",\"rounds\":%lu,\"looked\":%lu}\n", rounds, looked);
  return 0;
}

static void row(const char* name, long result) {
  printf("%s %s\n", name, result < 0 ? name_of(errno) : "ok");
}

/// Harmless arguments: what is asked is whether the filter lets the call through.
static int calls(void) {
  static char page[4096] __attribute__((aligned(4096)));
  struct {
    uint32_t a[32];
  } zero;
  memset(&zero, 0, sizeof zero);
#define CALL(name, ...) row(#name, syscall(SYS_##name, ##__VA_ARGS__))
  CALL(io_uring_setup, 1, &zero);
  CALL(io_uring_enter, -1, 0, 0, 0, 0);
  CALL(io_uring_register, -1, 0, 0, 0);
  CALL(userfaultfd, 0);
  CALL(open_by_handle_at, -1, &zero, 0);
  CALL(keyctl, 6, -3, page, 10);
  CALL(add_key, "user", "x", "y", 1, -3);
  CALL(request_key, "user", "nosuch", 0, 0);
  CALL(bpf, 5, &zero, sizeof zero);
  CALL(perf_event_open, &zero, 0, -1, -1, 0);
  CALL(kexec_load, 0, 0, 0, 0);
  CALL(kexec_file_load, -1, -1, 0, 0, 0);
  CALL(init_module, 0, 0, 0);
  CALL(finit_module, -1, "", 0);
  CALL(delete_module, "nosuch", O_NONBLOCK);
  CALL(mount, "none", "/nosuch", "tmpfs", 0, 0);
  CALL(umount2, "/nosuch", 0);
  CALL(fsopen, "tmpfs", 0);
  CALL(fsmount, -1, 0, 0);
  CALL(fsconfig, -1, 0, 0, 0, 0);
  CALL(fspick, -1, "", 0);
  CALL(open_tree, AT_FDCWD, "/", 1);
  CALL(move_mount, -1, "", -1, "", 0);
  CALL(mount_setattr, -1, "", 0, &zero, sizeof zero);
  CALL(pivot_root, "/nosuch", "/nosuch");
  CALL(setns, -1, 0);
  CALL(unshare, CLONE_NEWUSER);
  CALL(swapon, "/nosuch", 0);
  CALL(reboot, 0, 0, 0, 0);
  CALL(settimeofday, 0, 0);
  CALL(clock_settime, 0, &zero);
  CALL(sethostname, "x", 1);
  CALL(acct, "/nosuch");
  CALL(ptrace, PTRACE_ATTACH, 1 << 22, 0, 0);
  CALL(process_vm_readv, 1 << 22, 0, 0, 0, 0, 0);
  CALL(syslog, 10, 0, 0);
  CALL(quotactl, 0, 0, 0, 0);
  CALL(personality, 0x0008);
#ifdef __x86_64__
  CALL(iopl, 3);
  CALL(ioperm, 0, 1, 1);
  CALL(modify_ldt, 0, 0, 0);
#endif
  row("socket_alg", socket(38, SOCK_SEQPACKET, 0));
  row("socket_vsock", socket(40, SOCK_STREAM, 0));
  row("socket_inet", socket(AF_INET, SOCK_DGRAM, 0));
  row("socket_unix", socket(AF_UNIX, SOCK_DGRAM, 0));
  row("clone_newuser", syscall(SYS_clone, CLONE_NEWUSER | 0x10000000 | SIGCHLD, 0, 0, 0, 0) == 0
                           ? (_exit(0), 0)
                           : (errno != 0 ? -1 : 0));
  errno = 0;
  row("unknown_9999", syscall(9999));
#ifdef __x86_64__
  errno = 0;
  row("x32_getpid", syscall(0x40000000 | SYS_getpid));
#endif
  return 0;
}

static int put(const char* path, const char* text) {
  const int fd = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return printf("open %s\n", name_of(errno)), 0;
  const ssize_t n = write(fd, text, strlen(text));
  printf("write %s\n", n < 0 ? name_of(errno) : "ok");
  return 0;
}

static int get(const char* path) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return printf("open %s\n", name_of(errno)), 0;
  char buffer[65536];
  ssize_t n;
  while ((n = read(fd, buffer, sizeof buffer)) > 0) fwrite(buffer, 1, (size_t)n, stdout);
  if (n < 0) printf("read %s\n", name_of(errno));
  return 0;
}

static int list(const char* path) {
  DIR* dir = opendir(path);
  if (!dir) return printf("! %s\n", name_of(errno)), 0;
  struct dirent* e;
  while ((e = readdir(dir)))
    if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..")) puts(e->d_name);
  return 0;
}

static int devices(void) {
  static const struct {
    const char* name;
    mode_t type;
    unsigned major, minor;
  } rows[] = {{"mem", S_IFCHR, 1, 1},     {"kmsg", S_IFCHR, 1, 11},  {"kvm", S_IFCHR, 10, 232},
              {"fuse", S_IFCHR, 10, 229}, {"disk", S_IFBLK, 254, 0}, {"loop", S_IFBLK, 7, 0},
              {"null", S_IFCHR, 1, 3},    {"zero", S_IFCHR, 1, 5},   {"full", S_IFCHR, 1, 7},
              {"random", S_IFCHR, 1, 8},  {"urandom", S_IFCHR, 1, 9}};
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
    char path[64];
    snprintf(path, sizeof path, "/dev/probe-%s", rows[i].name);
    const int made = mknod(path, rows[i].type | 0600, makedev(rows[i].major, rows[i].minor));
    const int made_error = made < 0 ? errno : 0;
    const int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    printf("%s %s %s\n", rows[i].name, name_of(made_error), name_of(fd < 0 ? errno : 0));
    if (fd >= 0) close(fd);
  }
  return 0;
}

/// Every write that could leave or loosen the cgroup, below `top`.
static int cgroup(const char* top) {
  static const char* const files[] = {
      "cgroup.procs", "../cgroup.procs", "../../cgroup.procs", "cgroup.subtree_control",
      "pids.max",     "memory.max",      "../cgroup.freeze",   "cgroup.freeze"};
  for (size_t i = 0; i < sizeof files / sizeof files[0]; ++i) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", top, files[i]);
    const int fd = open(path, O_WRONLY | O_CLOEXEC);
    printf("%s %s\n", files[i], fd < 0 ? name_of(errno) : "ok");
    if (fd >= 0) close(fd);
  }
  char path[512];
  snprintf(path, sizeof path, "%s/escape", top);
  const int made = mkdir(path, 0755);
  printf("mkdir %s\n", made < 0 ? name_of(errno) : "ok");
  if (made == 0) rmdir(path);
  return 0;
}

static int legacy_cgroup(void) {
  row("unshare", unshare(CLONE_NEWNS));
  errno = 0;
  row("mount", mount("none", "/tmp", "cgroup", 0, "rdma"));
  errno = 0;
  row("mount2", mount("none", "/tmp", "cgroup2", 0, ""));
  return 0;
}

static int inject(void) {
  static const char text[] = "minirun-canary\n";
  errno = 0;
  long result = 0;
  for (size_t i = 0; i < sizeof text - 1 && result == 0; ++i) result = ioctl(0, TIOCSTI, text + i);
  row("tiocsti", result);
  errno = 0;
  row("tiocsti_high", syscall(SYS_ioctl, 0, (1UL << 32) | TIOCSTI, text));
  errno = 0;
  unsigned char linux_sub = 3;
  row("tioclinux", ioctl(0, TIOCLINUX, &linux_sub));
  errno = 0;
  row("tty", open("/dev/tty", O_RDWR | O_CLOEXEC));
  return 0;
}

/// `names`: PATH... - which of these can be written to, made or remounted.
static int mask(int count, char** paths) {
  for (int i = 0; i < count; ++i) {
    struct stat info;
    if (lstat(paths[i], &info) < 0) {
      printf("%s absent\n", paths[i]);
      continue;
    }
    char file[512];
    snprintf(file, sizeof file, "%s/x", paths[i]);
    if (S_ISDIR(info.st_mode)) {
      DIR* dir = opendir(paths[i]);
      int entries = -2;
      while (dir && readdir(dir)) ++entries;
      const int made = mkdir(file, 0755);
      printf("%s dir %d %s", paths[i], entries, made < 0 ? name_of(errno) : "ok");
    } else {
      const int fd = open(paths[i], O_RDONLY | O_NONBLOCK | O_CLOEXEC);
      char byte;
      const ssize_t n = fd < 0 ? -1 : read(fd, &byte, 1);
      const int error = errno;
      const int out = open(paths[i], O_WRONLY | O_CLOEXEC);
      printf("%s %s %zd %s", paths[i],
             S_ISCHR(info.st_mode) && info.st_rdev == makedev(1, 3) ? "null" : "file", n,
             fd < 0    ? name_of(error)
             : out < 0 ? name_of(errno)
                       : "ok");
    }
    const int remount = mount("none", paths[i], 0, MS_REMOUNT | MS_BIND, 0);
    printf(" %s", remount < 0 ? name_of(errno) : "ok");
    const int gone = umount2(paths[i], MNT_DETACH);
    printf(" %s\n", gone < 0 ? name_of(errno) : "ok");
  }
  return 0;
}

/// The classic escape: a root below the working directory.
static int chroot_escape(const char* file) {
  mkdir("/tmp/hole", 0755);
  const int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (chroot("/tmp/hole") < 0) return printf("chroot %s\n", name_of(errno)), 0;
  if (fchdir(root) < 0) return printf("fchdir %s\n", name_of(errno)), 0;
  for (int i = 0; i < 64; ++i)
    if (chdir("..") < 0) break;
  row("escape", open(file, O_RDONLY | O_CLOEXEC));
  return 0;
}

/// Starts `argv` as a hostile caller: what = words of things to spoil first.
static int caller(int argc, char** argv) {
  int i = 0;
  for (; i < argc && strcmp(argv[i], "--") != 0; ++i) {
    if (!strncmp(argv[i], "close=", 6)) {
      for (const char* c = argv[i] + 6; *c; ++c) close(*c - '0');
    } else if (!strcmp(argv[i], "signals")) {
      sigset_t all;
      sigfillset(&all);
      sigprocmask(SIG_SETMASK, &all, 0);
      // 32 and 33 belong to the C library, 64 is the last
      for (int s = 1; s <= 64; ++s) {
        if (s == SIGKILL || s == SIGSTOP || s == 32 || s == 33) continue;
        signal(s, SIG_IGN);
      }
    } else if (!strncmp(argv[i], "groups=", 7)) {
      gid_t groups[64];
      size_t n = 0;
      for (char* w = strtok(argv[i] + 7, ","); w; w = strtok(0, ",")) groups[n++] = (gid_t)atoi(w);
      if (setgroups(n, groups)) return perror("setgroups"), 1;
    } else if (!strncmp(argv[i], "inherit=", 8)) {
      // inheritable and ambient: everything that we have
      struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
      struct __user_cap_data_struct data[2];
      syscall(SYS_capget, &header, data);
      for (int k = 0; k < 2; ++k) data[k].inheritable = data[k].permitted;
      syscall(SYS_capset, &header, data);
      for (int c = 0; c < 41; ++c) prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, c, 0, 0);
    } else if (!strncmp(argv[i], "leak=", 5)) {
      for (int n = atoi(argv[i] + 5); n > 0; --n) {
        switch (n % 6) {
          case 0:
            open("/", O_RDONLY | O_DIRECTORY);
            break;
          case 1:
            open("/", O_PATH);
            break;
          case 2:
            open("/etc/hostname", O_RDONLY);
            break;
          case 3:
            socket(AF_UNIX, SOCK_STREAM, 0);
            break;
          case 4:
            memfd_create("leak", 0);
            break;
          default:
            open("/proc/self/ns/mnt", O_RDONLY);
            break;
        }
      }
    } else if (!strncmp(argv[i], "free=", 5)) {
      for (int fd = 3; fd < atoi(argv[i] + 5); ++fd) close(fd);
    } else if (!strncmp(argv[i], "umask=", 6)) {
      umask((mode_t)strtol(argv[i] + 6, 0, 8));
    } else if (!strncmp(argv[i], "nice=", 5)) {
      setpriority(PRIO_PROCESS, 0, atoi(argv[i] + 5));
    } else if (!strncmp(argv[i], "oom=", 4)) {
      int fd = open("/proc/self/oom_score_adj", O_WRONLY);
      if (write(fd, argv[i] + 4, strlen(argv[i] + 4)) < 0) perror("oom_score_adj");
      close(fd);
    } else if (!strncmp(argv[i], "nofile=", 7)) {
      struct rlimit limit = {(rlim_t)atoi(argv[i] + 7), (rlim_t)atoi(argv[i] + 7)};
      setrlimit(RLIMIT_NOFILE, &limit);
    } else if (!strcmp(argv[i], "core")) {
      struct rlimit limit = {1, 1};
      setrlimit(RLIMIT_CORE, &limit);
    } else if (!strncmp(argv[i], "chdir=", 6)) {
      if (chdir(argv[i] + 6)) perror("chdir");
    } else if (!strcmp(argv[i], "keyring")) {
      syscall(SYS_keyctl, 1 /* JOIN_SESSION_KEYRING */, 0);
      syscall(SYS_add_key, "user", "minirun_canary", "secret", 6, -3);
    } else if (!strcmp(argv[i], "slack")) {
      prctl(PR_SET_TIMERSLACK, 12345678);
    } else if (!strcmp(argv[i], "aslr")) {
      personality(ADDR_NO_RANDOMIZE);
    } else {
      return fprintf(stderr, "unknown word %s\n", argv[i]), 1;
    }
  }
  if (i >= argc) return fprintf(stderr, "no command\n"), 1;
  execv(argv[i + 1], argv + i + 1);
  return perror("execv"), 127;
}

int main(int argc, char** argv, char** environment) {
  if (argc < 2) return 64;
  const char* mode = argv[1];
  if (!strcmp(mode, "true")) return 0;
  if (!strcmp(mode, "exit")) return atoi(argv[2]);
  if (!strcmp(mode, "info")) return info(environment);
  if (!strcmp(mode, "echo")) return puts(argv[2]), 0;
  if (!strcmp(mode, "sleep")) return usleep((useconds_t)(atof(argv[2]) * 1e6)), 0;
  if (!strcmp(mode, "pause")) {
    puts("up");
    fflush(stdout);
    for (;;) pause();
  }
  if (!strcmp(mode, "racer")) return racer(atof(argv[2]));
  if (!strcmp(mode, "spy")) return spy(atof(argv[2]));
  if (!strcmp(mode, "calls")) return calls();
  if (!strcmp(mode, "put")) return put(argv[2], argv[3]);
  if (!strcmp(mode, "get")) return get(argv[2]);
  if (!strcmp(mode, "list")) return list(argv[2]);
  if (!strcmp(mode, "devices")) return devices();
  if (!strcmp(mode, "cgroup")) return cgroup(argv[2]);
  if (!strcmp(mode, "legacy-cgroup")) return legacy_cgroup();
  if (!strcmp(mode, "inject")) return inject();
  if (!strcmp(mode, "mask")) return mask(argc - 2, argv + 2);
  if (!strcmp(mode, "chroot")) return chroot_escape(argv[2]);
  if (!strcmp(mode, "caller")) return caller(argc - 2, argv + 2);
  if (!strcmp(mode, "touch")) return close(open(argv[2], O_CREAT | O_WRONLY, 0600)) < 0;
  return 64;
}
