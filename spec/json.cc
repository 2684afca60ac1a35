// Owns: the adapter over nlohmann/json's SAX parser, and the words of type errors.
// Must not: let an exception out, or recurse over a document.
#include "spec/json.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <nlohmann/json.hpp>

#include "spec/suggest.h"

namespace minirun {
namespace {

/// Control characters as \u00xx, so that no byte of a document reaches a terminal as a command.
void append_printable(std::string& out, char c) {
  const auto byte = static_cast<unsigned char>(c);
  if (byte < 0x20 || byte == 0x7f)
    out += fmt::format("\\u{:04x}", byte);
  else
    out.push_back(c);
}

}  // namespace

std::string quote_text(std::string_view text) {
  constexpr std::size_t kMostShown = 80;
  std::size_t end = std::min(text.size(), kMostShown);
  while (end < text.size() && end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80)
    --end;  // not in the middle of a UTF-8 sequence
  std::string out = "\"";
  for (char c : text.substr(0, end)) {
    if (c == '"' || c == '\\') out.push_back('\\');
    append_printable(out, c);
  }
  out += end < text.size() ? "...\"" : "\"";
  return out;
}

void add_finding(Findings& findings, Finding finding) {
  if (findings.size() + 1 == kMostFindings)
    finding = {Finding::Level::error, "", "and more: findings after these are not shown"};
  if (findings.size() < kMostFindings) findings.push_back(std::move(finding));
}

std::string pointer_token(std::string_view key) {
  std::string out;
  for (char c : key) {
    if (c == '~')
      out += "~0";
    else if (c == '/')
      out += "~1";
    else
      append_printable(out, c);
  }
  return out;
}

/// Receives the parser's events and appends nodes.
class JsonBuilder {
 public:
  JsonBuilder(JsonDocument& document, std::string_view text, Findings& findings,
              const JsonLimits& limits)
      : nodes_(document.nodes_), text_(text), findings_(findings), limits_(limits) {}

  using Node = JsonDocument::Node;
  using Kind = JsonDocument::Kind;
  using Lib = nlohmann::ordered_json;

  bool null() { return add(Kind::null) != nullptr; }
  bool boolean(bool value) {
    Node* node = add(Kind::boolean);
    if (node) node->negative = value;
    return node != nullptr;
  }
  bool number_integer(Lib::number_integer_t value) {
    Node* node = add(Kind::integer);
    if (!node) return false;
    node->negative = value < 0;
    const auto bits = static_cast<std::uint64_t>(value);
    node->magnitude = value < 0 ? 0 - bits : bits;
    node->text = fmt::format("{}", value);
    return true;
  }
  bool number_unsigned(Lib::number_unsigned_t value) {
    Node* node = add(Kind::integer);
    if (!node) return false;
    node->magnitude = value;
    node->text = fmt::format("{}", value);
    return true;
  }
  bool number_float(Lib::number_float_t, const std::string& text) {
    Node* node = add(Kind::real);  // also integers above 2^64-1
    if (node) node->text = text;
    return node != nullptr;
  }
  bool string(std::string& value) {
    Node* node = add(Kind::string);
    if (!node) return false;
    if (value.find('\0') != std::string::npos)
      fail(pointer_of(static_cast<std::uint32_t>(nodes_.size() - 1)),
           fmt::format("{}, expected a string without NUL", quote_text(value)));
    node->text = std::move(value);
    return true;
  }
  bool binary(Lib::binary_t&) { return false; }
  bool start_object(std::size_t) { return open(Kind::object); }
  bool start_array(std::size_t) { return open(Kind::array); }
  bool key(std::string& value) {
    if (value.find('\0') != std::string::npos)
      fail(pointer_of(open_.back()),
           fmt::format("key {}, expected a key without NUL", quote_text(value)));
    key_ = std::move(value);
    return true;
  }
  bool end_object() {
    report_duplicates(open_.back());
    open_.pop_back();
    return true;
  }
  bool end_array() {
    open_.pop_back();
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const std::exception& exception) {
    // "[json.exception...] parse error at line 1, column 2: WORDS"; the position counts bytes
    // and is one past the offending one.
    std::string_view words = exception.what();
    const std::size_t colon = words.find(": ");
    if (colon != std::string_view::npos) words.remove_prefix(colon + 2);
    const std::string_view before = text_.substr(0, position == 0 ? 0 : position - 1);
    const auto line = std::count(before.begin(), before.end(), '\n') + 1;
    const std::size_t line_start = before.rfind('\n') + 1;  // npos + 1 is 0
    std::string shown;
    for (char c : words) append_printable(shown, c);
    fail(open_.empty() ? "" : pointer_of(open_.back()),
         fmt::format("line {}, column {}: not JSON: {}", line, before.size() - line_start + 1,
                     shown));
    return false;
  }

