// Owns: creation of processes and threads.
// Method: from the call to the end of the child as the parent sees it (waitpid, pthread_join). The
// child of fork, vfork and clone3 ends at once; posix_spawn executes this very program, which ends
// before its main work. With a resident size the parent holds that much touched anonymous memory,
// whose page tables fork copies.
// Known errors: one exit and one wake-up are part of it; a static program of 0.8 MB executes
// faster than a shell with its libraries.
// Reference: lmbench lat_proc (McVoy and Staelin, 1996).
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "probe/workload/textbook.h"

namespace minirun::probe {
namespace {

void reap(pid_t child) {
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
}

void fork_once() {
  const pid_t child = ::fork();
  if (child < 0) die("fork");
  if (child == 0) ::_exit(0);
  reap(child);
}

void clone3_once() {
  clone_args arguments{};
  arguments.exit_signal = SIGCHLD;
  const long child = ::syscall(SYS_clone3, &arguments, sizeof arguments);
  if (child < 0) die("clone3");
  if (child == 0) ::syscall(SYS_exit_group, 0);
  reap(static_cast<pid_t>(child));
}

void vfork_once() {
  const pid_t child = ::vfork();
  if (child < 0) die("vfork");
  if (child == 0) ::_exit(0);
  reap(child);
}

void* nothing(void*) {
  return nullptr;
}

void thread_once() {
  pthread_t thread{};
  if (::pthread_create(&thread, nullptr, nothing, nullptr) != 0) die("pthread_create");
  ::pthread_join(thread, nullptr);
}

void spawn(Report& report, std::uint64_t length) {
  char path[] = "/proc/self/exe", word[] = "--help";
  if (::access(path, X_OK) != 0)
    return unsupported_errno(report, "textbook.process.posix_spawn", path);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", 1, 0);
  char* argv[] = {path, word, nullptr};
  char* environment[] = {nullptr};
  bool failed = false;
  measure(report,
          {"textbook.process.posix_spawn", "ns", "lower", "", "vfork and exec of a static program"},
          length, [&] {
            pid_t child = 0;
            if (::posix_spawn(&child, path, &actions, nullptr, argv, environment) != 0)
              failed = true;
            else
              reap(child);
          });
  if (failed) report.warning("posix_spawn failed at times: its numbers are too small");
  ::posix_spawn_file_actions_destroy(&actions);
}

}  // namespace

void textbook_process(Report& report, std::uint64_t length, bool quick) {
  measure(report, {"textbook.process.thread", "ns", "lower", "", "create and join"}, length,
          thread_once);
  measure(report, {"textbook.process.vfork", "ns", "lower", "", "no page table is copied"}, length,
          vfork_once);
  // Container filters answer ENOSYS: they cannot look into its arguments (seccomp(2)).
  if (::syscall(SYS_clone3, nullptr, 0) < 0 && errno == ENOSYS)
    report.unsupported("textbook.process.clone3",
                       "clone3: refused here, by a filter or the kernel");
  else
    measure(report, {"textbook.process.clone3", "ns", "lower", "", "as fork, without libc"}, length,
            clone3_once);
  measure(report, {"textbook.process.fork", "ns", "lower", "", "a parent of about 1 MiB"}, length,
          fork_once);
  spawn(report, length);
  for (const std::size_t mib : {16U, 64U, 256U}) {
    if (quick && mib > 64) break;
    char name[64];
    std::snprintf(name, sizeof name, "textbook.process.fork_%zum", mib);
    void* memory =
        ::mmap(nullptr, mib << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
      unsupported_errno(report, name, "mmap");
      continue;
    }
    ::madvise(memory, mib << 20, MADV_NOHUGEPAGE);
    std::memset(memory, 1, mib << 20);
    measure(report, {name, "ns", "lower", "", "a parent with so much touched memory"}, length,
            fork_once);
    ::munmap(memory, mib << 20);
  }
}

}  // namespace minirun::probe
