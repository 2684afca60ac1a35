// Owns: JSON as the readers see it: a parsed document with limits, and Json, a place in it that
// reads typed values and collects Findings with RFC 6901 pointers, all of them.
// Must not: know any format. Only json.cc sees the JSON library; nothing here throws.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/findings.h"
#include "spec/words.h"

namespace minirun {

/// Documents are untrusted. The depth bounds every recursion over the tree; the number of values
/// bounds memory: "[[],[],..." would else become 40 times its size.
struct JsonLimits {
  std::size_t bytes = std::size_t{16} << 20;
  unsigned depth = 64;
  std::size_t values = 500'000;
};

/// A document never yields more findings than this; the last one says that there are more.
inline constexpr std::size_t kMostFindings = 100;

/// Adds a finding unless the document has reached kMostFindings.
void add_finding(Findings& findings, Finding finding);

/// One reference token of an RFC 6901 pointer: "~" and "/" escaped, control characters shown as
/// \u00xx so that a key cannot write to the reader's terminal.
[[nodiscard]] std::string pointer_token(std::string_view key);

/// A string of the document for a message: in quotes, control characters as \u00xx, at most 80
/// bytes.
[[nodiscard]] std::string quote_text(std::string_view text);

class Json;

/// A parsed document. Json values point into it: it must outlive them and not be moved under them.
class JsonDocument {
 public:
  /// Absent after a syntax error (reported with line and column) or an exceeded limit. A duplicate
  /// key (two parsers would disagree on the value) or a NUL in a string is an error finding, and
  /// the document is still returned so that everything else is found too.
  [[nodiscard]] static std::optional<JsonDocument> parse(std::string_view text, Findings& findings,
                                                         const JsonLimits& limits = {});

  /// The whole document, reporting into `findings`.
  [[nodiscard]] Json root(Findings& findings) const;

 private:
  friend class Json;
  friend class JsonBuilder;

  enum class Kind : std::uint8_t { null, boolean, integer, real, string, array, object };
  static constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();
  struct Node {
    Kind kind = Kind::null;
    bool negative = false;  ///< integer: the sign; boolean: the value
    std::uint32_t parent = kNone, first_child = kNone, last_child = kNone, next = kNone;
    std::uint32_t index = 0;      ///< position in the parent
    std::uint32_t size = 0;       ///< number of children
    std::uint64_t magnitude = 0;  ///< integer
    std::string key;              ///< in an object
    std::string text;             ///< string: its characters; number: as written
  };
  std::vector<Node> nodes_;
};

/// A place in a document. Cheap to copy.
class Json {
 public:
  using Kind = JsonDocument::Kind;

  [[nodiscard]] Kind kind() const { return node().kind; }
  [[nodiscard]] bool is(Kind kind) const { return node().kind == kind; }
  [[nodiscard]] bool is_number() const { return is(Kind::integer) || is(Kind::real); }
  [[nodiscard]] const std::string& key() const { return node().key; }
  [[nodiscard]] std::size_t size() const { return node().size; }
  [[nodiscard]] std::size_t index() const { return node().index; }

  [[nodiscard]] std::string pointer() const;  ///< "/mounts/4/source"
  [[nodiscard]] std::string field() const;    ///< "mounts[4].source"
  [[nodiscard]] std::string text() const;     ///< as written, strings without quotes
  [[nodiscard]] std::string shown() const;    ///< for a message: quoted, escaped, shortened

  void error(std::string message) const { report(Finding::Level::error, std::move(message)); }
  void warning(std::string message) const { report(Finding::Level::warning, std::move(message)); }
  /// "VALUE, expected WHAT".
  void expected(std::string_view what) const;
  /// An error at a member that is not there.
  void missing(std::string_view key, std::string_view what) const;
  [[nodiscard]] Findings& findings() const { return *findings_; }

