// Owns: as much of D-Bus as it takes to ask systemd for a scope: the connection with its
// authentication, method calls, replies and signals, with a deadline on everything.
// Must not: know systemd. What comes from the bus is untrusted in form: every length is checked.
//
// A client of our own: Debian has no static libsystemd, and a dynamic one would cost every command
// its loading. Source: the D-Bus specification 0.41.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

namespace minirun::dbus {

/// Little-endian marshalling; alignment counts from the start of the body.
class Writer {
 public:
  void byte(std::uint8_t value) { bytes_.push_back(static_cast<char>(value)); }
  void uint32(std::uint32_t value);
  void uint64(std::uint64_t value);
  void boolean(bool value) { uint32(value ? 1 : 0); }
  void string(std::string_view text);     ///< also object paths
  void signature(std::string_view text);  ///< at most 255 bytes
  void align(std::size_t to);
  /// An array: begin gives the token that end needs; `alignment` is that of an element.
  struct Array {
    std::size_t length_at, begin;
  };
  [[nodiscard]] Array begin_array(std::size_t alignment);
  void end_array(Array array);
  [[nodiscard]] const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

/// Reads what the bus sent; every read fails at the end of the text.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}
  [[nodiscard]] std::optional<std::uint8_t> byte();
  [[nodiscard]] std::optional<std::uint32_t> uint32();
  [[nodiscard]] std::optional<std::string> string();  ///< also object paths
  [[nodiscard]] std::optional<std::string> signature();
  [[nodiscard]] bool align(std::size_t to);
  [[nodiscard]] std::size_t at() const { return at_; }
  [[nodiscard]] bool end() const { return at_ >= bytes_.size(); }

 private:
  std::string_view bytes_;
  std::size_t at_ = 0;
};

enum class Type : std::uint8_t { call = 1, reply = 2, error = 3, signal = 4 };

struct Message {
  Type type = Type::call;
  std::uint32_t serial = 0, reply_serial = 0;
  std::string path, interface, member, destination, error_name, signature;
  std::string body;
};

/// The bytes of a message. `message.serial` is not 0.
[[nodiscard]] std::string encode(const Message& message);

/// How long the message at the beginning of `bytes` is; nullopt: more bytes are needed to know.
/// Errors: not little-endian D-Bus 1, or longer than `most_bytes`.
inline constexpr std::size_t most_bytes = 1 << 18;
[[nodiscard]] Result<std::optional<std::size_t>> message_size(std::string_view bytes);
/// One whole message. Errors: it is malformed.
[[nodiscard]] Result<Message> decode(std::string_view bytes);

class Connection {
 public:
  using Clock = std::chrono::steady_clock;

  /// Connects to the socket at `path`, authenticates as this user and says Hello.
  /// Errors: connect(2)'s; EPERM: refused; ETIMEDOUT.
  static Result<Connection> open(const std::string& path, Clock::time_point deadline);

  /// Calls and waits for the answer. An error reply is a Result: look at `type`. Signals that come
  /// meanwhile are kept for next_signal(). Errors: ETIMEDOUT with the member's name.
  [[nodiscard]] Result<Message> call(Message message, Clock::time_point deadline);

  /// The next signal, kept or waited for. Error ETIMEDOUT.
  [[nodiscard]] Result<Message> next_signal(Clock::time_point deadline);

 private:
  Status wait(short events, Clock::time_point deadline, const std::string& what);
  Status send(std::string_view bytes, Clock::time_point deadline, const std::string& what);
  Result<Message> receive(Clock::time_point deadline, const std::string& what);
  Status authenticate(Clock::time_point deadline);

  Fd socket_;
  std::string buffer_;
  std::uint32_t serial_ = 0;
  std::vector<Message> signals_;
};

/// The first string of an error's body, else its name.
[[nodiscard]] std::string error_text(const Message& message);

}  // namespace minirun::dbus