  void fail(std::string pointer, std::string message) {
    add_finding(findings_, {Finding::Level::error, std::move(pointer), std::move(message)});
  }

 private:
  std::string pointer_of(std::uint32_t index) const {
    std::string out;
    for (; index != JsonDocument::kNone; index = nodes_[index].parent) {
      const Node& node = nodes_[index];
      if (node.parent == JsonDocument::kNone) break;
      const std::string token = nodes_[node.parent].kind == Kind::object
                                    ? pointer_token(node.key)
                                    : fmt::format("{}", node.index);
      out.insert(0, "/" + token);
    }
    return out;
  }

  Node* add(Kind kind) {
    if (nodes_.size() == limits_.values) {
      fail("", fmt::format("more than {} values, expected a container's configuration",
                           limits_.values));
      return nullptr;
    }
    const auto index = static_cast<std::uint32_t>(nodes_.size());
    Node& node = nodes_.emplace_back();
    node.kind = kind;
    if (open_.empty()) return &node;
    node.parent = open_.back();
    Node& parent = nodes_[node.parent];
    node.index = parent.size++;
    if (parent.kind == Kind::object) node.key = std::move(key_);
    (parent.last_child == JsonDocument::kNone ? parent.first_child
                                              : nodes_[parent.last_child].next) = index;
    parent.last_child = index;
    return &node;
  }

  bool open(Kind kind) {
    if (open_.size() == limits_.depth) {
      fail(pointer_of(open_.back()), fmt::format("nested deeper than {} levels", limits_.depth));
      return false;
    }
    if (!add(kind)) return false;
    open_.push_back(static_cast<std::uint32_t>(nodes_.size() - 1));
    return true;
  }

  /// By sorting when there are many keys: an object of 500,000 keys must not cost their square.
  void report_duplicates(std::uint32_t object) {
    keys_.clear();
    for (std::uint32_t i = nodes_[object].first_child; i != JsonDocument::kNone; i = nodes_[i].next)
      keys_.emplace_back(nodes_[i].key, i);
    std::sort(keys_.begin(), keys_.end());
    for (std::size_t i = 1; i < keys_.size(); ++i)
      if (keys_[i].first == keys_[i - 1].first)
        fail(pointer_of(keys_[i].second), "the key is there twice, expected it once");
  }

