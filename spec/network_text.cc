#include "spec/network_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "spec/address.h"
#include "spec/kubernetes/bandwidth.h"

namespace minirun {
namespace {

struct Range {
  unsigned first = 0, last = 0;
};

std::optional<Range> parse_range(std::string_view text) {
  auto port = [](std::string_view word) -> std::optional<unsigned> {
    unsigned value = 0;
    const char* end = word.data() + word.size();
    const auto [at, error] = std::from_chars(word.data(), end, value);
    if (error != std::errc() || at != end || value == 0 || value > 65535) return std::nullopt;
    return value;
  };
  const std::size_t dash = text.find('-');
  const auto first = port(text.substr(0, dash));
  const auto last = dash == text.npos ? first : port(text.substr(dash + 1));
  if (!first || !last || *last < *first || *last - *first >= 1024) return std::nullopt;
  return Range{*first, *last};
}

bool is_word(std::string_view text, std::string_view others) {
  return !text.empty() && std::ranges::all_of(text, [others](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           others.find(c) != others.npos;
  });
}

}  // namespace

Result<std::vector<PortMapping>> parse_ports(std::string_view text, const std::string& field) {
  const auto refuse = [&](std::string_view what) {
    return plain_error(field, fmt::format("\"{}\", expected {}", text, what));
  };
  constexpr std::string_view form = "[ADDRESS:]HOST:CONTAINER[/tcp|/udp] such as 8080:80";
  std::string_view rest = text;
  PortMapping mapping;
  mapping.field = field;
  if (const std::size_t slash = rest.rfind('/'); slash != rest.npos) {
    const std::string_view protocol = rest.substr(slash + 1);
    if (protocol != "tcp" && protocol != "udp") return refuse("tcp or udp after the \"/\"");
    mapping.udp = protocol == "udp";
    rest = rest.substr(0, slash);
  }
  const std::size_t colon = rest.rfind(':');
  if (colon == rest.npos) return refuse(form);
  const auto inside = parse_range(rest.substr(colon + 1));
  rest = rest.substr(0, colon);
  if (const std::size_t at = rest.rfind(':'); at != rest.npos) {
    std::string_view address = rest.substr(0, at);
    rest = rest.substr(at + 1);
    const bool bracketed = address.size() > 2 && address.front() == '[' && address.back() == ']';
    if (bracketed) address = address.substr(1, address.size() - 2);
    const auto parsed = Address::parse(address);
    if (!parsed || parsed->v6 != bracketed)
      return refuse("an address such as 127.0.0.1 or [fd00::1]");
    // What is sent to ::1 never leaves the loopback device, whatever a rule says (Linux has no
    // route_localnet for IPv6).
    if (*parsed == Address::parse("::1"))
      return refuse("another address than [::1], from which the kernel forwards nothing");
    mapping.host_ip = parsed->text();
  }
  const auto outside = parse_range(rest);
  if (!inside || !outside) return refuse("ports from 1 to 65535, as " + std::string(form));
  if (inside->last - inside->first != outside->last - outside->first)
    return refuse("as many ports of the host as of the container");
  std::vector<PortMapping> mappings;
  for (unsigned i = 0; i <= inside->last - inside->first; ++i) {
    mapping.host_port = static_cast<std::uint16_t>(outside->first + i);
    mapping.container_port = static_cast<std::uint16_t>(inside->first + i);
    mappings.push_back(mapping);
  }
  return mappings;
}

Result<Network> parse_network(std::string_view text) {
  Network network;
  const std::size_t colon = text.find(':');
  const std::string_view word = text.substr(0, colon);
  const std::string_view rest = colon == text.npos ? std::string_view() : text.substr(colon + 1);
  if (colon != text.npos && rest.empty())
    return plain_error("", fmt::format("\"{}\", expected a name after the colon", text));
  if (text == "none") {
    network.mode = Network::Mode::none;
  } else if (text == "host") {
    network.mode = Network::Mode::host;
  } else if (text == "pasta") {
    network.mode = Network::Mode::pasta;
  } else if (word == "bridge") {
    network.mode = Network::Mode::bridge;
    if (!rest.empty()) network.name = rest;
  } else if ((word == "join" || word == "container") && !rest.empty()) {
    network.mode = Network::Mode::join;
    network.join = rest;
  } else {
    return plain_error("", fmt::format("\"{}\", expected one of none, host, bridge, bridge:NAME, "
                                       "pasta, join:ID",
                                       text));
  }
  return network;
}

Result<std::uint64_t> parse_rate(std::string_view text) {
  return kubernetes::parse_bandwidth(text);
}

Status check_interface_name(std::string_view name) {
  if (name.size() > 15)
    return plain_error(
        "", fmt::format("\"{}\" has {} characters, an interface at most 15", name, name.size()));
  if (!is_word(name, "_.-") || name == "." || name == ".." || name.front() == '-')
    return plain_error("", fmt::format("\"{}\", expected letters, digits and \"_.-\"", name));
  return {};
}

bool is_host_name(std::string_view name) {
  return name.size() <= 253 && is_word(name, "_.-") && name.front() != '-' && name.front() != '.';
}

}  // namespace minirun
