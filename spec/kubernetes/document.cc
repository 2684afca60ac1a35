// Owns: the tree builder and the JSON side. nlohmann/json tokenizes; an iterator that counts lines
// gives the positions that it does not report.
// Must not: interpret a field, except YAML's merge key.
#include "spec/kubernetes/document.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>

namespace minirun::kubernetes {

namespace {

bool scalar_kind(Node::Kind kind) {
  return kind != Node::Kind::sequence && kind != Node::Kind::mapping;
}

}  // namespace

std::string_view to_string(Node::Kind kind) {
  switch (kind) {
    case Node::Kind::null:
      return "null";
    case Node::Kind::boolean:
      return "a boolean";
    case Node::Kind::number:
      return "a number";
    case Node::Kind::string:
      return "a string";
    case Node::Kind::sequence:
      return "a list";
    case Node::Kind::mapping:
      return "an object";
  }
  return {};
}

std::size_t node_count(const Node& node) {
  std::size_t nodes = 1;
  for (const Node& item : node.items) nodes += node_count(item);
  for (const Node::Field& field : node.fields) nodes += 1 + node_count(field.value);
  return nodes;
}

const Node* Node::find(std::string_view name) const {
  for (const Field& field : fields)
    if (field.name == name) return &field.value;
  return nullptr;
}

void TreeBuilder::error(Position at, std::string message) {
  out_.findings.push_back({Finding::Level::error, "", std::move(message), at.line, at.column});
}

bool TreeBuilder::count(std::size_t nodes, Position at) {
  if (nodes > document_nodes_max - nodes_) {
    error(at, fmt::format("more than {} nodes, aliases expanded", document_nodes_max));
    return false;
  }
  nodes_ += nodes;
  return true;
}

bool TreeBuilder::begin(Node::Kind kind, Position at) {
  if (!count(1, at)) return false;
  if (open_.size() >= document_depth_max) {
    error(at, fmt::format("nested deeper than {} levels", document_depth_max));
    return false;
  }
  Open open;
  open.node.kind = kind;
  open.node.at = at;
  open_.push_back(std::move(open));
  last_ = nullptr;
  return true;
}

bool TreeBuilder::end() {
  if (open_.empty()) return false;
  Node node = std::move(open_.back().node);
  open_.pop_back();
  if (node.kind == Node::Kind::mapping) finish_mapping(node);
  attach(std::move(node));
  return true;
}

bool TreeBuilder::scalar(Node::Kind kind, std::string text, Position at) {
  if (!count(1, at)) return false;
  Node node;
  node.kind = kind;
  node.text = std::move(text);
  node.at = at;
  attach(std::move(node));
  return true;
}

bool TreeBuilder::tree(const Node& node, Position at) {
  if (!count(node_count(node), at)) return false;
  attach(node);
  return true;
}

void TreeBuilder::attach(Node node) {
  if (open_.empty()) {
    out_.documents.push_back(std::move(node));
    last_ = &out_.documents.back();
    return;
  }
  Open& top = open_.back();
  if (top.node.kind == Node::Kind::sequence) {
    top.node.items.push_back(std::move(node));
    last_ = &top.node.items.back();
  } else if (!top.has_key) {
    if (!scalar_kind(node.kind)) error(node.at, "a key has to be text");
    top.has_key = true;
    top.field = {std::move(node.text), node.at, {}};
    last_ = nullptr;
  } else {
    top.has_key = false;
    top.field.value = std::move(node);
    top.node.fields.push_back(std::move(top.field));
    last_ = &top.node.fields.back().value;
  }
}

/// Names each key once: a duplicate is an error, and `<<` is replaced by what it refers to.
void TreeBuilder::finish_mapping(Node& node) {
  std::vector<Node::Field> merged;
  std::set<std::string> names;
  std::vector<Node::Field> fields;
  for (Node::Field& field : node.fields) {
    if (field.name == "<<" && field.value.kind == Node::Kind::mapping) {
      for (Node::Field& other : field.value.fields) merged.push_back(std::move(other));
    } else if (field.name == "<<" && field.value.kind == Node::Kind::sequence) {
      for (Node& item : field.value.items)
        for (Node::Field& other : item.fields) merged.push_back(std::move(other));
    } else if (!names.insert(field.name).second) {
      error(field.at, fmt::format("the key \"{}\" stands twice in this object", field.name));
    } else {
      fields.push_back(std::move(field));
    }
  }
  for (Node::Field& field : merged)
    if (names.insert(field.name).second) fields.push_back(std::move(field));
  node.fields = std::move(fields);
}

// ---------------------------------------------------------------- JSON

namespace {

/// Where the tokenizer stands, and where its current token began.
struct JsonCursor {
  const char* at = nullptr;
  Position here{1, 1};
  Position token{1, 1};
  bool in_string = false;
  bool escaped = false;
  bool in_word = false;

