// Owns: the net workload: latency and throughput of TCP, over loopback or to a server elsewhere.
// Method: latency is half a round trip of 1 byte (TCP_NODELAY), the server on the second CPU and
// the client on the first. Throughput is 64 KiB at a time, counted by the side that receives, in
// windows of 50 ms: what only lies in a buffer or in the queue of a limit has not arrived.
// `loopback` forks its server. `serve` and `connect` are for two places, e.g. the host and a
// container on a bridge: the server answers on one interface only (SO_BINDTODEVICE), the client
// connects to the gateway of its default route.
// Known errors: what a token bucket lets through at once (20 ms of it) is counted.
// Both programs, and with a veth pair the network's own work too, share the CPUs.
// Reference: lmbench lat_tcp; iperf3(1), whose receiver's number this one is compared with.
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "probe/workload/textbook.h"

namespace minirun::probe {
namespace {

constexpr std::size_t chunk = 65536, max_windows = 2048;
constexpr std::uint64_t window_ns = 50'000'000;
char buffer[chunk];

/// What the client wants of a connection.
struct Order {
  enum class Kind : std::uint32_t { echo = 1, receive, send } kind;
  std::uint32_t milliseconds;
};

bool read_full(int fd, void* data, std::size_t size) {
  for (std::size_t done = 0; done < size;) {
    const ssize_t got = ::read(fd, static_cast<char*>(data) + done, size - done);
    if (got <= 0) return false;
    done += static_cast<std::size_t>(got);
  }
  return true;
}

bool write_full(int fd, const void* data, std::size_t size) {
  for (std::size_t done = 0; done < size;) {
    const ssize_t sent =
        ::send(fd, static_cast<const char*>(data) + done, size - done, MSG_NOSIGNAL);
    if (sent <= 0) return false;
    done += static_cast<std::size_t>(sent);
  }
  return true;
}

double rate_of(std::uint64_t bytes, std::uint64_t from, std::uint64_t to) {
  return to > from ? static_cast<double>(bytes) * 1e9 / static_cast<double>(to - from) : 0;
}

/// What arrived until the other side sent no more, in bytes in a second: by window, and of it all
/// from the first byte to the last. A receiver that a busy machine keeps waiting finds the bytes of
/// several windows in one, so that only the second one holds there.
struct Arrived {
  double average = 0;
  std::uint32_t windows = 0;
  double rates[max_windows] = {};
};

void receive_all(int fd, Arrived& arrived) {
  ssize_t got = ::read(fd, buffer, chunk);
  const std::uint64_t first = now_ns();
  std::uint64_t begin = first, last = first, bytes = 0, all = 0;
  while (got > 0 && (got = ::read(fd, buffer, chunk)) > 0) {
    bytes += static_cast<std::uint64_t>(got);
    all += static_cast<std::uint64_t>(got);
    last = now_ns();
    if (last - begin < window_ns || arrived.windows == max_windows) continue;
    arrived.rates[arrived.windows++] = rate_of(bytes, begin, last);
    begin = last;
    bytes = 0;
  }
  arrived.average = rate_of(all, first, last);
}

bool send_for(int fd, std::uint32_t milliseconds) {
  const std::uint64_t end = now_ns() + milliseconds * 1'000'000ULL;
  while (now_ns() < end)
    if (!write_full(fd, buffer, chunk)) return false;
  return ::shutdown(fd, SHUT_WR) == 0;
}

void serve_one(int fd) {
  Order order{};
  if (!read_full(fd, &order, sizeof order)) return;
  char byte = 0;
  switch (order.kind) {
    case Order::Kind::echo:
      while (::read(fd, &byte, 1) == 1 && write_full(fd, &byte, 1)) {
      }
      return;
    case Order::Kind::receive: {
      static Arrived arrived;
      arrived = {};
      receive_all(fd, arrived);
      write_full(fd, &arrived, sizeof arrived);
      return;
    }
    case Order::Kind::send:
      send_for(fd, order.milliseconds);
      read_full(fd, &byte, 1);  // until the client has read it all
      return;
  }
}

void no_delay(int fd) {
  const int one = 1;
  if (::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0) die("TCP_NODELAY");
}

/// A listening socket; `address` gets the port.
int listen_at(sockaddr_in& address, const char* device) {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  socklen_t length = sizeof address;
  auto* plain = reinterpret_cast<sockaddr*>(&address);
  const int one = 1;
  if (listener < 0 || ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0)
    die("socket");
  if (device[0] != '\0' && ::setsockopt(listener, SOL_SOCKET, SO_BINDTODEVICE, device,
                                        static_cast<socklen_t>(std::strlen(device))) != 0)
    die("SO_BINDTODEVICE");
  if (::bind(listener, plain, length) != 0 || ::listen(listener, 4) != 0 ||
      ::getsockname(listener, plain, &length) != 0)
    die("bind");
  return listener;
}

[[noreturn]] void serve(int listener) {
  pin_to(1);
  for (;;) {
    const int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0 && errno != EINTR && errno != ECONNABORTED) die("accept");
    if (fd < 0) continue;
    no_delay(fd);
    serve_one(fd);
    ::close(fd);
  }
}

/// Connects; a server that is only starting is waited for. -1 and errno.
int connect_to(const sockaddr_in& address) {
  for (const std::uint64_t end = now_ns() + 5'000'000'000ULL;;) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) die("socket");
    timeval limit{};
    limit.tv_sec = 10;  // a packet filter that drops must not hold us for ever
    ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
      no_delay(fd);
      return fd;
    }
    const int error = errno;
    ::close(fd);
    errno = error;
    if (error != ECONNREFUSED || now_ns() >= end) return -1;
    sleep_ns(10'000'000);
  }
}

