// Owns: what the parts of the Pod reader share: findings with pointer and position, scalars with
// their types, quantities. Private to the reader.
// Must not: know which field is which.
#pragma once

#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/findings.h"
#include "spec/kubernetes/document.h"
#include "spec/kubernetes/quantity.h"

namespace minirun::kubernetes {

/// "a/b~c" as a token of a JSON pointer: "a~1b~0c".
[[nodiscard]] std::string pointer_token(std::string_view name);

class ReaderContext {
 public:
  void error(const Node& at, const std::string& pointer, std::string message);
  void warning(const Node& at, const std::string& pointer, std::string message);

  /// True when the node is of this kind; else an error that names both.
  bool expect(const Node& node, Node::Kind kind, const std::string& pointer);
  /// A string; a number, boolean or null that YAML made of a bare word is an error that says so.
  std::optional<std::string> text(const Node& node, const std::string& pointer);
  std::optional<std::int64_t> integer(const Node& node, const std::string& pointer);
  /// A quantity, from a string or a number; names the number forms of YAML 1.1 that surprise.
  std::optional<Quantity> quantity(const Node& node, const std::string& pointer);
  /// A field that may be absent or null: nullptr then, and after an error about its kind.
  const Node* object(const Node& parent, std::string_view name, const std::string& base);
  const Node* list(const Node& parent, std::string_view name, const std::string& base);
  /// Empty when it is absent or wrong.
  std::string word(const Node& parent, std::string_view name, const std::string& base);
  /// Of a boolean node: "True" and "on" are true as "true" is.
  static bool truth(const Node& node);
  std::optional<bool> boolean(const Node& parent, std::string_view name, const std::string& base);
  std::optional<std::int64_t> number(const Node& parent, std::string_view name,
                                     const std::string& base, std::int64_t low, std::int64_t high);
  /// Warns about fields that are not among `known`, with the closest known name.
  void unknown_fields(const Node& mapping, std::span<const std::string_view> known,
                      const std::string& pointer);

  Findings findings;

 private:
  const Node* field(const Node& parent, std::string_view name, const std::string& base,
                    Node::Kind kind);
  std::optional<std::string> number_text(const Node& node, const std::string& pointer);
};

}  // namespace minirun::kubernetes
