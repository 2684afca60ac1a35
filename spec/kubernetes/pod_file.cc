// Must not: stop at the first finding.
#include "spec/kubernetes/pod_file.h"

#include <fmt/format.h>

#include <algorithm>

#include "spec/kubernetes/pod_reader.h"
#include "spec/kubernetes/run_reader.h"

namespace minirun::kubernetes {

namespace {

/// Controllers whose Pods are made from a template: where it stands below the document.
struct Workload {
  std::string_view kind, version;
  std::vector<std::string_view> path;
};
const Workload* find_workload(std::string_view kind) {
  static const std::vector<Workload> workloads = {
      {"Deployment", "apps/v1", {"spec", "template"}},
      {"ReplicaSet", "apps/v1", {"spec", "template"}},
      {"StatefulSet", "apps/v1", {"spec", "template"}},
      {"DaemonSet", "apps/v1", {"spec", "template"}},
      {"ReplicationController", "v1", {"spec", "template"}},
      {"Job", "batch/v1", {"spec", "template"}},
      {"CronJob", "batch/v1", {"spec", "jobTemplate", "spec", "template"}},
      {"PodTemplate", "v1", {"template"}}};
  const auto it = std::ranges::find(workloads, kind, &Workload::kind);
  return it == workloads.end() ? nullptr : &*it;
}

/// RFC 4648, as the API server takes the data of a Secret.
std::optional<std::string> decode_base64(std::string_view text) {
  std::string out;
  unsigned bits = 0, count = 0, padding = 0;
  std::uint32_t word = 0;
  for (const char c : text) {
    if (c == '\n' || c == '\r') continue;
    constexpr std::string_view digits =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const std::size_t digit = digits.find(c);
    if ((c != '=' && (digit == std::string_view::npos || padding > 0)) || padding > 2)
      return std::nullopt;
    ++count;
    if (c == '=') {
      ++padding;
      continue;
    }
    word = (word << 6 | static_cast<std::uint32_t>(digit)) & 0xffffff;
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    out += static_cast<char>(word >> bits & 0xff);
  }
  if (count % 4 != 0 || (padding > 0 && bits != 2 * padding)) return std::nullopt;
  return out;
}

class FileReader {
 public:
  PodFile run(std::string_view text) {
    const Documents documents = read_documents(text);
    file_.findings = documents.findings;
    if (!has_errors(documents.findings)) {
      for (const Node& document : documents.documents) collect_data(document, "");
      for (const Node& document : documents.documents) top(document, "");
      if (file_.pods.empty() && !has_errors(file_.findings))
        file_.findings.push_back({Finding::Level::error, "", "the file has no Pod", 0, 0});
    }
    std::stable_sort(file_.findings.begin(), file_.findings.end(),
                     [](const Finding& a, const Finding& b) {
                       return std::pair(a.line, a.column) < std::pair(b.line, b.column);
                     });
    return std::move(file_);
  }

 private:
  void keep(ReaderContext& context) {
    file_.findings.insert(file_.findings.end(), context.findings.begin(), context.findings.end());
    context.findings.clear();
  }

  void top(const Node& document, const std::string& base) {
    if (document.kind == Node::Kind::null) return;  // "---" without content
    ReaderContext context;
    if (context.expect(document, Node::Kind::mapping, base)) {
      std::string version;
      std::string kind;
      identity(context, document, "apiVersion", base, version);
      identity(context, document, "kind", base, kind);
      if (!has_errors(context.findings)) by_kind(context, document, base, version, kind);
    }
    keep(context);
  }

  static void identity(ReaderContext& context, const Node& document, const std::string& name,
                       const std::string& base, std::string& target) {
    const Node* node = document.find(name);
    if (node == nullptr)
      context.error(document, base + "/" + name,
                    name == "kind" ? "is missing, has to be Pod" : "is missing, has to be v1");
    else if (auto text = context.text(*node, base + "/" + name))
      target = *std::move(text);
  }

  void by_kind(ReaderContext& context, const Node& document, const std::string& base,
               const std::string& version, const std::string& kind) {
    if (kind == "List" && version == "v1" && base.empty()) {
      const Node* items = document.find("items");
      if (items == nullptr || !context.expect(*items, Node::Kind::sequence, "/items")) return;
      for (std::size_t i = 0; i < items->items.size(); ++i)
        top(items->items[i], fmt::format("/items/{}", i));
      return;
    }
    // collect_data() has read them.
    if ((kind == "ConfigMap" || kind == "Secret") && version == "v1") return;
    if (const Workload* workload = find_workload(kind)) {
      check_version(context, document, base, version, kind, workload->version);
      template_of(context, document, base, *workload);
    } else if (kind == "Pod") {
      check_version(context, document, base, version, kind, "v1");
      pod(context, document, base, "", {});
    } else {
      context.warning(*document.find("kind"), base + "/kind",
                      kind == "LimitRange"
                          ? std::string("its defaults and bounds are not applied to the pods here")
                          : fmt::format("\"{}\" is not a Pod: it has no effect here", kind));
    }
  }