/// A connection with its order; -1: `metric` is unsupported, and was reported.
int open_order(Report& report, const char* metric, const sockaddr_in& address, Order order) {
  const int fd = connect_to(address);
  if (fd >= 0 && write_full(fd, &order, sizeof order)) return fd;
  unsupported_errno(report, metric, "connect");
  if (fd >= 0) ::close(fd);
  return -1;
}

void latency(Report& report, const sockaddr_in& address, std::uint64_t length) {
  const char* metric = "net.tcp.latency";
  const int fd = open_order(report, metric, address, {Order::Kind::echo, 0});
  if (fd < 0) return;
  char byte = 0;
  Samples trips(8192), halves(8192);
  time_calls(
      trips, length,
      [&] {
        if (!write_full(fd, &byte, 1) || ::read(fd, &byte, 1) != 1) die(metric);
      },
      200'000);
  ::close(fd);
  for (const double trip : trips.values()) halves.add(trip / 2);
  report.result({metric, "ns", "lower", "first and second allowed CPU", "1 byte, one way"}, halves);
}

void throughput(Report& report, const sockaddr_in& address, std::uint64_t length, bool upload) {
  const Metric metric = {upload ? "net.tcp.upload" : "net.tcp.download", "bytes/s", "higher",
                         "first and second allowed CPU",
                         "64 KiB at a time, as the receiver counts them"};
  const auto milliseconds = static_cast<std::uint32_t>(length);
  const int fd = open_order(report, metric.name, address,
                            {upload ? Order::Kind::receive : Order::Kind::send, milliseconds});
  if (fd < 0) return;
  static Arrived arrived;
  arrived = {};
  if (!upload)
    receive_all(fd, arrived);
  else if (!send_for(fd, milliseconds) || !read_full(fd, &arrived, sizeof arrived) ||
           arrived.windows > max_windows)
    die(metric.name);
  ::close(fd);
  Samples samples(max_windows);
  for (std::uint32_t i = 0; i < arrived.windows; ++i) samples.add(arrived.rates[i]);
  report.result(metric, samples);
  report.value({upload ? "net.tcp.upload_average" : "net.tcp.download_average", metric.unit,
                metric.better, metric.pinning, "all of it, from the first byte to the last"},
               arrived.average);
}

void measure_all(Report& report, const sockaddr_in& address, std::uint64_t length) {
  pin_to(0);
  latency(report, address, length / 2);
  throughput(report, address, length, true);
  throughput(report, address, length, false);
  unpin();
}

void loopback(Report& report, std::uint64_t length) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int listener = listen_at(address, "");
  const pid_t server = ::fork();
  if (server < 0) die("fork");
  if (server == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    serve(listener);
  }
  ::close(listener);
  measure_all(report, address, length);
  ::kill(server, SIGKILL);
  while (::waitpid(server, nullptr, 0) < 0 && errno == EINTR) {
  }
}

/// The IPv4 gateway of the default route: /proc/net/route has it in network byte order.
bool find_gateway(in_addr& gateway) {
  static char text[16384];
  if (!read_small("/proc/net/route", text, sizeof text)) return false;
  char* rest = nullptr;
  for (char* line = ::strtok_r(text, "\n", &rest); line != nullptr;
       line = ::strtok_r(nullptr, "\n", &rest)) {
    char device[64];
    unsigned destination = 0, address = 0;
    if (std::sscanf(line, "%63s %x %x", device, &destination, &address) != 3 || destination != 0 ||
        address == 0)
      continue;
    gateway.s_addr = address;
    return true;
  }
  return false;
}

}  // namespace

bool run_net(const Options& options, Report& report) {
  const std::uint64_t length =
      options.milliseconds != 0 ? options.milliseconds : (options.quick ? 500 : 2000);
  std::memset(buffer, 5, sizeof buffer);
  if (std::strcmp(options.kind, "serve") == 0) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(options.port));
    serve(listen_at(address, options.device));
  }
  if (std::strcmp(options.kind, "connect") == 0) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(options.port));
    if (!find_gateway(address.sin_addr)) {
      report.unsupported("net.tcp", "there is no default route, or no /proc/net/route");
      return true;
    }
    measure_all(report, address, length);
    return true;
  }
  if (chosen(options, "loopback")) loopback(report, length);
  return true;
}

}  // namespace minirun::probe