  std::vector<Node>& nodes_;
  std::string_view text_;
  Findings& findings_;
  const JsonLimits& limits_;
  std::vector<std::uint32_t> open_;
  std::vector<std::pair<std::string_view, std::uint32_t>> keys_;
  std::string key_;
};

std::optional<JsonDocument> JsonDocument::parse(std::string_view text, Findings& findings,
                                                const JsonLimits& limits) {
  JsonDocument document;
  JsonBuilder builder(document, text, findings, limits);
  if (text.size() > limits.bytes) {
    builder.fail("", fmt::format("{} bytes, expected at most {}", text.size(), limits.bytes));
    return std::nullopt;
  }
  document.nodes_.reserve(std::min(text.size() / 16 + 8, std::size_t{4096}));
  try {
    if (!nlohmann::ordered_json::sax_parse(text.begin(), text.end(), &builder)) return std::nullopt;
  } catch (const std::exception& exception) {
    builder.fail("", fmt::format("not JSON: {}", exception.what()));
    return std::nullopt;
  }
  return document;
}

Json JsonDocument::root(Findings& findings) const {
  return {this, 0, &findings};
}

std::string Json::pointer() const {
  std::string out;
  for (std::uint32_t i = node_; document_->nodes_[i].parent != JsonDocument::kNone;
       i = document_->nodes_[i].parent) {
    const JsonDocument::Node& here = document_->nodes_[i];
    const bool in_object = document_->nodes_[here.parent].kind == Kind::object;
    out.insert(0, "/" + (in_object ? pointer_token(here.key) : fmt::format("{}", here.index)));
  }
  return out;
}

std::string Json::field() const {
  std::string out;
  for (std::uint32_t i = node_; document_->nodes_[i].parent != JsonDocument::kNone;
       i = document_->nodes_[i].parent) {
    const JsonDocument::Node& here = document_->nodes_[i];
    const JsonDocument::Node& parent = document_->nodes_[here.parent];
    if (parent.kind == Kind::object)
      out.insert(0, (parent.parent == JsonDocument::kNone ? "" : ".") + here.key);
    else
      out.insert(0, fmt::format("[{}]", here.index));
  }
  return out;
}

std::string Json::text() const {
  switch (kind()) {
    case Kind::null:
      return "null";
    case Kind::boolean:
      return node().negative ? "true" : "false";
    case Kind::array:
      return "[...]";
    case Kind::object:
      return "{...}";
    case Kind::integer:
    case Kind::real:
    case Kind::string:
      break;
  }
  return node().text;
}

std::string Json::shown() const {
  if (is(Kind::string)) return quote_text(node().text);
  if (is(Kind::array)) return size() == 0 ? "an empty array" : "an array";
  if (is(Kind::object)) return size() == 0 ? "an empty object" : "an object";
  const std::string value = text();
  return value.size() <= 80 ? value : value.substr(0, 80) + "...";
}

void Json::report(Finding::Level level, std::string message) const {
  if (findings_->size() >= kMostFindings) return;
  add_finding(*findings_, {level, pointer(), std::move(message)});
}

void Json::expected(std::string_view what) const {
  if (findings_->size() >= kMostFindings) return;
  error(fmt::format("{}, expected {}", shown(), what));
}

void Json::missing(std::string_view key, std::string_view what) const {
  add_finding(*findings_, {Finding::Level::error, pointer() + "/" + pointer_token(key),
                           fmt::format("missing, expected {}", what)});
}

void Json::expected_one_of(std::span<const std::string_view> names) const {
  std::string what;
  if (names.size() <= 12)
    what = fmt::format("one of {}", fmt::join(names, ", "));
  else
    what = fmt::format("one of {} words such as {}", names.size(), names.front());
  if (is(Kind::string))
    if (const auto close = suggest(node().text, names))
      what += fmt::format("; did you mean \"{}\"?", *close);
  expected(what);
}

bool Json::get(bool& out) const {
  if (!is(Kind::boolean)) return expected("true or false"), false;
  out = node().negative;
  return true;
}

bool Json::get(std::string& out) const {
  if (!is(Kind::string)) return expected("a string"), false;
  out = node().text;
  return true;
}

bool Json::get(std::vector<std::string>& out) const {
  if (!is(Kind::array)) return expected("an array of strings"), false;
  std::vector<std::string> values;
  values.reserve(size());
  bool good = true;
  for (Json item : *this) good = item.get(values.emplace_back()) && good;
  if (good) out = std::move(values);
  return good;
}

bool Json::get(std::map<std::string, std::string>& out) const {
  if (!is(Kind::object)) return expected("an object of strings"), false;
  std::map<std::string, std::string> values;
  bool good = true;
  for (Json item : *this) good = item.get(values[item.key()]) && good;
  if (good) out = std::move(values);
  return good;
}

std::optional<std::int64_t> Json::signed_integer(std::int64_t least, std::int64_t most) const {
  constexpr auto kTop = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  if (is(Kind::integer) && node().magnitude <= kTop + (node().negative ? 1 : 0)) {
    const std::uint64_t bits = node().negative ? 0 - node().magnitude : node().magnitude;
    const auto value = static_cast<std::int64_t>(bits);
    if (value >= least && value <= most) return value;
  }
  expected(fmt::format("an integer from {} to {}", least, most));
  return std::nullopt;
}

std::optional<std::uint64_t> Json::unsigned_integer(std::uint64_t least, std::uint64_t most) const {
  if (is(Kind::integer) && !node().negative && node().magnitude >= least &&
      node().magnitude <= most)
    return node().magnitude;
  expected(fmt::format("an integer from {} to {}", least, most));
  return std::nullopt;
}

std::optional<Json> Json::find(std::string_view key) const {
  if (!is(Kind::object)) return std::nullopt;
  for (Json item : *this)
    if (item.key() == key) return item.is(Kind::null) ? std::nullopt : std::optional(item);
  return std::nullopt;
}

JsonObject::JsonObject(Json json) : json_(json) {
  if (!json_.is(Json::Kind::object)) json_.expected("an object");
}

JsonObject::~JsonObject() {
  if (!json_.is(Json::Kind::object)) return;
  for (Json item : json_) {
    if (item.findings().size() >= kMostFindings) return;
    if (std::find(known_.begin(), known_.end(), item.key()) != known_.end()) continue;
    const auto close = suggest(item.key(), known_);
    item.warning(close ? fmt::format("unknown property, ignored; did you mean \"{}\"?", *close)
                       : "unknown property, ignored");
  }
}

std::optional<Json> JsonObject::find(std::string_view key) {
  known_.push_back(key);
  return json_.find(key);
}

std::optional<Json> JsonObject::require(std::string_view key, std::string_view what) {
  const std::optional<Json> value = find(key);
  if (!value && json_.is(Json::Kind::object)) json_.missing(key, what);
  return value;
}

}  // namespace minirun
