// Owns: the cost of a system call, and of one that is none (vDSO).
// Method: getppid(2), which does nothing but be a call, and a read of one byte of /dev/zero; inside
// a container each passes its seccomp filter. `clock` is clock_gettime, which the vDSO answers.
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "probe/workload/textbook.h"

namespace minirun::probe {

void textbook_calls(Report& report, std::uint64_t length) {
  pin_to(0);
  measure(report, {"textbook.calls.getppid", "ns", "lower", "first allowed CPU", "a bare call"},
          length, [] { keep(::syscall(SYS_getppid)); });
  measure(report, {"textbook.calls.clock", "ns", "lower", "first allowed CPU", "vDSO, no call"},
          length, [] { keep(now_ns()); });
  const int zero = ::open("/dev/zero", O_RDONLY | O_CLOEXEC);
  if (zero < 0) {
    unsupported_errno(report, "textbook.calls.read", "/dev/zero");
  } else {
    char byte = 0;
    measure(report,
            {"textbook.calls.read", "ns", "lower", "first allowed CPU", "1 byte of /dev/zero"},
            length, [&] {
              if (::read(zero, &byte, 1) != 1) die("read");
            });
    ::close(zero);
  }
  unpin();
}

}  // namespace minirun::probe
