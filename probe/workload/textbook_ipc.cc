// Owns: latency and throughput of the ways between two processes.
// Method: latency is half a round trip of 1 byte between two processes, each pinned to one of two
// CPUs (or both to the only one); throughput is 64 KiB at a time into a reader that discards it.
// Shared memory is a word that both spin on, or a ring; signals are ctxswitch.signal, and carry no
// data.
// Known errors: on a busy machine the partner has to be woken up, or does not run.
// Reference: lmbench lat_pipe, lat_unix, lat_tcp, bw_pipe.
#include <arpa/inet.h>
#include <fcntl.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "probe/workload/textbook.h"

namespace minirun::probe {
namespace {

/// Two descriptors for each side: read from, write to.
struct Ends {
  int in[2] = {-1, -1}, out[2] = {-1, -1};
  void close() const {
    for (const int side : {0, 1}) {
      ::close(in[side]);
      if (out[side] != in[side]) ::close(out[side]);
    }
  }
};

bool pipes(Ends& ends) {
  int there[2], back[2];
  if (::pipe2(there, O_CLOEXEC) != 0 || ::pipe2(back, O_CLOEXEC) != 0) return false;
  ends = {{back[0], there[0]}, {there[1], back[1]}};
  return true;
}

bool unix_sockets(Ends& ends) {
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) return false;
  ends = {{pair[0], pair[1]}, {pair[0], pair[1]}};
  return true;
}

bool tcp_loopback(Ends& ends) {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* plain = reinterpret_cast<sockaddr*>(&address);
  if (listener < 0 || ::bind(listener, plain, length) != 0 || ::listen(listener, 1) != 0 ||
      ::getsockname(listener, plain, &length) != 0)
    return false;
  const int client = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (client < 0 || ::connect(client, plain, length) != 0) return false;
  const int server = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
  if (server < 0) return false;
  ::close(listener);
  const int one = 1;
  for (const int fd : {client, server})
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  ends = {{client, server}, {client, server}};
  return true;
}

bool fifos(Ends& ends) {
  char there[64], back[64];
  for (const char* directory : {"/tmp", "/var/tmp", "/dev/shm", "."}) {
    std::snprintf(there, sizeof there, "%s/minirun-probe-a.%d", directory, ::getpid());
    std::snprintf(back, sizeof back, "%s/minirun-probe-b.%d", directory, ::getpid());
    if (::mkfifo(there, 0600) != 0) continue;
    const bool made = ::mkfifo(back, 0600) == 0;
    // Read and write at once does not wait for the other side (fifo(7)).
    const int a = made ? ::open(there, O_RDWR | O_CLOEXEC) : -1;
    const int b = made ? ::open(back, O_RDWR | O_CLOEXEC) : -1;
    ::unlink(there);
    if (made) ::unlink(back);
    if (a < 0 || b < 0) return false;
    ends = {{b, a}, {a, b}};
    return true;
  }
  return false;
}

struct Partner {
  pid_t pid;
  explicit Partner(pid_t child) : pid(child) {}
  Partner(const Partner&) = delete;
  Partner& operator=(const Partner&) = delete;
  ~Partner() {
    ::kill(pid, SIGKILL);
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
};

pid_t fork_partner() {
  const pid_t child = ::fork();
  if (child < 0) die("fork");
  if (child == 0) pin_to(1);
  return child;
}

void latency(Report& report, const char* name, const Ends& ends, std::uint64_t length) {
  const pid_t child = fork_partner();
  char byte = 0;
  if (child == 0) {
    while (::read(ends.in[1], &byte, 1) == 1 && ::write(ends.out[1], &byte, 1) == 1) {
    }
    ::_exit(0);
  }
  const Partner partner(child);
  Samples trips(8192);
  time_calls(
      trips, length,
      [&] {
        if (::write(ends.out[0], &byte, 1) != 1 || ::read(ends.in[0], &byte, 1) != 1) die(name);
      },
      200'000);
  Samples halves(8192);
  for (const double trip : trips.values()) halves.add(trip / 2);
  report.result({name, "ns", "lower", "first and second allowed CPU", "1 byte, one way"}, halves);
}

void throughput(Report& report, const char* name, const Ends& ends, std::uint64_t length) {
  static char buffer[65536];
  const pid_t child = fork_partner();
  if (child == 0) {
    while (::read(ends.in[1], buffer, sizeof buffer) > 0) {
    }
    ::_exit(0);
  }
  const Partner partner(child);
  Samples rates(512);
  const std::uint64_t end = now_ns() + length * 1'000'000U;
  do {
    const std::uint64_t begin = now_ns();
    std::size_t sent = 0;
    while (sent < (1 << 20)) {
      const ssize_t size = ::write(ends.out[0], buffer, sizeof buffer);
      if (size <= 0) die(name);
      sent += static_cast<std::size_t>(size);
    }
    rates.add(static_cast<double>(sent) * 1e9 / static_cast<double>(now_ns() - begin));
  } while (now_ns() < end && !rates.full());
  report.result({name, "bytes/s", "higher", "first and second allowed CPU", "64 KiB at a time"},
                rates);
}

void both(Report& report, const char* kind, bool (*open)(Ends&), std::uint64_t length) {
  char name[64], speed[64];
  std::snprintf(name, sizeof name, "textbook.ipc.%s", kind);
  std::snprintf(speed, sizeof speed, "textbook.ipc.%s_throughput", kind);
  Ends ends;
  if (!open(ends)) return unsupported_errno(report, name, kind);
  latency(report, name, ends, length);
  throughput(report, speed, ends, length);
  ends.close();
}

void message_queue(Report& report, std::uint64_t length) {
  const char* metric = "textbook.ipc.message_queue";
  mqd_t queues[2];
  mq_attr attributes{};
  attributes.mq_maxmsg = 4;
  attributes.mq_msgsize = 64;
  for (int side = 0; side < 2; ++side) {
    char name[64];
    std::snprintf(name, sizeof name, "/minirun-probe-%d-%d", ::getpid(), side);
    queues[side] = ::mq_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600, &attributes);
    if (queues[side] == -1) return unsupported_errno(report, metric, "mq_open");
    ::mq_unlink(name);
  }
  const pid_t child = fork_partner();
  char message[64] = {};
  if (child == 0) {
    while (::mq_receive(queues[1], message, sizeof message, nullptr) >= 0 &&
           ::mq_send(queues[0], message, 1, 0) == 0) {
    }
    ::_exit(0);
  }
  const Partner partner(child);
  Samples trips(8192), halves(8192);
  time_calls(
      trips, length,
      [&] {
        if (::mq_send(queues[1], message, 1, 0) != 0 ||
            ::mq_receive(queues[0], message, sizeof message, nullptr) < 0)
          die(metric);
      },
      200'000);
  for (const double trip : trips.values()) halves.add(trip / 2);
  report.result({metric, "ns", "lower", "first and second allowed CPU", "POSIX, 1 byte, one way"},
                halves);
  for (const mqd_t queue : queues) ::mq_close(queue);
}

void shared_memory(Report& report, std::uint64_t length) {
  const char* metric = "textbook.ipc.shared_memory";
  if (allowed_cpus() < 2) return report.unsupported(metric, "both would spin on the only CPU");
  auto& word = *static_cast<std::atomic<std::uint32_t>*>(map_memory(4096, true));
  const pid_t child = fork_partner();
  if (child == 0)
    for (std::uint32_t at = 1;; at += 2) {
      while (word.load(std::memory_order_acquire) != at) {
      }
      word.store(at + 1, std::memory_order_release);
    }
  const Partner partner(child);
  std::uint32_t at = 0;
  Samples trips(8192), halves(8192);
  time_calls(trips, length, [&] {
    word.store(at + 1, std::memory_order_release);
    at += 2;
    while (word.load(std::memory_order_acquire) != at) {
    }
  });
  for (const double trip : trips.values()) halves.add(trip / 2);
  report.result({metric, "ns", "lower", "first and second allowed CPU", "spinning, one way"},
                halves);
}

/// A megabyte at a time, until the time is over; `send` gives the bytes that it sent.
template <class Send>
void rates_of(Report& report, const char* metric, const char* note, std::uint64_t length,
              Send send) {
  Samples rates(512);
  const std::uint64_t end = now_ns() + length * 1'000'000U;
  do {
    const std::uint64_t begin = now_ns();
    std::size_t sent = 0;
    while (sent < (1 << 20)) sent += send();
    rates.add(static_cast<double>(sent) * 1e9 / static_cast<double>(now_ns() - begin));
  } while (now_ns() < end && !rates.full());
  report.result({metric, "bytes/s", "higher", "first and second allowed CPU", note}, rates);
}

/// A ring of 8 slots of 64 KiB: copied in by one side and out by the other.
struct Ring {
  static constexpr std::uint64_t slots = 8;
  static constexpr std::size_t bytes = 65536;
  alignas(64) std::atomic<std::uint64_t> written;
  alignas(64) std::atomic<std::uint64_t> taken;
  alignas(64) char data[slots][bytes];
};

void shared_memory_throughput(Report& report, std::uint64_t length) {
  const char* metric = "textbook.ipc.shared_memory_throughput";
  if (allowed_cpus() < 2) return report.unsupported(metric, "both would spin on the only CPU");
  auto& ring = *static_cast<Ring*>(map_memory(sizeof(Ring), true));
  static char buffer[Ring::bytes];
  const pid_t child = fork_partner();
  if (child == 0)
    for (std::uint64_t at = 0;; ++at) {
      while (ring.written.load(std::memory_order_acquire) == at) {
      }
      std::memcpy(buffer, ring.data[at % Ring::slots], Ring::bytes);
      keep(buffer);
      ring.taken.store(at + 1, std::memory_order_release);
    }
  const Partner partner(child);
  std::uint64_t at = 0;
  rates_of(report, metric, "a ring of 8 x 64 KiB, spinning", length, [&] {
    while (at - ring.taken.load(std::memory_order_acquire) == Ring::slots) {
    }
    std::memcpy(ring.data[at % Ring::slots], buffer, Ring::bytes);
    ring.written.store(++at, std::memory_order_release);
    return Ring::bytes;
  });
}

void message_queue_throughput(Report& report, std::uint64_t length) {
  const char* metric = "textbook.ipc.message_queue_throughput";
  static char message[8192];  // the largest that an ordinary user may have (mq_overview(7))
  mq_attr attributes{};
  attributes.mq_maxmsg = 8;
  attributes.mq_msgsize = sizeof message;
  char name[64];
  std::snprintf(name, sizeof name, "/minirun-probe-%d-t", ::getpid());
  const mqd_t queue = ::mq_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600, &attributes);
  if (queue == -1) return unsupported_errno(report, metric, "mq_open");
  ::mq_unlink(name);
  const pid_t child = fork_partner();
  if (child == 0)
    for (;;)
      if (::mq_receive(queue, message, sizeof message, nullptr) < 0) ::_exit(1);
  {
    const Partner partner(child);
    rates_of(report, metric, "messages of 8 KiB", length, [&] {
      if (::mq_send(queue, message, sizeof message, 0) != 0) die(metric);
      return sizeof message;
    });
  }
  ::mq_close(queue);
}

}  // namespace

void textbook_ipc(Report& report, std::uint64_t length) {
  pin_to(0);
  shared_memory(report, length);
  shared_memory_throughput(report, length);
  both(report, "pipe", pipes, length);
  both(report, "fifo", fifos, length);
  both(report, "unix_socket", unix_sockets, length);
  both(report, "tcp_loopback", tcp_loopback, length);
  message_queue(report, length);
  message_queue_throughput(report, length);
  unpin();
}

}  // namespace minirun::probe
