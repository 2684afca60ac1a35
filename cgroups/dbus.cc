#include "cgroups/dbus.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/auxv.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>

namespace minirun::dbus {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr std::size_t fixed_header = 16;   ///< up to and with the length of the fields
constexpr std::size_t signals_most = 256;  ///< kept while a call waits

// Header fields, "Message Protocol" of the specification.
enum Field : std::uint8_t {
  path_field = 1,
  interface_field = 2,
  member_field = 3,
  error_name_field = 4,
  reply_serial_field = 5,
  destination_field = 6,
  signature_field = 8,
};

std::size_t rounded(std::size_t size, std::size_t to) {
  return (size + to - 1) / to * to;
}

}  // namespace

void Writer::align(std::size_t to) {
  bytes_.resize(rounded(bytes_.size(), to), '\0');
}
void Writer::uint32(std::uint32_t value) {
  align(4);
  bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
}
void Writer::uint64(std::uint64_t value) {
  align(8);
  bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
}
void Writer::string(std::string_view text) {
  uint32(static_cast<std::uint32_t>(text.size()));
  bytes_.append(text).push_back('\0');
}
void Writer::signature(std::string_view text) {
  byte(static_cast<std::uint8_t>(text.size()));
  bytes_.append(text).push_back('\0');
}
Writer::Array Writer::begin_array(std::size_t alignment) {
  uint32(0);
  Array array{bytes_.size() - 4, 0};
  align(alignment);  // the padding is not part of the array's length
  array.begin = bytes_.size();
  return array;
}
void Writer::end_array(Array array) {
  const auto size = static_cast<std::uint32_t>(bytes_.size() - array.begin);
  std::memcpy(bytes_.data() + array.length_at, &size, sizeof size);
}

bool Reader::align(std::size_t to) {
  at_ = rounded(at_, to);
  return at_ <= bytes_.size();
}
std::optional<std::uint8_t> Reader::byte() {
  if (at_ >= bytes_.size()) return std::nullopt;
  return static_cast<std::uint8_t>(bytes_[at_++]);
}
std::optional<std::uint32_t> Reader::uint32() {
  std::uint32_t value = 0;
  if (!align(4) || bytes_.size() - at_ < sizeof value) return std::nullopt;
  std::memcpy(&value, bytes_.data() + at_, sizeof value);
  at_ += sizeof value;
  return value;
}
std::optional<std::string> Reader::string() {
  const auto size = uint32();
  if (!size || bytes_.size() - at_ <= *size || bytes_[at_ + *size] != '\0') return std::nullopt;
  std::string text(bytes_.substr(at_, *size));
  at_ += *size + 1;
  return text;
}
std::optional<std::string> Reader::signature() {
  const auto size = byte();
  if (!size || bytes_.size() - at_ <= *size || bytes_[at_ + *size] != '\0') return std::nullopt;
  std::string text(bytes_.substr(at_, *size));
  at_ += *size + 1U;
  return text;
}

std::string encode(const Message& message) {
  Writer writer;
  writer.byte('l');
  writer.byte(static_cast<std::uint8_t>(message.type));
  writer.byte(0);
  writer.byte(1);
  writer.uint32(static_cast<std::uint32_t>(message.body.size()));
  writer.uint32(message.serial);
  const Writer::Array fields = writer.begin_array(8);
  const auto field = [&writer](Field code, std::string_view type, const std::string& text) {
    if (text.empty()) return;
    writer.align(8);
    writer.byte(code);
    writer.signature(type);
    if (type == "g")
      writer.signature(text);
    else
      writer.string(text);
  };
  field(path_field, "o", message.path);
  field(interface_field, "s", message.interface);
  field(member_field, "s", message.member);
  field(destination_field, "s", message.destination);
  field(signature_field, "g", message.signature);
  writer.end_array(fields);
  writer.align(8);
  return writer.bytes() + message.body;
}

