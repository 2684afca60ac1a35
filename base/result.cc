#include "base/result.h"

#include <cerrno>
#include <cstring>

namespace minirun {

std::unexpected<Error> os_error(std::string object, std::string detail) {
  return os_error(errno, std::move(object), std::move(detail));
}

std::unexpected<Error> os_error(int errnum, std::string object, std::string detail) {
  return std::unexpected(Error{errnum, std::move(object), std::move(detail), {}});
}

std::unexpected<Error> plain_error(std::string object, std::string detail) {
  return std::unexpected(Error{0, std::move(object), std::move(detail), {}});
}

std::string errno_name(int errnum) {
  if (const char* name = ::strerrorname_np(errnum)) return name;
  return "errno " + std::to_string(errnum);
}

std::string to_string(const Error& error) {
  std::string line;
  auto add = [&line](std::string_view part) {
    if (part.empty()) return;
    if (!line.empty()) line += ": ";
    line += part;
  };
  for (auto it = error.trail.rbegin(); it != error.trail.rend(); ++it) add(*it);
  add(error.object);
  add(error.detail);
  if (error.errnum != 0) {
    const char* words = ::strerrordesc_np(error.errnum);
    add(words != nullptr ? std::string(words) : errno_name(error.errnum));
  }
  return line;
}

}  // namespace minirun