  void step() {
    const char c = *at++;
    const bool blank = c == ' ' || c == '\t' || c == '\n' || c == '\r';
    if (in_string) {
      if (!escaped && c == '"') in_string = false;
      escaped = !escaped && c == '\\';
    } else if (c == '"' || c == '{' || c == '[') {
      token = here;
      in_string = c == '"';
      in_word = false;
    } else if (blank || c == ',' || c == ':' || c == ']' || c == '}') {
      in_word = false;
    } else if (!in_word) {
      token = here;
      in_word = true;
    }
    if (c == '\n')
      here = {here.line + 1, 1};
    else
      ++here.column;
  }
};

/// An input iterator over the text that moves the one cursor; copies share it.
struct JsonIterator {
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  JsonCursor* cursor = nullptr;
  const char* end = nullptr;

  reference operator*() const { return *cursor->at; }
  JsonIterator& operator++() {
    cursor->step();
    return *this;
  }
  bool operator==(const JsonIterator& other) const {
    const char* mine = cursor != nullptr ? cursor->at : end;
    const char* others = other.cursor != nullptr ? other.cursor->at : other.end;
    return mine == others;
  }
};

constexpr std::string_view not_json = "not JSON: ";

class JsonEvents : public nlohmann::json_sax<nlohmann::ordered_json> {
 public:
  JsonEvents(TreeBuilder& builder, const JsonCursor& cursor) : builder_(builder), cursor_(cursor) {}

  bool null() override { return scalar(Node::Kind::null, ""); }
  bool boolean(bool value) override {
    return scalar(Node::Kind::boolean, value ? "true" : "false");
  }
  bool number_integer(number_integer_t value) override {
    return scalar(Node::Kind::number, std::to_string(value));
  }
  bool number_unsigned(number_unsigned_t value) override {
    return scalar(Node::Kind::number, std::to_string(value));
  }
  bool number_float(number_float_t, const string_t& text) override {
    return scalar(Node::Kind::number, text);
  }
  bool string(string_t& value) override { return scalar(Node::Kind::string, std::move(value)); }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override {
    return builder_.begin(Node::Kind::mapping, cursor_.token);
  }
  bool key(string_t& name) override { return scalar(Node::Kind::string, std::move(name)); }
  bool end_object() override { return builder_.end(); }
  bool start_array(std::size_t) override {
    return builder_.begin(Node::Kind::sequence, cursor_.token);
  }
  bool end_array() override { return builder_.end(); }
  bool parse_error(std::size_t, const std::string& token,
                   const nlohmann::ordered_json::exception& exception) override {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: syntax error ...".
    std::string_view words = exception.what();
    if (const std::size_t colon = words.find(": "); colon != std::string_view::npos)
      words.remove_prefix(colon + 2);
    (void)token;
    builder_.error(cursor_.token, fmt::format("{}{}", not_json, words));
    return false;
  }

 private:
  bool scalar(Node::Kind kind, std::string text) {
    return builder_.scalar(kind, std::move(text), cursor_.token);
  }

  TreeBuilder& builder_;
  const JsonCursor& cursor_;
};

Finding too_large(std::size_t bytes) {
  return {Finding::Level::error, "",
          fmt::format("the file has {} bytes, a manifest at most {}", bytes, document_bytes_max), 0,
          0};
}

}  // namespace

Documents read_json_documents(std::string_view text) {
  Documents out;
  if (text.size() > document_bytes_max) {
    out.findings.push_back(too_large(text.size()));
    return out;
  }
  TreeBuilder builder(out);
  JsonCursor cursor;
  cursor.at = text.data();
  JsonEvents events(builder, cursor);
  const char* const end = text.data() + text.size();
  nlohmann::ordered_json::sax_parse(JsonIterator{&cursor, end}, JsonIterator{nullptr, end},
                                    &events);
  return out;
}

Documents read_documents(std::string_view text) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  if (text.size() > document_bytes_max) {
    Documents out;
    out.findings.push_back(too_large(text.size()));
    return out;
  }
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  const bool braces = first != std::string_view::npos && (text[first] == '{' || text[first] == '[');
  if (!braces) return read_yaml_documents(text);
  Documents json = read_json_documents(text);
  // A second try is for YAML in braces, not for a file that exceeded a limit.
  const bool syntax = std::ranges::any_of(
      json.findings, [](const Finding& finding) { return finding.message.starts_with(not_json); });
  if (!syntax) return json;
  Documents yaml = read_yaml_documents(text);
  return has_errors(yaml.findings) ? json : yaml;
}

}  // namespace minirun::kubernetes