  static void check_version(ReaderContext& context, const Node& document, const std::string& base,
                            const std::string& version, const std::string& kind,
                            std::string_view wanted) {
    if (version != wanted)
      context.error(*document.find("apiVersion"), base + "/apiVersion",
                    fmt::format("\"{}\" is not {}, the version of {}", version, wanted, kind));
  }

  /// `name` is that of its owner; empty: its own.
  void pod(ReaderContext& context, const Node& node, const std::string& base,
           const std::string& name, const std::vector<std::string>& claims) {
    file_.pods.push_back(read_pod(context, node, base));
    if (!name.empty()) file_.pods.back().name = name;
    file_.runs.push_back(read_pod_run(context, node, base, file_.pods.back(), maps_, claims));
  }

  /// One Pod stands for all that a controller would make: they are equal but for their names.
  void template_of(ReaderContext& context, const Node& document, const std::string& base,
                   const Workload& workload) {
    const Node* node = &document;
    std::string at = base;
    for (const std::string_view word : workload.path) {
      const Node* next = context.object(*node, word, at);
      at += fmt::format("/{}", word);
      if (next == nullptr) {
        if (!has_errors(context.findings)) context.error(*node, at, "is missing");
        return;
      }
      node = next;
    }
    context.warning(*document.find("kind"), base + "/kind",
                    fmt::format("of a {} one Pod is used, that of {}; nothing else of it has an "
                                "effect here",
                                workload.kind, at.substr(base.size())));
    std::string name;
    if (const Node* metadata = context.object(document, "metadata", base))
      name = context.word(*metadata, "name", base + "/metadata");
    if (!name.empty() && workload.kind == "StatefulSet") name += "-0";
    std::vector<std::string> claims;
    const Node* spec = document.find("spec");
    const Node* list = spec == nullptr ? nullptr : spec->find("volumeClaimTemplates");
    for (std::size_t i = 0; list != nullptr && i < list->items.size(); ++i)
      if (const Node* metadata = list->items[i].find("metadata"))
        if (const Node* claim = metadata->find("name")) claims.push_back(claim->text);
    pod(context, *node, at, name, claims);
  }

  /// Pods may stand before the ConfigMaps and Secrets that they name.
  void collect_data(const Node& document, const std::string& base) {
    const Node* kind = document.find("kind");
    if (kind == nullptr) return;
    if (kind->text == "List" && base.empty())
      if (const Node* items = document.find("items"); items != nullptr)
        for (std::size_t i = 0; i < items->items.size(); ++i)
          collect_data(items->items[i], fmt::format("/items/{}", i));
    const bool secret = kind->text == "Secret";
    if (!secret && kind->text != "ConfigMap") return;
    ReaderContext context;
    const Node* metadata = context.object(document, "metadata", base);
    const std::string name =
        metadata == nullptr ? "" : context.word(*metadata, "name", base + "/metadata");
    if (name.empty()) {
      context.error(document, base + "/metadata/name", "is missing");
    } else {
      DataMaps::Data& map =
          maps_.make(secret ? DataMaps::Kind::secret : DataMaps::Kind::config_map, name);
      // The later one wins where a key stands in both, as in the API.
      data(context, document, secret ? "data" : "binaryData", base, true, map);
      data(context, document, secret ? "stringData" : "data", base, false, map);
    }
    keep(context);
  }

  static void data(ReaderContext& context, const Node& document, const char* name,
                   const std::string& base, bool encoded, DataMaps::Data& out) {
    const Node* node = context.object(document, name, base);
    for (std::size_t i = 0; node != nullptr && i < node->fields.size(); ++i) {
      const Node::Field& field = node->fields[i];
      const std::string where = fmt::format("{}/{}/{}", base, name, pointer_token(field.name));
      if (field.value.kind == Node::Kind::null) {
        out[field.name].clear();
        continue;
      }
      auto text = context.text(field.value, where);
      if (text && encoded) {
        text = decode_base64(*text);
        if (!text) context.error(field.value, where, "is not base64");
      }
      if (text) out[field.name] = *std::move(text);
    }
  }

  PodFile file_;
  DataMaps maps_;
};

}  // namespace

PodFile read_pods(std::string_view text) {
  return FileReader().run(text);
}

}  // namespace minirun::kubernetes