Result<std::optional<std::size_t>> message_size(std::string_view bytes) {
  if (bytes.size() < fixed_header) return std::nullopt;
  if (bytes[0] != 'l' || bytes[3] != 1)
    return plain_error("D-Bus", "an answer is not little-endian D-Bus 1");
  std::uint32_t body = 0, fields = 0;
  std::memcpy(&body, bytes.data() + 4, sizeof body);
  std::memcpy(&fields, bytes.data() + 12, sizeof fields);
  const std::uint64_t size = rounded(fixed_header + std::uint64_t{fields}, 8) + body;
  if (size > most_bytes)
    return plain_error("D-Bus", fmt::format("an answer of {} bytes is too long", size));
  return static_cast<std::size_t>(size);
}

namespace {

std::unexpected<Error> malformed() {
  return plain_error("D-Bus", "an answer is malformed");
}

Status read_fields(Reader& reader, std::size_t end, Message& message) {
  while (reader.at() < end) {
    if (!reader.align(8)) return malformed();
    const auto code = reader.byte();
    const auto type = reader.signature();
    if (!code || !type) return malformed();
    if (*type == "u") {
      const auto number = reader.uint32();
      if (!number) return malformed();
      if (*code == reply_serial_field) message.reply_serial = *number;
      continue;
    }
    if (*type != "s" && *type != "o" && *type != "g") return malformed();
    auto text = *type == "g" ? reader.signature() : reader.string();
    if (!text) return malformed();
    switch (*code) {
      case path_field:
        message.path = std::move(*text);
        break;
      case interface_field:
        message.interface = std::move(*text);
        break;
      case member_field:
        message.member = std::move(*text);
        break;
      case error_name_field:
        message.error_name = std::move(*text);
        break;
      case signature_field:
        message.signature = std::move(*text);
        break;
      default:  // who sent it, and to whom; a newer field
        break;
    }
  }
  return {};
}

}  // namespace

Result<Message> decode(std::string_view bytes) {
  const std::optional<std::size_t> size = TRY(message_size(bytes));
  if (!size || *size != bytes.size()) return malformed();
  Message message;
  const auto type = static_cast<std::uint8_t>(bytes[1]);
  if (type < 1 || type > 4) return malformed();
  message.type = static_cast<Type>(type);
  std::uint32_t fields = 0;
  std::memcpy(&message.serial, bytes.data() + 8, sizeof message.serial);
  std::memcpy(&fields, bytes.data() + 12, sizeof fields);
  const std::size_t end = fixed_header + fields;
  const std::size_t body = rounded(end, 8);
  if (body > bytes.size()) return malformed();
  // The fields begin at a multiple of 8, so that alignment is that of the message.
  Reader reader(bytes.substr(0, end));
  for (std::size_t i = 0; i < fixed_header; ++i) (void)reader.byte();
  TRY(read_fields(reader, end, message));
  message.body = bytes.substr(body);
  return message;
}

std::string error_text(const Message& message) {
  if (message.signature.starts_with('s'))
    if (const auto text = Reader(message.body).string()) return *text;
  return message.error_name;
}

// ---------------------------------------------------------------- connection

