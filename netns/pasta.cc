#include "netns/pasta.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <csignal>

#include "base/fd.h"
#include "base/file.h"
#include "netns/apply.h"

namespace minirun {

std::vector<std::string> plan_pasta(const std::string& program, const Network& network,
                                    const std::string& pid_file) {
  // Without --no-map-gw and with -T or -U the container would reach the host's loopback.
  std::vector<std::string> command = {program,  "--config-net", "--quiet", "--no-map-gw", "--pid",
                                      pid_file, "-T",           "none",    "-U",          "none"};
  bool tcp = false, udp = false;
  for (const PortMapping& port : network.ports) {
    (port.udp ? udp : tcp) = true;
    command.push_back(port.udp ? "-u" : "-t");
    command.push_back(fmt::format("{}{}:{}", port.host_ip.empty() ? "" : port.host_ip + "/",
                                  port.host_port, port.container_port));
  }
  // Its default forwards every port that is bound.
  if (!tcp) command.insert(command.end(), {"-t", "none"});
  if (!udp) command.insert(command.end(), {"-u", "none"});
  if (network.mtu) command.insert(command.end(), {"--mtu", std::to_string(*network.mtu)});
  if (network.ipv6 == false) command.push_back("--ipv4-only");
  return command;
}

Status start_pasta(std::vector<std::string> command, pid_t pid) {
  command.push_back(std::to_string(pid));
  // Warnings come first, and each line comes with another when no syslog can be reached.
  TRY(run_tool({.arguments = std::move(command),
                .input = {},
                .object = "network",
                .last_line_tells = true}));
  return {};
}

Status end_pasta(int directory, const std::string& pid_file) {
  const Result<std::string> text = read_file(directory, pid_file, 64);
  if (!text) return text.error().errnum == ENOENT ? Status() : std::unexpected(text.error());
  pid_t pid = 0;
  if (std::from_chars(text->data(), text->data() + text->size(), pid).ec != std::errc() || pid <= 1)
    return {};  // it did not come to be
  const PidFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd) return {};
  // The number may be another's by now: the name is looked at behind the descriptor.
  const Result<std::string> name = read_file(AT_FDCWD, fmt::format("/proc/{}/comm", pid), 64);
  if (!name || !(name->starts_with("pasta") || name->starts_with("passt"))) return {};
  if (::syscall(SYS_pidfd_send_signal, pidfd.get(), SIGTERM, nullptr, 0) != 0 && errno != ESRCH)
    return os_error(fmt::format("pasta, process {}", pid), "kill");
  return {};
}

}  // namespace minirun
