#include "probe/textbook.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "probe/text.h"

namespace minirun::probe {
namespace {

constexpr double us = 1e3, ms = 1e6;

}  // namespace

std::span<const Claim> claims() {
  static constexpr std::array rows = {
      Claim{"create a process: fork", "textbook.process.fork", "about 10 ms", 5 * ms, 20 * ms,
            "out of date: pages are shared until written; what is left are page tables"},
      Claim{"fork of a parent of 64 MiB", "textbook.process.fork_64m", "about 10 ms", 5 * ms,
            20 * ms, "grows with the page tables, so a large parent still pays"},
      Claim{"create and execute: posix_spawn", "textbook.process.posix_spawn", "about 10 ms",
            5 * ms, 20 * ms, "out of date for a static program; a dynamic one adds its loader"},
      Claim{"create a thread", "textbook.process.thread", "about 10 us", 5 * us, 20 * us, ""},
      Claim{"context switch of threads", "ctxswitch.futex.thread.one_cpu", "1 to 10 us", 1 * us,
            10 * us, ""},
      Claim{"context switch of processes", "ctxswitch.pipe.process.one_cpu", "10 to 100 us",
            10 * us, 100 * us,
            "out of date: address spaces are tagged (PCID), so little is flushed; the rest is "
            "refilling caches, see ctxswitch.workingset"},
      Claim{"wake-up on another CPU", "ctxswitch.pipe.process.two_cpus", "1 to 10 us", 1 * us,
            10 * us, "an idle virtual CPU must first be woken by the hypervisor"},
      Claim{"system call", "textbook.calls.getppid", "100 ns to 1 us", 100, 1000, ""},
      Claim{"time of day", "textbook.calls.clock", "a system call", 100, 1000,
            "out of date: the vDSO reads it without entering the kernel"},
      Claim{"minor page fault", "textbook.faults.minor", "1 to 10 us", 1 * us, 10 * us, ""},
      Claim{"copy-on-write fault", "textbook.faults.copy_on_write", "1 to 10 us", 1 * us, 10 * us,
            "a page is copied on top of the minor fault"},
      Claim{"major page fault", "textbook.faults.major", "100 us (SSD) to 10 ms (disk)", 100 * us,
            10 * ms, "NVMe and caches of a hypervisor answer sooner"},
      Claim{"L1 cache", "textbook.memory.load.16k", "1 ns", 1, 1, ""},
      Claim{"L2 cache", "textbook.memory.load.256k", "4 ns", 4, 4, ""},
      Claim{"L3 cache", "textbook.memory.load.8192k", "10 to 20 ns", 10, 20,
            "on servers with many cores L3 is a mesh and several times slower"},
      Claim{"main memory", "textbook.memory.load.524288k textbook.memory.load.131072k", "100 ns",
            100, 100, ""},
      Claim{"random against sequential memory",
            "textbook.memory.load.524288k textbook.memory.load.131072k", "10 to 100 times", 10, 100,
            "", "textbook.memory.sequential"},
      Claim{"array of structures against packed", "textbook.memory.array_of_structures",
            "8 times (64-byte lines)", 8, 8, "prefetchers hide a part of it",
            "textbook.memory.structure_of_arrays"},
      Claim{"false sharing", "textbook.memory.false_sharing", "5 to 50 times", 5, 50,
            "needs two CPUs that really run at the same time, see p95", "textbook.memory.own_line"},
      Claim{"read 4 KiB, page cache hit", "textbook.files.read_hit", "1 to 10 us", 1 * us, 10 * us,
            ""},
      Claim{"read 4 KiB, miss", "textbook.files.read_miss", "100 us (SSD) to 10 ms (disk)",
            100 * us, 10 * ms, ""},
      Claim{"write 4 KiB, write-back", "textbook.files.write_back", "1 to 10 us", 1 * us, 10 * us,
            ""},
      Claim{"write 4 KiB and fsync", "textbook.files.write_fsync", "1 to 20 ms", 1 * ms, 20 * ms,
            ""},
      Claim{"look up a path", "textbook.files.lookup", "about 1 us, cached", 0.5 * us, 2 * us, ""},
      Claim{"shared memory, one way", "textbook.ipc.shared_memory", "about 100 ns", 50, 200, ""},
      Claim{"pipe, one way", "textbook.ipc.pipe", "5 to 20 us", 5 * us, 20 * us, ""},
      Claim{"FIFO, one way", "textbook.ipc.fifo", "as a pipe", 5 * us, 20 * us, ""},
      Claim{"Unix socket, one way", "textbook.ipc.unix_socket", "5 to 20 us", 5 * us, 20 * us, ""},
      Claim{"TCP loopback, one way", "textbook.ipc.tcp_loopback", "20 to 50 us", 20 * us, 50 * us,
            ""},
      Claim{"veth and bridge against loopback, latency", "net.bridge.latency", "1 to 2 times", 1, 2,
            "", "net.loopback.latency"},
      Claim{"veth and bridge against loopback, throughput", "net.bridge.upload", "0.3 to 1 times",
            0.3, 1, "segments are passed on whole (GSO), not copied", "net.loopback.upload"},
      Claim{"message queue, one way", "textbook.ipc.message_queue", "5 to 20 us", 5 * us, 20 * us,
            ""},
      Claim{"signal, one way", "ctxswitch.signal.process.one_cpu", "1 to 10 us", 1 * us, 10 * us,
            ""},
      Claim{"poll: 1000 against 10 descriptors", "textbook.polling.poll.1000", "100 times", 100,
            100, "", "textbook.polling.poll.10"},
      Claim{"select: 1000 against 10", "textbook.polling.select.1000", "100 times", 100, 100, "",
            "textbook.polling.select.10"},
      Claim{"epoll: 10000 against 10", "textbook.polling.epoll.10000", "the same", 1, 1, "",
            "textbook.polling.epoll.10"},
      Claim{"io_uring: 10000 against 10", "textbook.polling.io_uring.10000", "the same", 1, 1, "",
            "textbook.polling.io_uring.10"},
      Claim{"mutex, free", "textbook.locks.mutex", "25 ns", 25, 25, ""},
      Claim{"mutex, contended", "textbook.locks.mutex_contended", "100 ns to 10 us", 100, 10 * us,
            "needs two CPUs that really run at the same time"},
      Claim{"spin lock, free", "textbook.locks.spin_lock", "10 to 20 ns", 10, 20, ""},
      Claim{"read-write lock, free", "textbook.locks.read_lock", "25 to 50 ns", 25, 50, ""},
      Claim{"semaphore, free", "textbook.locks.semaphore", "25 to 50 ns", 25, 50, ""},
      Claim{"compare and swap", "textbook.locks.compare_and_swap", "10 to 20 ns", 10, 20, ""},
      Claim{"atomic add", "textbook.locks.atomic_add", "5 to 20 ns", 5, 20, ""},
      Claim{"atomic add, contended", "textbook.locks.atomic_add_contended", "50 to 200 ns", 50, 200,
            "needs two CPUs that really run at the same time"},
  };
  return rows;
}

std::string verdict(const Claim& claim, double value) {
  if (value <= 0) return "not comparable";
  if (value >= claim.low / 2 && value <= claim.high * 2) return "as the text says";
  return value < claim.low ? fmt::format("{:.2g} times less", claim.low / value)
                           : fmt::format("{:.2g} times more", value / claim.high);
}

namespace {

const Row* find_first(const Judgement& judgement, std::string_view names) {
  for (std::size_t at = 0; at < names.size();) {
    const std::size_t end = std::min(names.find(' ', at), names.size());
    if (const Row* row = judgement.find(names.substr(at, end - at))) return row;
    at = end + 1;
  }
  return nullptr;
}

std::optional<double> value_of(const Judgement& judgement, const Claim& claim,
                               std::optional<Cell> Row::* side) {
  const Row* row = find_first(judgement, claim.metric);
  if (row == nullptr || !(row->*side)) return std::nullopt;
  const double value = (row->*side)->median;
  if (claim.base.empty()) return value;
  const Row* base = judgement.find(claim.base);
  if (base == nullptr || !(base->*side) || (base->*side)->median <= 0) return std::nullopt;
  return value / (base->*side)->median;
}

std::string shown(const std::optional<double>& value, const Claim& claim) {
  if (!value) return "unsupported";
  return claim.base.empty() ? human(*value, "ns") : fmt::format("{:.3g} times", *value);
}

}  // namespace

std::vector<std::vector<std::string>> textbook_rows(const Judgement& judgement) {
  std::vector<std::vector<std::string>> rows;
  // Without that probe there is nothing to say, rather than a table of "unsupported".
  if (std::ranges::none_of(judgement.rows, [](const Row& row) { return row.probe == "textbook"; }))
    return rows;
  for (const Claim& claim : claims()) {
    const auto host = value_of(judgement, claim, &Row::host);
    const auto container = value_of(judgement, claim, &Row::container);
    const auto value = host ? host : container;
    std::string found = value ? verdict(claim, *value) : "";
    if (value && found != "as the text says" && !claim.remark.empty())
      found += ": " + std::string(claim.remark);
    rows.push_back({std::string(claim.subject), std::string(claim.text), shown(host, claim),
                    shown(container, claim), found});
  }
  return rows;
}

std::string textbook_table(const Judgement& judgement) {
  std::vector<std::vector<std::string>> rows = textbook_rows(judgement);
  rows.insert(rows.begin(), {"", "the text says", "this host", "this container", "found"});
  std::string text = columns(rows, "");
  for (const Unsupported& entry : judgement.unsupported)
    text += fmt::format("unsupported {} ({}): {}\n", entry.metric, entry.side, entry.reason);
  for (const std::string& warning : judgement.warnings)
    text += fmt::format("warning: {}\n", warning);
  return text;
}

}  // namespace minirun::probe