Status Connection::wait(short events, Clock::time_point deadline, const std::string& what) {
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return os_error(ETIMEDOUT, "systemd", what + ": no answer on D-Bus in time");
    pollfd poll{socket_.get(), events, 0};
    const int ready = ::poll(&poll, 1, static_cast<int>(std::min<std::int64_t>(left, 60'000)));
    if (ready > 0) return {};
    if (ready < 0 && errno != EINTR) return os_error("D-Bus", "poll");
  }
}

Status Connection::send(std::string_view bytes, Clock::time_point deadline,
                        const std::string& what) {
  while (!bytes.empty()) {
    const ssize_t size = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (size >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(size));
    } else if (errno == EAGAIN) {
      TRY(wait(POLLOUT, deadline, what));
    } else if (errno != EINTR) {
      return os_error("D-Bus", what);
    }
  }
  return {};
}

Status Connection::authenticate(Clock::time_point deadline) {
  // SASL EXTERNAL: the kernel tells the bus who we are; the user id goes in hexadecimal digits of
  // its decimal ones.
  const std::string uid = std::to_string(::getauxval(AT_EUID));
  std::string hello(1, '\0');
  hello += "AUTH EXTERNAL ";
  for (const char digit : uid) hello += fmt::format("{:02x}", static_cast<unsigned>(digit));
  TRY(send(hello + "\r\n", deadline, "authenticate"));
  std::string line;
  constexpr std::size_t line_most = 512;
  while (!line.ends_with("\r\n")) {
    char byte = 0;
    const ssize_t size = ::recv(socket_.get(), &byte, 1, 0);
    if (size == 1)
      line += byte;
    else if (size == 0 || line.size() > line_most)
      return os_error(EPERM, "D-Bus", "the bus hung up while authenticating");
    else if (errno == EAGAIN)
      TRY(wait(POLLIN, deadline, "authenticate"));
    else if (errno != EINTR)
      return os_error("D-Bus", "authenticate");
  }
  if (!line.starts_with("OK ")) return os_error(EPERM, "D-Bus", "the bus refuses this user");
  return send("BEGIN\r\n", deadline, "authenticate");
}

Result<Connection> Connection::open(const std::string& path, Clock::time_point deadline) {
  Connection connection;
  connection.socket_ = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!connection.socket_) return os_error("D-Bus", "socket");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return os_error(ENAMETOOLONG, path);
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  // EAGAIN: the queue of a bus that takes nobody in is full.
  if (::connect(connection.socket_.get(), reinterpret_cast<const sockaddr*>(&address),
                sizeof address) != 0)
    return os_error(path, "connect to the bus of systemd");
  TRY(connection.authenticate(deadline));
  Message hello;
  hello.destination = "org.freedesktop.DBus";
  hello.path = "/org/freedesktop/DBus";
  hello.interface = "org.freedesktop.DBus";
  hello.member = "Hello";
  const Message reply = TRY(connection.call(std::move(hello), deadline));
  if (reply.type == Type::error) return os_error(EPERM, "D-Bus", error_text(reply));
  return connection;
}

Result<Message> Connection::receive(Clock::time_point deadline, const std::string& what) {
  for (;;) {
    const std::optional<std::size_t> size = TRY(message_size(buffer_));
    if (size && buffer_.size() >= *size) {
      Result<Message> message = decode(std::string_view(buffer_).substr(0, *size));
      buffer_.erase(0, *size);
      return message;
    }
    std::array<char, 4096> part{};
    const ssize_t got = ::recv(socket_.get(), part.data(), part.size(), 0);
    if (got > 0)
      buffer_.append(part.data(), static_cast<std::size_t>(got));
    else if (got == 0)
      return os_error(ECONNRESET, "D-Bus", what + ": the bus hung up");
    else if (errno == EAGAIN)
      TRY(wait(POLLIN, deadline, what));
    else if (errno != EINTR)
      return os_error("D-Bus", what);
  }
}

Result<Message> Connection::call(Message message, Clock::time_point deadline) {
  message.type = Type::call;
  message.serial = ++serial_;
  const std::string what = message.member;
  TRY(send(encode(message), deadline, what));
  for (;;) {
    Message answer = TRY(receive(deadline, what));
    if (answer.type == Type::signal) {
      if (signals_.size() == signals_most) signals_.erase(signals_.begin());
      signals_.push_back(std::move(answer));
    } else if (answer.type != Type::call && answer.reply_serial == message.serial) {
      return answer;
    }
  }
}

Result<Message> Connection::next_signal(Clock::time_point deadline) {
  if (!signals_.empty()) {
    Message signal = std::move(signals_.front());
    signals_.erase(signals_.begin());
    return signal;
  }
  for (;;) {
    Message message = TRY(receive(deadline, "wait for a signal"));
    if (message.type == Type::signal) return message;
  }
}

}  // namespace minirun::dbus
