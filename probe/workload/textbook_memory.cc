// Owns: the latency of the memory hierarchy, and what access patterns make of it.
// Method: a pointer chase over a random cycle of cache lines (Sattolo's shuffle, so that it is one
// cycle and no prefetcher can guess it), one load after the other; huge pages are asked for, so
// that the caches are measured and not the TLB; `tlb` does the same over one line in each 4 KiB
// page without huge pages. Sequential, strided and random sums over 32 MiB, a sum of one field of
// 64-byte structures against an array of it, two threads that count on one cache line or on two.
// Known errors: a hypervisor may back "huge" pages with small ones; the last level is shared with
// other guests. The loop itself is part of it, below 1 ns.
// Reference: lmbench lat_mem_rd; U. Drepper, "What every programmer should know about memory".
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>

#include "probe/workload/textbook.h"

namespace minirun::probe {
namespace {

std::uint64_t next_random(std::uint64_t& state) {  // xorshift64*, Vigna 2016
  state ^= state >> 12;
  state ^= state << 25;
  state ^= state >> 27;
  return state * 2685821657736338717ULL;
}

char* map(std::size_t bytes, bool huge) {
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  ::madvise(memory, bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  return static_cast<char*>(memory);
}

/// One cycle through all slots, `stride` bytes apart.
void* make_cycle(char* memory, std::size_t bytes, std::size_t stride) {
  const std::size_t count = bytes / stride;
  auto* order = static_cast<std::uint32_t*>(std::malloc(count * sizeof(std::uint32_t)));
  if (order == nullptr) die("malloc");
  for (std::size_t i = 0; i < count; ++i) order[i] = static_cast<std::uint32_t>(i);
  std::uint64_t state = 88172645463325252ULL;
  for (std::size_t i = count - 1; i > 0; --i) {
    const std::size_t j = next_random(state) % i;
    const std::uint32_t other = order[i];
    order[i] = order[j];
    order[j] = other;
  }
  // In a page of its own each, the line changes, or all would fall into one set of the cache.
  auto place = [&](std::uint32_t slot) {
    return memory + slot * stride + (stride > 64 ? slot * 64 % stride : 0);
  };
  for (std::size_t i = 0; i < count; ++i)
    *reinterpret_cast<void**>(place(order[i])) = place(order[(i + 1) % count]);
  void* first = place(order[0]);
  std::free(order);
  return first;
}

void chase(Report& report, const Metric& metric, std::size_t bytes, std::size_t stride,
           std::uint64_t length) {
  char* memory = map(bytes, stride == 64);
  if (memory == nullptr) return unsupported_errno(report, metric.name, "mmap");
  void* at = make_cycle(memory, bytes, stride);
  constexpr int unrolled = 64;
  Samples samples(8192);
  // Warm: once around at least.
  for (std::size_t i = 0; i < bytes / stride; ++i) at = *static_cast<void**>(at);
  time_calls(samples, length, [&at] {
    for (int i = 0; i < unrolled; ++i) at = *static_cast<void**>(at);
    keep(at);
  });
  Samples each(samples.size());
  for (const double value : samples.values()) each.add(value / unrolled);
  report.result(metric, each);
  ::munmap(memory, bytes);
}

struct Record {
  std::uint64_t field, rest[7];
};

void patterns(Report& report, std::uint64_t length) {
  constexpr std::size_t bytes = 32 << 20, words = bytes / 8;
  auto* data = reinterpret_cast<std::uint64_t*>(map(bytes, true));
  if (data == nullptr) return unsupported_errno(report, "textbook.memory.sequential", "mmap");
  for (std::size_t i = 0; i < words; ++i) data[i] = i;
  auto per_word = [&](const char* name, const char* note, std::size_t count, auto body) {
    Samples samples(4096), each(4096);
    time_calls(samples, length, body);
    for (const double value : samples.values()) each.add(value / static_cast<double>(count));
    report.result({name, "ns", "lower", "", note}, each);
  };
  per_word("textbook.memory.sequential", "sum of 8-byte words in order, each", words, [&] {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < words; ++i) sum += *static_cast<volatile std::uint64_t*>(data + i);
    keep(sum);
  });
  per_word("textbook.memory.strided", "sum of one word in each 4 KiB, each", words / 512, [&] {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < words; i += 512)
      sum += *static_cast<volatile std::uint64_t*>(data + i);
    keep(sum);
  });
  auto* records = reinterpret_cast<Record*>(data);
  constexpr std::size_t count = bytes / sizeof(Record);
  per_word("textbook.memory.array_of_structures", "sum of one field of 64-byte structures", count,
           [&] {
             std::uint64_t sum = 0;
             for (std::size_t i = 0; i < count; ++i)
               sum += *static_cast<volatile std::uint64_t*>(&records[i].field);
             keep(sum);
           });
  per_word("textbook.memory.structure_of_arrays", "the same field, packed", count, [&] {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < count; ++i) sum += *static_cast<volatile std::uint64_t*>(data + i);
    keep(sum);
  });
  ::munmap(data, bytes);
}

struct Neighbour {
  std::atomic<std::uint64_t>* counter;
  std::atomic<bool> running{false}, stop{false};
};

void* count_up(void* argument) {
  auto& self = *static_cast<Neighbour*>(argument);
  pin_to(1);
  self.running.store(true);
  while (!self.stop.load(std::memory_order_relaxed))
    self.counter->fetch_add(1, std::memory_order_relaxed);
  return nullptr;
}

void sharing(Report& report, std::uint64_t length) {
  if (allowed_cpus() < 2) {
    report.unsupported("textbook.memory.false_sharing", "only one CPU is allowed here");
    return;
  }
  alignas(128) static std::atomic<std::uint64_t> cells[32];
  for (const bool shared : {true, false}) {
    Neighbour neighbour{&cells[shared ? 1 : 16]};
    pthread_t thread{};
    if (::pthread_create(&thread, nullptr, count_up, &neighbour) != 0) die("pthread_create");
    while (!neighbour.running.load()) sleep_ns(50'000);
    pin_to(0);
    measure(report,
            {shared ? "textbook.memory.false_sharing" : "textbook.memory.own_line", "ns", "lower",
             "first and second allowed CPU", "atomic add while another CPU adds beside it"},
            length, [] { cells[0].fetch_add(1, std::memory_order_relaxed); });
    neighbour.stop.store(true);
    ::pthread_join(thread, nullptr);
    unpin();
  }
}

}  // namespace

void textbook_memory(Report& report, std::uint64_t length, bool quick) {
  pin_to(0);
  static constexpr std::size_t sizes_kib[] = {16,   32,   128,   256,    1024,
                                              2048, 8192, 32768, 131072, 524288};
  for (const std::size_t kib : sizes_kib) {
    if (quick && kib > 131072) break;
    char name[64];
    std::snprintf(name, sizeof name, "textbook.memory.load.%zuk", kib);
    chase(report, {name, "ns", "lower", "first allowed CPU", "one dependent load"}, kib * 1024, 64,
          length);
  }
  for (const std::size_t pages : {16U, 512U, 4096U}) {
    char name[64];
    std::snprintf(name, sizeof name, "textbook.memory.tlb.%zup", pages);
    chase(report, {name, "ns", "lower", "first allowed CPU", "one load in each of so many pages"},
          pages * 4096, 4096, length);
  }
  patterns(report, length);
  unpin();
  sharing(report, length);
}

}  // namespace minirun::probe
