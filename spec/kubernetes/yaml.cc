// Owns: YAML, the only file that sees yaml-cpp. It takes the parser's events, not its document
// model, because only events tell a quoted "1" from a bare 1 and let aliases be counted.
// Must not: let an exception of yaml-cpp out.
#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <array>
#include <map>
#include <sstream>

#include "spec/kubernetes/document.h"

namespace minirun::kubernetes {

namespace {

constexpr std::size_t documents_max = 1000;

/// Thrown through yaml-cpp when a limit is exceeded; the finding is already made.
struct Stop {};

Position position(const YAML::Mark& mark) {
  return mark.is_null() ? Position{} : Position{mark.line + 1, mark.column + 1};
}

template <std::size_t n>
bool among(std::string_view text, const std::array<std::string_view, n>& words) {
  return std::find(words.begin(), words.end(), text) != words.end();
}

bool all_of(std::string_view text, std::string_view allowed) {
  return !text.empty() && text.find_first_not_of(allowed) == std::string_view::npos;
}

/// The number forms of YAML 1.1, sexagesimal aside, which go-yaml does not read either.
bool yaml_number(std::string_view text) {
  if (text.starts_with('+') || text.starts_with('-')) text.remove_prefix(1);
  if (among<6>(text, {".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN"})) return true;
  if (text.starts_with("0x")) return all_of(text.substr(2), "0123456789abcdefABCDEF_");
  if (text.starts_with("0b")) return all_of(text.substr(2), "01_");
  if (text.starts_with("0o")) return all_of(text.substr(2), "01234567_");
  constexpr std::string_view digits = "0123456789_";
  const std::size_t whole = std::min(text.find_first_not_of(digits), text.size());
  const bool starts_right = whole > 0 && text[0] != '_';
  std::string_view rest = text.substr(whole);
  bool any = starts_right;
  if (whole > 0 && !starts_right) return false;
  if (rest.starts_with('.')) {
    rest.remove_prefix(1);
    const std::size_t fraction = std::min(rest.find_first_not_of(digits), rest.size());
    any = any || fraction > 0;
    rest.remove_prefix(fraction);
  }
  if (!any || rest.empty()) return any;
  if (rest[0] != 'e' && rest[0] != 'E') return false;
  rest.remove_prefix(1);
  if (rest.starts_with('+') || rest.starts_with('-')) rest.remove_prefix(1);
  return all_of(rest, "0123456789");
}

Node::Kind plain_kind(std::string_view text) {
  if (among<5>(text, {"", "~", "null", "Null", "NULL"})) return Node::Kind::null;
  if (among<6>(text, {"true", "True", "TRUE", "false", "False", "FALSE"}) ||
      among<6>(text, {"yes", "Yes", "YES", "no", "No", "NO"}) ||
      among<6>(text, {"on", "On", "ON", "off", "Off", "OFF"}))
    return Node::Kind::boolean;
  return yaml_number(text) ? Node::Kind::number : Node::Kind::string;
}

class Events : public YAML::EventHandler {
 public:
  explicit Events(Documents& out) : builder_(out) {}

  void OnDocumentStart(const YAML::Mark&) override {
    anchors_.clear();
    open_.clear();
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    need(builder_.scalar(Node::Kind::null, "", position(mark)));
    remember(anchor);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto it = anchors_.find(anchor);
    if (it == anchors_.end()) {
      builder_.error(position(mark),
                     "this alias stands for a key, or for a node that it is inside of");
      throw Stop{};
    }
    need(builder_.tree(it->second, position(mark)));
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    constexpr std::string_view core = "tag:yaml.org,2002:";
    Node::Kind kind = Node::Kind::string;
    if (tag.empty() || tag == "?")
      kind = plain_kind(value);
    else if (tag != "!" && tag.starts_with(core) && tag != std::string(core) + "str")
      kind = plain_kind(value);
    else if (tag != "!" && !tag.starts_with(core))
      builder_.error(position(mark), fmt::format("the tag {} has no meaning here", tag));
    need(builder_.scalar(kind, value, position(mark)));
    remember(anchor);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    begin(Node::Kind::sequence, mark, anchor);
  }
  void OnSequenceEnd() override { end(); }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    begin(Node::Kind::mapping, mark, anchor);
  }
  void OnMapEnd() override { end(); }

  TreeBuilder& builder() { return builder_; }

 private:
  static void need(bool within_limits) {
    if (!within_limits) throw Stop{};
  }
  void begin(Node::Kind kind, const YAML::Mark& mark, YAML::anchor_t anchor) {
    need(builder_.begin(kind, position(mark)));
    open_.push_back(anchor);
  }
  void end() {
    need(builder_.end());
    const YAML::anchor_t anchor = open_.back();
    open_.pop_back();
    remember(anchor);
  }
  void remember(YAML::anchor_t anchor) {
    if (anchor == YAML::NullAnchor || builder_.last() == nullptr) return;
    copied_ += node_count(*builder_.last());
    if (copied_ > document_nodes_max) {
      builder_.error(builder_.last()->at, "too many nodes behind anchors");
      throw Stop{};
    }
    anchors_[anchor] = *builder_.last();
  }

  TreeBuilder builder_;
  std::map<YAML::anchor_t, Node> anchors_;
  std::vector<YAML::anchor_t> open_;
  std::size_t copied_ = 0;
};

/// The first line up to `last` that is indented with a tab; 0 when there is none.
int tab_indented_line(std::string_view text, int last) {
  int line = 1;
  for (std::size_t at = 0; at < text.size() && line <= last; ++line) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view row = text.substr(at, end - at);
    const std::string_view indent =
        row.substr(0, std::min(row.find_first_not_of(" \t"), row.size()));
    if (indent.size() != row.size() && indent.find('\t') != std::string_view::npos) return line;
    at = end + 1;
  }
  return 0;
}

}  // namespace

Documents read_yaml_documents(std::string_view text) {
  Documents out;
  if (text.size() > document_bytes_max) {
    out.findings.push_back({Finding::Level::error, "",
                            fmt::format("the file has {} bytes, a manifest at most {}", text.size(),
                                        document_bytes_max),
                            0, 0});
    return out;
  }
  Events events(out);
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    for (std::size_t count = 0; parser.HandleNextDocument(events); ++count)
      if (count == documents_max) {
        events.builder().error({}, fmt::format("more than {} documents", documents_max));
        break;
      }
  } catch (const Stop&) {
    // The builder has made the finding.
  } catch (const YAML::Exception& exception) {
    const Position at = position(exception.mark);
    const int tab = tab_indented_line(text, at.line + 1);
    if (tab != 0)
      events.builder().error({tab, 1}, "a tab indents this line; YAML takes only blanks for that");
    else
      events.builder().error(at, fmt::format("not YAML: {}", exception.msg));
  }
  return out;
}

}  // namespace minirun::kubernetes
