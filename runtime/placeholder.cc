#include "runtime/placeholder.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <utility>

namespace minirun {

Result<ScopePlaceholder> ScopePlaceholder::start() {
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return os_error("the placeholder of the scope", "fork");
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() == parent)
      for (;;) ::pause();
    ::_exit(0);
  }
  return ScopePlaceholder(pid);
}

ScopePlaceholder::ScopePlaceholder(ScopePlaceholder&& other) noexcept
    : pid_(std::exchange(other.pid_, 0)) {}

ScopePlaceholder& ScopePlaceholder::operator=(ScopePlaceholder&& other) noexcept {
  if (this != &other) {
    end();
    pid_ = std::exchange(other.pid_, 0);
  }
  return *this;
}

ScopePlaceholder::~ScopePlaceholder() {
  end();
}

void ScopePlaceholder::end() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  (void)TEMP_FAILURE_RETRY(::waitpid(pid_, nullptr, 0));
  pid_ = 0;
}

}  // namespace minirun
