#include "runtime/child_program.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "base/fd.h"
#include "base/file.h"
#include "runtime/abort_signal.h"

namespace minirun {
namespace {

using Clock = std::chrono::steady_clock;

/// A file and not a pipe: a program that does not read it costs no wait and no SIGPIPE.
Result<Fd> make_input(const std::string& text) {
  Fd file(::memfd_create("minirun-state", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file) return os_error("standard input of a hook");
  TRY(write_all(file.get(), text, "standard input of a hook"));
  if (::lseek(file.get(), 0, SEEK_SET) != 0 ||
      ::fcntl(file.get(), F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) !=
          0)
    return os_error("standard input of a hook");
  return file;
}

struct Pipe {
  Fd read, write;
};

Result<Pipe> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return os_error("pipe");
  return Pipe{Fd(ends[0]), Fd(ends[1])};
}

/// What a body that could not begin tells: errno, then the object and the detail as text.
std::string pack(const Error& error) {
  std::string text(sizeof error.errnum, '\0');
  std::memcpy(text.data(), &error.errnum, sizeof error.errnum);
  return text + error.object + '\0' + error.detail;
}

std::optional<Error> unpack(std::string_view text) {
  Error error;
  if (text.size() < sizeof error.errnum) return std::nullopt;
  std::memcpy(&error.errnum, text.data(), sizeof error.errnum);
  text.remove_prefix(sizeof error.errnum);
  const std::size_t end = std::min(text.find('\0'), text.size());
  error.object = text.substr(0, end);
  error.detail = end < text.size() ? text.substr(end + 1) : "";
  return error;
}

/// Between fork and the body: a process like any, with three descriptors.
[[noreturn]] void become_child(const ChildProgram& program, int input, int output, int failure,
                               pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(125);  // it died before the call above
  ::setpgid(0, 0);
  // The kernel's call: the C library refuses 32 and 33, which a caller may have ignored all the
  // same.
  const std::array<std::uint64_t, 4> default_action{};  // struct sigaction of the kernel
  for (int signal = 1; signal < NSIG; ++signal)
    ::syscall(SYS_rt_sigaction, signal, default_action.data(), nullptr, std::size_t{8});
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  if (::dup2(input, 0) < 0 || ::dup2(output, 1) < 0 || ::dup2(output, 2) < 0) ::_exit(125);
  Error error{errno, "close_range", {}, {}};
  if (::close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) == 0) error = program.body();
  const std::string text = pack(error);
  (void)write_all(failure, text, "");
  ::_exit(125);
}

class ChildSupervisor {
 public:
  ChildSupervisor(const ChildProgram& program, pid_t pid, PidFd pidfd, Fd output)
      : program_(program), pid_(pid), pidfd_(std::move(pidfd)), output_(std::move(output)) {
    if (program.timeout) deadline_ = Clock::now() + *program.timeout;
  }
  ChildSupervisor(const ChildSupervisor&) = delete;
  ChildSupervisor& operator=(const ChildSupervisor&) = delete;
  ~ChildSupervisor() {
    if (pid_ > 0) {
      end_group();
      (void)collect();
    }
  }

  Result<ChildEnd> wait() {
    ::fcntl(output_.get(), F_SETFL, O_NONBLOCK);
    for (;;) {
      std::array<pollfd, 3> polls{{{pidfd_.get(), POLLIN, 0},
                                   {output_ ? output_.get() : -1, POLLIN, 0},
                                   {program_.signal_fd, POLLIN, 0}}};
      if (::poll(polls.data(), polls.size(), milliseconds_left()) < 0 && errno != EINTR)
        return os_error("poll");
      if (polls[1].revents != 0) read_output();
      if (polls[0].revents != 0) {
        if (output_) read_output();
        TRY(collect());
        return std::move(end_);
      }
      if (polls[2].revents != 0) TRY(take_signal());
      if (deadline_ && Clock::now() >= *deadline_) {
        end_.timed_out = true;
        deadline_.reset();
        end_group();
      }
    }
  }

 private:
  [[nodiscard]] int milliseconds_left() const {
    if (!deadline_) return -1;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(*deadline_ - Clock::now());
    return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 1'000'000));
  }

  void end_group() {
    ::kill(-pid_, SIGKILL);
    ::syscall(SYS_pidfd_send_signal, pidfd_.get(), SIGKILL, nullptr, 0);
  }

  void read_output() {
    std::array<char, 4096> buffer{};
    // Bounded: a program that never stops printing must not keep us from its time limit.
    for (int round = 0; round < 64; ++round) {
      const ssize_t size = ::read(output_.get(), buffer.data(), buffer.size());
      if (size <= 0) {
        if (size == 0 || (errno != EAGAIN && errno != EINTR)) output_.reset();
        return;
      }
      end_.output.append(buffer.data(), static_cast<std::size_t>(size));
      if (end_.output.size() > program_.output_limit)
        end_.output.erase(0, end_.output.size() - program_.output_limit);
    }
  }

  Status take_signal() {
    if (const auto signal = take_abort(program_.signal_fd))
      return os_error(EINTR, "hook", "aborted by " + *signal);
    return {};
  }

  Status collect() {
    siginfo_t info{};
    if (TEMP_FAILURE_RETRY(::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(pidfd_.get()),
                                    &info, WEXITED)) != 0)
      return os_error("waitid");
    pid_ = 0;
    if (info.si_code == CLD_EXITED)
      end_.exit_code = info.si_status;
    else
      end_.signal = info.si_status;
    return {};
  }

  const ChildProgram& program_;
  pid_t pid_;
  PidFd pidfd_;
  Fd output_;
  std::optional<Clock::time_point> deadline_;
  ChildEnd end_;
};

}  // namespace

Result<ChildEnd> run_child(const ChildProgram& program) {
  const Fd input = TRY(make_input(program.input));
  Pipe output = TRY(make_pipe());
  Pipe failure = TRY(make_pipe());
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return os_error("fork");
  if (pid == 0) become_child(program, input.get(), output.write.get(), failure.write.get(), parent);
  ::setpgid(pid, pid);  // also by the child: whoever comes first
  PidFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd) {
    const int error = errno;
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    return os_error(error, "pidfd_open");
  }
  output.write.reset();
  failure.write.reset();
  ChildSupervisor supervisor(program, pid, std::move(pidfd), std::move(output.read));
  ChildEnd end = TRY(supervisor.wait());
  ::fcntl(failure.read.get(), F_SETFL, O_NONBLOCK);
  std::array<char, 4096> text{};
  const ssize_t size = ::read(failure.read.get(), text.data(), text.size());
  if (size > 0) end.failure = unpack({text.data(), static_cast<std::size_t>(size)});
  return end;
}

Error execute(const std::string& path, const std::vector<std::string>& arguments,
              const std::vector<std::string>& environment) {
  auto pointers = [](const std::vector<std::string>& strings) {
    std::vector<char*> list;
    list.reserve(strings.size() + 1);
    for (const std::string& string : strings) list.push_back(const_cast<char*>(string.c_str()));
    list.push_back(nullptr);
    return list;
  };
  const std::vector<char*> argv = pointers(arguments), envp = pointers(environment);
  ::execve(path.c_str(), argv.data(), envp.data());
  return Error{errno, path, "exec", {}};
}

}  // namespace minirun
