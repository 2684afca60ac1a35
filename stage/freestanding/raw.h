// Owns: system calls without a library: numbers, registers, negative errno. Used by the
// interpreter, which is compiled once freestanding (the stage) and once into minirun.
// Must not: touch errno, allocate, or be used where a wrapper of libc does.
#pragma once

#include <asm/unistd.h>

#include <cstddef>
#include <cstdint>

namespace minirun::raw {

#if defined(__x86_64__)
inline long syscall6(long number, long a, long b, long c, long d, long e, long f) noexcept {
  long result;
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  register long r9 asm("r9") = f;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return result;
}
#elif defined(__aarch64__)
inline long syscall6(long number, long a, long b, long c, long d, long e, long f) noexcept {
  register long x8 asm("x8") = number;
  register long x0 asm("x0") = a;
  register long x1 asm("x1") = b;
  register long x2 asm("x2") = c;
  register long x3 asm("x3") = d;
  register long x4 asm("x4") = e;
  register long x5 asm("x5") = f;
  asm volatile("svc 0"
               : "+r"(x0)
               : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
               : "memory");
  return x0;
}
#else
#error "minirun knows x86-64 and AArch64"
#endif

template <class T>
inline long word(T* value) noexcept {
  return reinterpret_cast<long>(value);
}
inline long word(std::nullptr_t) noexcept {
  return 0;
}
template <class T>
inline long word(T value) noexcept {
  return static_cast<long>(value);
}

/// The kernel's answer: a value, or -errno.
template <class... Args>
inline long call(long number, Args... args) noexcept {
  static_assert(sizeof...(args) <= 6);
  long a[6] = {word(args)...};
  return syscall6(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

}  // namespace minirun::raw
