// Owns: the words about wrong types, and what go-yaml makes of bare numbers.
// Must not: guess; a scalar of the wrong type is an error.
#include "spec/kubernetes/reader_context.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <vector>

namespace minirun::kubernetes {

namespace {

std::string shown(std::string_view text) {
  constexpr std::size_t most = 60;
  return text.size() <= most ? std::string(text) : fmt::format("{}...", text.substr(0, most));
}

/// Levenshtein; the words are short.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0U : 1U)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

std::string_view closest(std::string_view name, std::span<const std::string_view> known) {
  constexpr std::size_t longest = 60;
  std::string_view best;
  std::size_t least = 3;  // two slips
  if (name.size() > longest) return best;
  for (const std::string_view word : known)
    if (const std::size_t d = distance(name, word); d < least && d < word.size()) {
      least = d;
      best = word;
    }
  return best;
}

struct Radix {
  std::string_view prefix, name;
  int base;
};

/// 0b11, 0o17, 0x1f, 017; the digits are in `rest`.
std::optional<Radix> radix_of(std::string_view digits, std::string_view& rest) {
  for (const Radix& radix :
       {Radix{"0x", "hexadecimal", 16}, Radix{"0b", "binary", 2}, Radix{"0o", "octal", 8}})
    if (digits.starts_with(radix.prefix)) {
      rest = digits.substr(2);
      return radix;
    }
  const bool octal = digits.size() > 1 && digits[0] == '0' &&
                     digits.find_first_not_of("01234567") == std::string_view::npos;
  if (!octal) return std::nullopt;
  rest = digits.substr(1);
  return Radix{"0", "octal", 8};
}

}  // namespace

std::string pointer_token(std::string_view name) {
  std::string token;
  for (const char c : name) {
    if (c == '~')
      token += "~0";
    else if (c == '/')
      token += "~1";
    else
      token += c;
  }
  return token;
}

void ReaderContext::error(const Node& at, const std::string& pointer, std::string message) {
  findings.push_back(
      {Finding::Level::error, pointer, std::move(message), at.at.line, at.at.column});
}

void ReaderContext::warning(const Node& at, const std::string& pointer, std::string message) {
  findings.push_back(
      {Finding::Level::warning, pointer, std::move(message), at.at.line, at.at.column});
}

bool ReaderContext::expect(const Node& node, Node::Kind kind, const std::string& pointer) {
  if (node.kind == kind) return true;
  error(node, pointer, fmt::format("has to be {}, not {}", to_string(kind), to_string(node.kind)));
  return false;
}

std::optional<std::string> ReaderContext::text(const Node& node, const std::string& pointer) {
  if (node.kind == Node::Kind::string) return node.text;
  const bool bare = node.kind == Node::Kind::number || node.kind == Node::Kind::boolean;
  if (bare)
    error(node, pointer,
          fmt::format("has to be a string; {} without quotes is {}", shown(node.text),
                      to_string(node.kind)));
  else
    error(node, pointer, fmt::format("has to be a string, not {}", to_string(node.kind)));
  return std::nullopt;
}

const Node* ReaderContext::field(const Node& parent, std::string_view name, const std::string& base,
                                 Node::Kind kind) {
  const Node* node = parent.find(name);
  if (node == nullptr || node->kind == Node::Kind::null) return nullptr;
  return expect(*node, kind, base + "/" + std::string(name)) ? node : nullptr;
}

const Node* ReaderContext::object(const Node& parent, std::string_view name,
                                  const std::string& base) {
  return field(parent, name, base, Node::Kind::mapping);
}

const Node* ReaderContext::list(const Node& parent, std::string_view name,
                                const std::string& base) {
  return field(parent, name, base, Node::Kind::sequence);
}

std::string ReaderContext::word(const Node& parent, std::string_view name,
                                const std::string& base) {
  const Node* node = parent.find(name);
  if (node == nullptr || node->kind == Node::Kind::null) return "";
  return text(*node, base + "/" + std::string(name)).value_or("");
}

std::optional<bool> ReaderContext::boolean(const Node& parent, std::string_view name,
                                           const std::string& base) {
  const Node* node = field(parent, name, base, Node::Kind::boolean);
  if (node == nullptr) return std::nullopt;
  return truth(*node);
}

bool ReaderContext::truth(const Node& node) {
  const std::string_view text = node.text;
  return node.kind == Node::Kind::boolean &&
         (text == "on" || text == "On" || text == "ON" || text.starts_with('t') ||
          text.starts_with('T') || text.starts_with('y') || text.starts_with('Y'));
}

std::optional<std::int64_t> ReaderContext::number(const Node& parent, std::string_view name,
                                                  const std::string& base, std::int64_t low,
                                                  std::int64_t high) {
  const Node* node = parent.find(name);
  if (node == nullptr || node->kind == Node::Kind::null) return std::nullopt;
  const std::string where = base + "/" + std::string(name);
  const auto value = integer(*node, where);
  if (!value || (*value >= low && *value <= high)) return value;
  error(*node, where, fmt::format("{} is not within {} to {}", *value, low, high));
  return std::nullopt;
}

std::optional<std::int64_t> ReaderContext::integer(const Node& node, const std::string& pointer) {
  if (!expect(node, Node::Kind::number, pointer)) return std::nullopt;
  const auto text = number_text(node, pointer);
  if (!text) return std::nullopt;
  const auto amount = parse_quantity(*text);
  const auto value = amount ? amount->value() : Result<std::int64_t>(0);
  if (amount && value && !amount->fractional()) return *value;
  error(node, pointer, fmt::format("{} is not an integer of 64 bits", shown(node.text)));
  return std::nullopt;
}

std::optional<std::string> ReaderContext::number_text(const Node& node,
                                                      const std::string& pointer) {
  std::string digits = node.text;
  if (digits.find('_') != std::string::npos) {
    std::erase(digits, '_');
    warning(node, pointer,
            fmt::format("{} is the number {} in YAML 1.1; write it without _", shown(node.text),
                        shown(digits)));
  }
  std::string sign;
  if (digits.starts_with('+') || digits.starts_with('-')) {
    sign = digits.starts_with('-') ? "-" : "";
    digits.erase(0, 1);
  }
  if (digits.starts_with('.') && digits.size() > 1 && (digits[1] < '0' || digits[1] > '9')) {
    error(node, pointer, fmt::format("{} is not a number that counts", shown(node.text)));
    return std::nullopt;
  }
  std::string_view rest;
  const auto radix = radix_of(digits, rest);
  if (!radix) return sign + digits;
  std::uint64_t value = 0;
  const auto [end, problem] =
      std::from_chars(rest.data(), rest.data() + rest.size(), value, radix->base);
  if (problem != std::errc{} || end != rest.data() + rest.size()) {
    error(node, pointer, fmt::format("{} does not fit in 64 bits", shown(node.text)));
    return std::nullopt;
  }
  warning(node, pointer,
          fmt::format("{} is {} in YAML 1.1, that is {}{}; write it in decimal or in quotes",
                      shown(node.text), radix->name, sign, value));
  return sign + std::to_string(value);
}

std::optional<Quantity> ReaderContext::quantity(const Node& node, const std::string& pointer) {
  std::string written;
  switch (node.kind) {
    case Node::Kind::null:
      warning(node, pointer, "is empty, which Kubernetes reads as 0");
      return Quantity{};
    case Node::Kind::number: {
      auto number = number_text(node, pointer);
      if (!number) return std::nullopt;
      written = *std::move(number);
      break;
    }
    case Node::Kind::string: {
      const std::size_t first = std::min(node.text.find_first_not_of(" \t\r\n"), node.text.size());
      const std::size_t last = node.text.find_last_not_of(" \t\r\n");
      written = node.text.substr(first, last == std::string::npos ? 0 : last + 1 - first);
      break;
    }
    case Node::Kind::boolean:
    case Node::Kind::sequence:
    case Node::Kind::mapping:
      error(node, pointer,
            fmt::format("has to be a quantity such as 500m or 64Mi, not {}{}", to_string(node.kind),
                        node.kind == Node::Kind::boolean ? " (" + node.text + ")" : ""));
      return std::nullopt;
  }
  auto amount = parse_quantity(written);
  if (!amount) {
    error(node, pointer, to_string(amount.error()));
    return std::nullopt;
  }
  return *std::move(amount);
}

void ReaderContext::unknown_fields(const Node& mapping, std::span<const std::string_view> known,
                                   const std::string& pointer) {
  for (const Node::Field& field : mapping.fields) {
    if (std::find(known.begin(), known.end(), field.name) != known.end()) continue;
    const std::string_view near = closest(field.name, known);
    Node at;
    at.at = field.at;
    warning(at, pointer + "/" + pointer_token(shown(field.name)),
            near.empty() ? std::string("unknown property, ignored")
                         : fmt::format("unknown property, ignored; did you mean \"{}\"?", near));
  }
}

}  // namespace minirun::kubernetes