  // Typed reads. A value of another type or outside the range is reported, and `out` is unchanged.
  bool get(bool& out) const;
  bool get(std::string& out) const;
  bool get(std::vector<std::string>& out) const;
  bool get(std::map<std::string, std::string>& out) const;
  template <std::integral T>
  bool get(T& out, T least = std::numeric_limits<T>::min(),
           T most = std::numeric_limits<T>::max()) const {
    if constexpr (std::is_signed_v<T>) {
      const std::optional<std::int64_t> value = signed_integer(least, most);
      if (value) out = static_cast<T>(*value);
      return value.has_value();
    } else {
      const std::optional<std::uint64_t> value = unsigned_integer(least, most);
      if (value) out = static_cast<T>(*value);
      return value.has_value();
    }
  }
  template <class T>
  bool get(std::optional<T>& out) const {
    T value{};
    if (!get(value)) return false;
    out = std::move(value);
    return true;
  }
  /// One word of a closed set; anything else is reported with the set and a suggestion.
  template <class T>
  bool get_word(std::span<const Word<T>> words, T& out) const {
    if (is(Kind::string))
      for (const Word<T>& word : words)
        if (word.name == node().text) {
          out = word.value;
          return true;
        }
    std::vector<std::string_view> names;
    for (const Word<T>& word : words) names.push_back(word.name);
    expected_one_of(names);
    return false;
  }

  /// Children of an array or object, in the order written.
  class Iterator {
   public:
    Iterator(const JsonDocument* document, std::uint32_t node, Findings* findings)
        : document_(document), node_(node), findings_(findings) {}
    Json operator*() const { return {document_, node_, findings_}; }
    Iterator& operator++() {
      node_ = document_->nodes_[node_].next;
      return *this;
    }
    bool operator==(const Iterator& other) const { return node_ == other.node_; }

   private:
    const JsonDocument* document_;
    std::uint32_t node_;
    Findings* findings_;
  };
  [[nodiscard]] Iterator begin() const { return {document_, node().first_child, findings_}; }
  [[nodiscard]] Iterator end() const { return {document_, JsonDocument::kNone, findings_}; }

  /// A member of an object.
  [[nodiscard]] std::optional<Json> find(std::string_view key) const;
  /// Calls `f` with each element of an array; anything else is reported.
  template <class F>
  void each(F f) const {
    if (!is(Kind::array)) return expected("an array");
    for (Json item : *this) f(item);
  }
  /// Calls `f` with each member of an object; anything else is reported.
  template <class F>
  void each_member(F f) const {
    if (!is(Kind::object)) return expected("an object");
    for (Json item : *this) f(item);
  }

 private:
  friend class JsonDocument;
  Json(const JsonDocument* document, std::uint32_t node, Findings* findings)
      : document_(document), node_(node), findings_(findings) {}
  [[nodiscard]] const JsonDocument::Node& node() const { return document_->nodes_[node_]; }
  void report(Finding::Level level, std::string message) const;
  void expected_one_of(std::span<const std::string_view> names) const;
  [[nodiscard]] std::optional<std::int64_t> signed_integer(std::int64_t least,
                                                           std::int64_t most) const;
  [[nodiscard]] std::optional<std::uint64_t> unsigned_integer(std::uint64_t least,
                                                              std::uint64_t most) const;

  const JsonDocument* document_;
  std::uint32_t node_;
  Findings* findings_;
};

/// Reads an object member by member. The keys that were asked for are the known ones; the
/// destructor warns about the others (OCI runtime-spec 1.3, config.md "Extensibility": unknown
/// properties must be ignored and may be logged).
class JsonObject {
 public:
  /// Reports anything but an object; every read of it then finds nothing.
  explicit JsonObject(Json json);
  ~JsonObject();
  JsonObject(const JsonObject&) = delete;
  JsonObject& operator=(const JsonObject&) = delete;

  [[nodiscard]] const Json& json() const { return json_; }
  [[nodiscard]] std::optional<Json> find(std::string_view key);
  /// As find, and its absence is an error that says what was expected.
  [[nodiscard]] std::optional<Json> require(std::string_view key, std::string_view what);

  /// True if the member is there and could be read.
  template <class T>
  bool read(std::string_view key, T& out) {
    const std::optional<Json> value = find(key);
    return value && value->get(out);
  }
  template <std::integral T>
  bool read_within(std::string_view key, T& out, std::type_identity_t<T> least,
                   std::type_identity_t<T> most) {
    const std::optional<Json> value = find(key);
    return value && value->get(out, least, most);
  }
  template <class T>
  bool read_word(std::string_view key, std::span<const Word<T>> words, T& out) {
    const std::optional<Json> value = find(key);
    return value && value->get_word(words, out);
  }
  template <class F>
  void each(std::string_view key, F f) {
    if (const std::optional<Json> value = find(key)) value->each(f);
  }
  /// A property of the format that has no meaning here: accepted without a word.
  void ignore(std::string_view key) { (void)find(key); }

 private:
  Json json_;
  std::vector<std::string_view> known_;
};

}  // namespace minirun
