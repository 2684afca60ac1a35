// Owns: locks and atomics, alone and contended by a second thread on another CPU.
// Method: one lock and unlock (or one operation) in a loop; contended, a second thread does the
// same at the same time.
// Known errors: with a critical section of a few instructions contention is at its worst; on a
// virtual CPU that is taken away while it holds a spin lock the other one waits for milliseconds.
#include <pthread.h>
#include <semaphore.h>

#include <atomic>

#include "probe/workload/textbook.h"

namespace minirun::probe {
namespace {

pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
pthread_spinlock_t spin;
pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
sem_t semaphore;
std::atomic<std::uint64_t> word;

struct Operation {
  const char* name;
  void (*once)();
};

void with_mutex() {
  ::pthread_mutex_lock(&mutex);
  ::pthread_mutex_unlock(&mutex);
}
void with_spin() {
  ::pthread_spin_lock(&spin);
  ::pthread_spin_unlock(&spin);
}
void with_read_lock() {
  ::pthread_rwlock_rdlock(&rwlock);
  ::pthread_rwlock_unlock(&rwlock);
}
void with_semaphore() {
  ::sem_wait(&semaphore);
  ::sem_post(&semaphore);
}
void compare_and_swap() {
  std::uint64_t seen = word.load(std::memory_order_relaxed);
  while (!word.compare_exchange_weak(seen, seen + 1)) {
  }
}
void atomic_add() {
  word.fetch_add(1);
}

struct Rival {
  void (*once)();
  std::atomic<bool> running{false}, stop{false};
};

void* compete(void* argument) {
  auto& self = *static_cast<Rival*>(argument);
  pin_to(1);
  self.running.store(true);
  while (!self.stop.load(std::memory_order_relaxed)) self.once();
  return nullptr;
}

}  // namespace

void textbook_locks(Report& report, std::uint64_t length) {
  static constexpr Operation operations[] = {{"mutex", with_mutex},
                                             {"spin_lock", with_spin},
                                             {"read_lock", with_read_lock},
                                             {"semaphore", with_semaphore},
                                             {"compare_and_swap", compare_and_swap},
                                             {"atomic_add", atomic_add}};
  ::pthread_spin_init(&spin, PTHREAD_PROCESS_PRIVATE);
  ::sem_init(&semaphore, 0, 1);
  pin_to(0);
  for (const Operation& operation : operations) {
    char name[64];
    std::snprintf(name, sizeof name, "textbook.locks.%s", operation.name);
    measure(report, {name, "ns", "lower", "first allowed CPU", "not contended"}, length,
            operation.once);
    std::snprintf(name, sizeof name, "textbook.locks.%s_contended", operation.name);
    if (allowed_cpus() < 2) {
      report.unsupported(name, "only one CPU is allowed here");
      continue;
    }
    Rival rival{operation.once};
    pthread_t thread{};
    if (::pthread_create(&thread, nullptr, compete, &rival) != 0) die("pthread_create");
    while (!rival.running.load()) sleep_ns(50'000);
    measure(report, {name, "ns", "lower", "first and second allowed CPU", "two threads"}, length,
            operation.once);
    rival.stop.store(true);
    ::pthread_join(thread, nullptr);
  }
  unpin();
  ::sem_destroy(&semaphore);
  ::pthread_spin_destroy(&spin);
}

}  // namespace minirun::probe
