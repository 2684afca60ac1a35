// Owns: how a file of cgroupfs is opened, read and written: openat2 below a verified directory.
// Must not: know what a file means, or fall back to another file.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

namespace minirun {

/// openat2(2) with RESOLVE_BENEATH, NO_SYMLINKS, NO_MAGICLINKS and NO_XDEV; O_CLOEXEC is added.
/// Returns -1 and errno; `path` is relative and may be ".".
[[nodiscard]] int open_beneath(int dir, const char* path, int flags) noexcept;

/// The whole text of a file below `dir` (cgroup files are at most some pages).
/// Errors: the errno of open or read, the object is `name`.
[[nodiscard]] Result<std::string> read_beneath(int dir, const char* name);

/// Reads an open file to its end; `name` is for the error only.
[[nodiscard]] Result<std::string> read_all(int fd, std::string_view name);

/// One write(2) of `value`. Errors: the errno of open or write, the object is `name`.
[[nodiscard]] Status write_beneath(int dir, const char* name, std::string_view value);

}  // namespace minirun
