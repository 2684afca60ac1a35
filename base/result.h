// Owns: Result, Error and the TRY macro, the one way in which a function of ours fails.
// Must not: know about formats, fields or output. Words for people are made in cli/ and describe().
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace minirun {

/// What went wrong: which object, which errno, and, innermost first, the contexts around it.
/// `object` names a thing ("memory.max", "mounts[4]", a path); `detail` is a sentence without a
/// final stop, in the words of whoever knows best (often the kernel); either may be empty.
struct Error {
  int errnum = 0;  ///< errno value, 0 when no system call failed
  std::string object;
  std::string detail;
  std::vector<std::string> trail;

  bool operator==(const Error&) const = default;

  /// Adds an outer context, e.g. `error.in("cgroup /a/b")`.
  [[nodiscard]] Error in(std::string context) && {
    trail.push_back(std::move(context));
    return std::move(*this);
  }
};

template <class T>
using Result = std::expected<T, Error>;
using Status = std::expected<void, Error>;

/// A failed system call on `object`; reads `errno` unless a value is given.
[[nodiscard]] std::unexpected<Error> os_error(std::string object, std::string detail = {});
[[nodiscard]] std::unexpected<Error> os_error(int errnum, std::string object,
                                              std::string detail = {});
/// A failure that no system call reported.
[[nodiscard]] std::unexpected<Error> plain_error(std::string object, std::string detail);

/// One line: `trail: object: detail: errno text`, outermost context first.
[[nodiscard]] std::string to_string(const Error& error);

/// "ENOENT" for 2; "errno 4711" for a number that has no name.
[[nodiscard]] std::string errno_name(int errnum);

}  // namespace minirun

/// Evaluates to the value of a Result, or returns its error from the enclosing function.
#define TRY(...)                                              \
  __extension__({                                             \
    auto try_result_ = (__VA_ARGS__);                         \
    if (!try_result_) [[unlikely]]                            \
      return std::unexpected(std::move(try_result_).error()); \
    *std::move(try_result_);                                  \
  })
