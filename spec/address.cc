#include "spec/address.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>

namespace minirun {
namespace {

/// Clears the bits behind `prefix`.
Address masked(Address address, unsigned prefix) {
  for (unsigned i = 0; i < address.size(); ++i) {
    const unsigned bits = prefix > i * 8 ? std::min(prefix - i * 8, 8U) : 0;
    address.bytes[i] = static_cast<std::uint8_t>(address.bytes[i] & (0xff00U >> bits));
  }
  return address;
}

}  // namespace

std::optional<Address> Address::parse(std::string_view text) {
  const std::string copy(text);
  Address address;
  address.v6 = copy.find(':') != copy.npos;
  if (copy.find('\0') != copy.npos ||
      ::inet_pton(address.v6 ? AF_INET6 : AF_INET, copy.c_str(), address.bytes.data()) != 1)
    return std::nullopt;
  return address;
}

std::string Address::text() const {
  std::array<char, INET6_ADDRSTRLEN> buffer{};
  ::inet_ntop(v6 ? AF_INET6 : AF_INET, bytes.data(), buffer.data(), buffer.size());
  return buffer.data();
}

bool Address::loopback() const {
  return v6 ? *this == Address::parse("::1") : bytes[0] == 127;
}

std::optional<Subnet> Subnet::parse(std::string_view text) {
  const std::size_t slash = text.find('/');
  if (slash == text.npos) return std::nullopt;
  const auto base = Address::parse(text.substr(0, slash));
  if (!base) return std::nullopt;
  Subnet subnet{*base, 0};
  const char* end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data() + slash + 1, end, subnet.prefix);
  if (error != std::errc() || at != end || subnet.prefix > base->size() * 8) return std::nullopt;
  if (masked(*base, subnet.prefix) != *base) return std::nullopt;
  return subnet;
}

std::string Subnet::text() const {
  return fmt::format("{}/{}", base.text(), prefix);
}

bool Subnet::contains(const Address& address) const {
  return address.v6 == base.v6 && masked(address, prefix) == base;
}

bool Subnet::overlaps(const Subnet& other) const {
  return prefix <= other.prefix ? contains(other.base) : other.contains(base);
}

Address Subnet::at(std::uint32_t index) const {
  Address address = base;
  std::uint64_t carry = index;
  for (std::size_t i = address.size(); i-- > 0 && carry != 0;) {
    carry += address.bytes[i];
    address.bytes[i] = static_cast<std::uint8_t>(carry);
    carry >>= 8;
  }
  return address;
}

std::optional<std::uint32_t> Subnet::index_of(const Address& address) const {
  std::uint64_t index = 0;
  for (std::size_t i = 0; i < address.size(); ++i) {
    index = index << 8 | static_cast<std::uint8_t>(address.bytes[i] - base.bytes[i]);
    if (index > std::numeric_limits<std::uint32_t>::max()) return std::nullopt;
  }
  return static_cast<std::uint32_t>(index);
}

std::uint32_t Subnet::last_index() const {
  const std::size_t host_bits = base.size() * 8 - prefix;
  if (host_bits >= 32) return std::numeric_limits<std::uint32_t>::max() - 1;
  const std::uint32_t count = std::uint32_t{1} << host_bits;
  return base.v6 || count < 2 ? count - 1 : count - 2;
}

}  // namespace minirun
