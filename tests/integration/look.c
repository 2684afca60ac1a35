// What a process was given by whoever executed it, all of it, as lines "key value": read by
// process.py and compared there. Must not: open, change or start anything before it has looked.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

extern char** environ;
static FILE* out;

static void descriptors(void) {
  for (int fd = 0; fd < 4096; ++fd) {
    struct stat info;
    const int flags = fcntl(fd, F_GETFD);
    if (flags < 0) continue;
    fstat(fd, &info);
    const char* kind = S_ISCHR(info.st_mode)    ? "char"
                       : S_ISREG(info.st_mode)  ? "file"
                       : S_ISFIFO(info.st_mode) ? "fifo"
                       : S_ISSOCK(info.st_mode) ? "socket"
                       : S_ISDIR(info.st_mode)  ? "directory"
                                                : "other";
    fprintf(out, "fd.%d %s%s%s\n", fd, kind, flags & FD_CLOEXEC ? " cloexec" : "",
            fcntl(fd, F_GETFL) & O_NONBLOCK ? " nonblock" : "");
  }
}

static void signals(void) {
  sigset_t set;
  sigprocmask(SIG_SETMASK, NULL, &set);
  fprintf(out, "signals.blocked");
  for (int i = 1; i < NSIG; ++i)
    if (sigismember(&set, i) == 1) fprintf(out, " %d", i);
  fprintf(out, "\nsignals.not_default");
  for (int i = 1; i < NSIG; ++i) {
    struct sigaction action;
    if (sigaction(i, NULL, &action) == 0 && action.sa_handler != SIG_DFL) fprintf(out, " %d", i);
  }
  sigpending(&set);
  fprintf(out, "\nsignals.pending");
  for (int i = 1; i < NSIG; ++i)
    if (sigismember(&set, i) == 1) fprintf(out, " %d", i);
  stack_t stack;
  sigaltstack(NULL, &stack);
  fprintf(out, "\nsignals.stack %s\n", stack.ss_flags & SS_DISABLE ? "none" : "set");
}

static void identity(void) {
  unsigned r, e, s;
  getresuid(&r, &e, &s);
  fprintf(out, "uid %u %u %u\n", r, e, s);
  getresgid(&r, &e, &s);
  fprintf(out, "gid %u %u %u\n", r, e, s);
  gid_t groups[128];
  const int count = getgroups(128, groups);
  fprintf(out, "groups");
  for (int i = 0; i < count; ++i) fprintf(out, " %u", groups[i]);
  const mode_t mask = umask(0);
  umask(mask);
  fprintf(out, "\numask %03o\n", mask);
  fprintf(out, "session %s %s\n", getsid(0) == getpid() ? "own" : "other",
          getpgrp() == getpid() ? "leader" : "member");
  char text[512];
  const long ring = syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0);
  const long size = ring < 0 ? -1 : syscall(SYS_keyctl, KEYCTL_DESCRIBE, ring, text, sizeof text);
  const char* name = size > 0 ? strrchr(text, ';') : NULL;
  fprintf(out, "keyring %ld %s\n", ring, name ? name + 1 : "?");
}

static void terminal(void) {
  for (int fd = 0; fd < 3; ++fd) {
    struct winsize size = {0};
    char name[256];
    if (ttyname_r(fd, name, sizeof name) != 0 || ioctl(fd, TIOCGWINSZ, &size) != 0) continue;
    fprintf(out, "tty.%d %s %ux%u\n", fd, name, size.ws_col, size.ws_row);
  }
  const int own = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
  fprintf(out, "tty.controlling %s\n",
          own < 0                       ? strerrorname_np(errno)
          : tcgetpgrp(own) == getpgrp() ? "foreground"
                                        : "background");
  if (own >= 0) close(own);
}

static void attributes(void) {
  int value = 0;
  prctl(PR_GET_PDEATHSIG, &value);
  fprintf(out, "prctl.pdeathsig %d\n", value);
  prctl(PR_GET_CHILD_SUBREAPER, &value);
  fprintf(out, "prctl.subreaper %d\n", value);
  fprintf(out, "prctl.no_new_privs %d\nprctl.securebits %d\nprctl.dumpable %d\n",
          prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), prctl(PR_GET_SECUREBITS), prctl(PR_GET_DUMPABLE));
  fprintf(out, "prctl.keepcaps %d\nprctl.thp_disable %d\nprctl.timerslack %d\n",
          prctl(PR_GET_KEEPCAPS), prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), prctl(PR_GET_TIMERSLACK));
  fprintf(out, "personality %x\n", personality(0xffffffff));
  errno = 0;
  fprintf(out, "scheduler %d nice %d\n", sched_getscheduler(0), getpriority(PRIO_PROCESS, 0));
  fprintf(out, "ioprio %ld\n", syscall(SYS_ioprio_get, 1, 0));
  for (int i = 0; i < (int)RLIMIT_NLIMITS; ++i) {
    struct rlimit limit;
    getrlimit(i, &limit);
    fprintf(out, "rlimit.%d %llu %llu\n", i, (unsigned long long)limit.rlim_cur,
            (unsigned long long)limit.rlim_max);
  }
  for (int i = 0; i < 3; ++i) {
    struct itimerval timer;
    getitimer(i, &timer);
    fprintf(out, "timer.%d %s\n", i,
            timer.it_value.tv_sec || timer.it_value.tv_usec ? "set" : "none");
  }
}

// Lines of a file of procfs, with a prefix before those that begin with one of `keys`.
static void lines(const char* path, const char* prefix, const char* const* keys) {
  char line[4096];
  FILE* file = fopen(path, "re");
  if (!file) {
    fprintf(out, "%s%s\n", prefix, strerrorname_np(errno));
    return;
  }
  while (fgets(line, sizeof line, file))
    for (const char* const* key = keys; *key; ++key)
      if (strncmp(line, *key, strlen(*key)) == 0) fprintf(out, "%s%s", prefix, line);
  fclose(file);
}

// The place of the answer: a file, or the standard output. Opened last.
static int deliver(const char* path, const char* text, size_t size) {
  const int fd = path ? open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666) : STDOUT_FILENO;
  while (size > 0) {
    const ssize_t n = write(fd, text, size);
    if (n <= 0) return 9;
    text += n;
    size -= (size_t)n;
  }
  return 0;
}

int main(int argc, char** argv) {
  char cwd[4096], root[4096] = "?", *text = NULL;
  size_t size = 0;
  out = open_memstream(&text, &size);
  descriptors();
  signals();
  identity();
  terminal();
  attributes();
  fprintf(out, "cwd %s\n", getcwd(cwd, sizeof cwd) ? cwd : strerrorname_np(errno));
  const ssize_t length = readlink("/proc/self/root", root, sizeof root - 1);
  if (length > 0) root[length] = 0;
  fprintf(out, "root %s\n", root);
  for (int i = 0; i < argc; ++i) fprintf(out, "arg.%d %s\n", i, argv[i]);
  for (int i = 0; environ[i]; ++i) fprintf(out, "env.%d %s\n", i, environ[i]);
  const char* const status[] = {"Cap", "Seccomp", "Cpus_allowed_list", "TracerPid", NULL};
  lines("/proc/self/status", "status.", status);
  const char* const all[] = {"", NULL};
  lines("/proc/self/oom_score_adj", "oom_score_adj ", all);
  lines("/proc/self/coredump_filter", "coredump_filter ", all);
  lines("/proc/self/cgroup", "cgroup ", all);
  fprintf(out, "end\n");
  fclose(out);
  return deliver(argc > 1 && argv[1][0] == '/' ? argv[1] : NULL, text, size);
}
