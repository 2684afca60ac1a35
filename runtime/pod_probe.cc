#include "runtime/pod_probe.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

namespace minirun {
namespace {

using kubernetes::Probe;

/// Connects and, for HTTP, wants a status of 200 to 399, as the kubelet does. No timeout here:
/// whoever started this process kills it.
bool connects(const Probe& probe, const std::string& host, const std::string& request) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(probe.port);
  if (fd < 0 || ::inet_pton(AF_INET, host.c_str(), &address.sin_addr) != 1 ||
      ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return false;
  if (probe.kind == Probe::Kind::tcp) return true;
  if (::send(fd, request.data(), request.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(request.size()))
    return false;
  char answer[64]{};
  std::size_t used = 0;
  while (used < 12) {
    const ssize_t n = ::recv(fd, answer + used, sizeof answer - 1 - used, 0);
    if (n <= 0) return false;
    used += static_cast<std::size_t>(n);
  }
  // A server whose answer is not read to its end is told of a reset connection. 10 KiB as the
  // kubelet; who keeps the connection open is not waited for.
  const timeval patience{.tv_sec = 0, .tv_usec = 200'000};
  (void)::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  char rest[1024];
  for (int reads = 0; reads < 10 && ::recv(fd, rest, sizeof rest, 0) > 0;) ++reads;
  // "HTTP/1.1 200 OK"
  const std::string_view text(answer, used);
  return text.starts_with("HTTP/") && text.size() >= 12 && (text[9] == '2' || text[9] == '3');
}

std::string http_request(const Probe& probe, const std::string& address) {
  std::string text = fmt::format("GET {} HTTP/1.1\r\n", probe.path);
  bool host = false;
  for (const auto& [name, value] : probe.headers) {
    text += fmt::format("{}: {}\r\n", name, value);
    host = host || ::strcasecmp(name.c_str(), "Host") == 0;
  }
  if (!host) text += fmt::format("Host: {}:{}\r\n", address, probe.port);
  return text + "User-Agent: minirun-probe/1\r\nAccept: */*\r\nConnection: close\r\n\r\n";
}

}  // namespace

Result<ProbeProcess> start_probe(const Probe& probe, const ProbeTarget& target) {
  const std::string request =
      probe.kind == Probe::Kind::http ? http_request(probe, target.address) : "";
  std::vector<std::string> words = {"minirun",           "--root", target.state_root, "exec",
                                    target.container_id, "--"};
  words.insert(words.end(), probe.command.begin(), probe.command.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const pid_t pid = ::fork();
  if (pid < 0) return os_error("probe");
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    const int null = ::open("/dev/null", O_RDWR);
    for (const int fd : {0, 1, 2}) ::dup2(null, fd);
    if (probe.kind == Probe::Kind::exec) {
      ::execv("/proc/self/exe", argv.data());
      ::_exit(126);
    }
    const bool inside = target.network < 0 || ::setns(target.network, CLONE_NEWNET) == 0;
    ::_exit(inside && connects(probe, target.address, request) ? 0 : 1);
  }
  ProbeProcess process{.pid = pid,
                       .pidfd = PidFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)))};
  if (!process.pidfd) return os_error("probe");
  return process;
}

}  // namespace minirun
