// Owns: the process that stands in a new scope until the container's first one is cloned into it:
// systemd makes no scope without a process, and takes an empty one away.
// Must not: outlive us (parent-death signal), or do anything.
#pragma once

#include <sys/types.h>

#include "base/result.h"

namespace minirun {

class ScopePlaceholder {
 public:
  static Result<ScopePlaceholder> start();
  ScopePlaceholder(ScopePlaceholder&& other) noexcept;
  ScopePlaceholder& operator=(ScopePlaceholder&& other) noexcept;
  ~ScopePlaceholder();

  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  explicit ScopePlaceholder(pid_t pid) : pid_(pid) {}
  void end();
  pid_t pid_ = 0;
};

}  // namespace minirun
