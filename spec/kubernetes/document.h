// Owns: a document as a tree of scalars, sequences and mappings with the line and column of each
// node, whatever format it came in; and the limits that keep a hostile file small.
// Must not: know what a Pod is.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/findings.h"

namespace minirun::kubernetes {

/// etcd takes 1.5 MiB per object; more than this is not a manifest.
inline constexpr std::size_t document_bytes_max = 4 << 20;
inline constexpr std::size_t document_depth_max = 100;
/// Nodes of one file after its aliases are expanded ("billion laughs").
inline constexpr std::size_t document_nodes_max = 100'000;

struct Position {
  int line = 0, column = 0;  ///< from 1
};

struct Node {
  enum class Kind { null, boolean, number, string, sequence, mapping };
  struct Field;
  Kind kind = Kind::null;
  std::string text;  ///< of a scalar, as written
  std::vector<Node> items;
  std::vector<Field> fields;  ///< in the order of the document, each name once
  Position at;

  [[nodiscard]] const Node* find(std::string_view name) const;
};

struct Node::Field {
  std::string name;
  Position at;
  Node value;
};

[[nodiscard]] std::string_view to_string(Node::Kind kind);
/// Nodes and keys of a tree.
[[nodiscard]] std::size_t node_count(const Node& node);

/// Trees of all documents of a file. After an error the trees may be incomplete.
struct Documents {
  std::vector<Node> documents;
  Findings findings;
};

/// Puts trees together from events; both readers use it. Every function returns false when a
/// limit is exceeded: then stop feeding it.
class TreeBuilder {
 public:
  explicit TreeBuilder(Documents& out) : out_(out) {}

  [[nodiscard]] bool begin(Node::Kind kind, Position at);  ///< sequence or mapping
  [[nodiscard]] bool end();
  [[nodiscard]] bool scalar(Node::Kind kind, std::string text, Position at);
  /// A finished tree, as an alias stands for one.
  [[nodiscard]] bool tree(const Node& node, Position at);
  /// The last complete node, for anchors; nullptr while one is open.
  [[nodiscard]] const Node* last() const { return last_; }

  void error(Position at, std::string message);

 private:
  struct Open {
    Node node;
    bool has_key = false;
    Node::Field field;
  };
  [[nodiscard]] bool count(std::size_t nodes, Position at);
  void attach(Node node);
  void finish_mapping(Node& node);

  Documents& out_;
  std::vector<Open> open_;
  const Node* last_ = nullptr;
  std::size_t nodes_ = 0;
};

[[nodiscard]] Documents read_json_documents(std::string_view text);
/// YAML 1.1 as Kubernetes reads it: `yes` is true, `010` is a number, `<<` merges.
[[nodiscard]] Documents read_yaml_documents(std::string_view text);

/// By the first byte that is not blank: JSON begins with a brace. A file in braces that is YAML
/// only is read as YAML.
[[nodiscard]] Documents read_documents(std::string_view text);

}  // namespace minirun::kubernetes
