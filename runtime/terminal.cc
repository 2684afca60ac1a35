#include "runtime/terminal.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace minirun {
namespace {

// What one side sent and the other has not taken yet; more is not read.
constexpr std::size_t buffer_limit = 64 * 1024;

/// Writes the front of `buffer`; false when the other side is gone.
bool write_some(int fd, std::string& buffer) {
  while (!buffer.empty()) {
    const ssize_t size = ::write(fd, buffer.data(), buffer.size());
    if (size < 0) return errno == EAGAIN || errno == EINTR;
    buffer.erase(0, static_cast<std::size_t>(size));
  }
  return true;
}

}  // namespace

Result<TerminalProxy> TerminalProxy::start(Fd master) {
  TerminalProxy proxy;
  proxy.master_ = std::move(master);
  const int flags = ::fcntl(proxy.master_.get(), F_GETFL);
  if (flags < 0 || ::fcntl(proxy.master_.get(), F_SETFL, flags | O_NONBLOCK) != 0)
    return os_error("terminal");
  if (::tcgetattr(STDIN_FILENO, &proxy.saved_) == 0) {
    termios raw = proxy.saved_;
    ::cfmakeraw(&raw);
    if (::tcsetattr(STDIN_FILENO, TCSANOW, &raw) != 0) return os_error("terminal", "raw mode");
    proxy.restore_ = true;
    proxy.copy_window_size();
  }
  return proxy;
}

TerminalProxy::TerminalProxy(TerminalProxy&& other) noexcept
    : master_(std::move(other.master_)),
      restore_(std::exchange(other.restore_, false)),
      saved_(other.saved_),
      input_open_(other.input_open_),
      master_open_(other.master_open_),
      to_container_(std::move(other.to_container_)),
      to_caller_(std::move(other.to_caller_)) {}

TerminalProxy::~TerminalProxy() {
  if (restore_) ::tcsetattr(STDIN_FILENO, TCSANOW, &saved_);
}

void TerminalProxy::copy_window_size() const {
  winsize size{};
  if (::ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0) ::ioctl(master_.get(), TIOCSWINSZ, &size);
}

short TerminalProxy::input_events() const {
  return input_open_ && to_container_.size() < buffer_limit ? POLLIN : 0;
}

short TerminalProxy::output_events() const {
  return to_caller_.empty() ? 0 : POLLOUT;
}

short TerminalProxy::master_events() const {
  if (!master_open_) return 0;
  const int events =
      (to_caller_.size() < buffer_limit ? POLLIN : 0) | (to_container_.empty() ? 0 : POLLOUT);
  return static_cast<short>(events);
}

void TerminalProxy::read_input() {
  std::array<char, 4096> buffer{};
  const ssize_t size = ::read(STDIN_FILENO, buffer.data(), buffer.size());
  if (size > 0) {
    to_container_.append(buffer.data(), static_cast<std::size_t>(size));
  } else if (size == 0) {
    input_open_ = false;
    to_container_ += '\x04';  // the end of a pipe is the end of file of the terminal
  } else if (errno != EAGAIN && errno != EINTR) {
    input_open_ = false;
  }
}

void TerminalProxy::read_master() {
  std::array<char, 4096> buffer{};
  const ssize_t size = ::read(master_.get(), buffer.data(), buffer.size());
  if (size > 0)
    to_caller_.append(buffer.data(), static_cast<std::size_t>(size));
  else if (size == 0 || (errno != EAGAIN && errno != EINTR))
    master_open_ = false;  // EIO: nobody has the other side open
}

void TerminalProxy::flush() {
  if (!write_some(STDOUT_FILENO, to_caller_)) to_caller_.clear();
  if (!write_some(master_.get(), to_container_)) to_container_.clear();
}

void TerminalProxy::pump(short input, short /*output*/, short master) {
  if (input != 0) read_input();
  if ((master & (POLLIN | POLLHUP | POLLERR)) != 0) read_master();
  flush();
}

void TerminalProxy::drain() {
  while (master_open_) {
    const std::size_t before = to_caller_.size();
    read_master();
    flush();
    if (to_caller_.size() == before) break;  // EAGAIN: nothing more is there
  }
  // Standard output may be a slow pipe: what is held is written out.
  while (!to_caller_.empty()) {
    pollfd poll{STDOUT_FILENO, POLLOUT, 0};
    if (::poll(&poll, 1, 5000) <= 0) return;
    flush();
  }
}

}  // namespace minirun
