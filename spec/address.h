// Owns: IP addresses and subnets as values: text to bytes and back, arithmetic on host numbers.
// Must not: resolve a name or look at an interface.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace minirun {

/// An IPv4 or IPv6 address in network byte order; IPv4 takes the first four bytes.
struct Address {
  bool v6 = false;
  std::array<std::uint8_t, 16> bytes{};

  [[nodiscard]] static std::optional<Address> parse(std::string_view text);
  [[nodiscard]] std::string text() const;
  [[nodiscard]] std::size_t size() const { return v6 ? 16 : 4; }
  [[nodiscard]] bool loopback() const;
  bool operator==(const Address&) const = default;
  auto operator<=>(const Address&) const = default;
};

/// A network such as 10.88.0.0/16.
struct Subnet {
  Address base;
  unsigned prefix = 0;

  /// nullopt: no address, no prefix, or bits set behind the prefix ("10.88.0.1/16").
  [[nodiscard]] static std::optional<Subnet> parse(std::string_view text);
  [[nodiscard]] std::string text() const;
  [[nodiscard]] bool contains(const Address& address) const;
  [[nodiscard]] bool overlaps(const Subnet& other) const;
  /// Address number `index` of it; 1 is the gateway.
  [[nodiscard]] Address at(std::uint32_t index) const;
  /// The number of `address`, which must be contained; nullopt when it is above 2^32-1.
  [[nodiscard]] std::optional<std::uint32_t> index_of(const Address& address) const;
  /// The highest number that a container may get: IPv4 ends with the broadcast address.
  [[nodiscard]] std::uint32_t last_index() const;
  bool operator==(const Subnet&) const = default;
};

}  // namespace minirun
