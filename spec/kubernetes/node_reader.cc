// Owns: the property names of a node file.
// Must not: stop at the first finding.
#include "spec/kubernetes/node_reader.h"

#include <fmt/format.h>

#include <charconv>
#include <initializer_list>
#include <type_traits>

#include "spec/kubernetes/reader_context.h"

namespace minirun::kubernetes {
namespace {

using Names = std::initializer_list<std::string_view>;

/// A word of a closed set and what it stands for.
template <class T>
struct Word {
  std::string_view text;
  T value;
};

class NodeReader {
 public:
  NodeFile run(std::string_view text) {
    const Documents documents = read_documents(text);
    file_.findings = documents.findings;
    if (has_errors(file_.findings)) return std::move(file_);
    for (const Node& document : documents.documents) top(document);
    file_.findings.insert(file_.findings.end(), context_.findings.begin(), context_.findings.end());
    return std::move(file_);
  }

 private:
  void top(const Node& document) {
    if (document.kind == Node::Kind::null) return;
    if (!context_.expect(document, Node::Kind::mapping, "")) return;
    known(document, {"node", "kubelet", "runtime", "podUID", "containerID"}, "");
    text(document, "podUID", "", file_.pod_uid);
    text(document, "containerID", "", file_.facts.container_id);
    if (const Node* node = object(document, "node", "")) machine(*node);
    if (const Node* node = object(document, "kubelet", "")) kubelet(*node);
    if (const Node* node = object(document, "runtime", "")) runtime(*node);
  }

  void machine(const Node& node) {
    const std::string base = "/node";
    known(node,
          {"memoryCapacity", "swapCapacity", "swapController", "allocatableMemory",
           "allocatableCPU", "pageSize", "hugePageSizes", "hugetlbController", "cgroupV2"},
          base);
    NodeFacts& facts = file_.facts;
    amount(node, "memoryCapacity", base, 1, facts.memory_capacity_bytes);
    amount(node, "swapCapacity", base, 0, facts.swap_capacity_bytes);
    amount(node, "allocatableMemory", base, 0, facts.allocatable_memory_bytes);
    amount(node, "pageSize", base, 4096, facts.page_size_bytes);
    boolean(node, "swapController", base, facts.swap_controller);
    boolean(node, "hugetlbController", base, facts.hugetlb_controller);
    boolean(node, "cgroupV2", base, facts.cgroup_v2);
    strings(node, "hugePageSizes", base, facts.huge_page_sizes);
    if (const Node* cpu = node.find("allocatableCPU")) {
      const auto quantity = context_.quantity(*cpu, base + "/allocatableCPU");
      if (!quantity) return;
      const auto milli = quantity->milli_value();
      if (!milli || *milli <= 0)
        context_.error(*cpu, base + "/allocatableCPU", "has to be more than 0 CPUs");
      else
        file_.allocatable_cpu_milli = *milli;
    }
  }

  void kubelet(const Node& node) {
    const std::string base = "/kubelet";
    known(node,
          {"cgroupDriver", "cpuCFSQuota", "cpuCFSQuotaPeriodUs", "podPidsLimit",
           "singleProcessOOMKill", "swapBehavior", "memoryQoS", "exclusiveCPUs",
           "podLevelLimitDefaulting"},
          base);
    NodeFacts& facts = file_.facts;
    word(node, "cgroupDriver", base,
         {{"cgroupfs", CgroupDriver::cgroupfs}, {"systemd", CgroupDriver::systemd}}, facts.driver);
    boolean(node, "cpuCFSQuota", base, facts.cpu_cfs_quota);
    if (const Node* period = node.find("cpuCFSQuotaPeriodUs")) {
      const auto value = context_.integer(*period, base + "/cpuCFSQuotaPeriodUs");
      if (value && (*value < 1000 || *value > 1000000))
        context_.error(*period, base + "/cpuCFSQuotaPeriodUs",
                       fmt::format("{} is not within 1000 to 1000000 us", *value));
      else if (value)
        facts.cpu_cfs_period_us = static_cast<std::uint64_t>(*value);
    }
    if (const Node* pids = node.find("podPidsLimit"))
      if (const auto value = context_.integer(*pids, base + "/podPidsLimit"))
        facts.pod_pids_limit = *value;
    boolean(node, "singleProcessOOMKill", base, facts.single_process_oom_kill);
    word(node, "swapBehavior", base,
         {{"NoSwap", SwapBehavior::no_swap}, {"LimitedSwap", SwapBehavior::limited_swap}},
         facts.swap_behavior);
    strings(node, "exclusiveCPUs", base, facts.exclusive_cpu_containers);
    boolean(node, "podLevelLimitDefaulting", base, facts.pod_level_limit_defaulting);
    if (const Node* qos = object(node, "memoryQoS", base))
      memory_qos(*qos, base + "/memoryQoS", facts.memory_qos);
  }

  void memory_qos(const Node& node, const std::string& base, MemoryQos& qos) {
    known(node, {"enabled", "era", "throttlingFactor", "reservationPolicy"}, base);
    boolean(node, "enabled", base, qos.enabled);
    word(node, "era", base,
         {{"1.22", MemoryQos::Era::v1_22},
          {"1.27", MemoryQos::Era::v1_27},
          {"1.36", MemoryQos::Era::v1_36},
          {"1.37", MemoryQos::Era::v1_37}},
         qos.era);
    word(node, "reservationPolicy", base,
         {{"None", MemoryQos::Reservation::none},
          {"TieredReservation", MemoryQos::Reservation::tiered}},
         qos.reservation);
    const Node* factor = node.find("throttlingFactor");
    if (factor == nullptr) return;
    qos.throttling_factor.reset();
    if (factor->kind == Node::Kind::null) return;
    double value = 0;
    const char* end = factor->text.data() + factor->text.size();
    const auto [at, problem] = std::from_chars(factor->text.data(), end, value);
    if (factor->kind != Node::Kind::number || problem != std::errc{} || at != end ||
        !(value > 0 && value <= 1))
      context_.error(*factor, base + "/throttlingFactor", "has to be a number above 0, at most 1");
    else
      qos.throttling_factor = value;
  }

  void runtime(const Node& node) {
    const std::string base = "/runtime";
    known(node, {"cri", "writesHugetlbRsvd", "weightFormula"}, base);
    word(node, "cri", base,
         {{"containerd", Cri::containerd}, {"cri-o", Cri::cri_o}, {"dockershim", Cri::dockershim}},
         file_.facts.cri);
    boolean(node, "writesHugetlbRsvd", base, file_.facts.writes_hugetlb_rsvd);
    word(node, "weightFormula", base,
         {{"linear", WeightFormula::linear}, {"quadratic", WeightFormula::quadratic}},
         file_.facts.container_weight);
  }

  // ---- values

  void known(const Node& node, Names names, const std::string& base) {
    context_.unknown_fields(node, std::span(names.begin(), names.size()), base);
  }

  const Node* object(const Node& parent, std::string_view name, const std::string& base) {
    const Node* node = parent.find(name);
    if (node == nullptr || node->kind == Node::Kind::null) return nullptr;
    return context_.expect(*node, Node::Kind::mapping, base + "/" + std::string(name)) ? node
                                                                                       : nullptr;
  }

  void text(const Node& parent, std::string_view name, const std::string& base,
            std::string& target) {
    if (const Node* node = parent.find(name))
      if (auto value = context_.text(*node, base + "/" + std::string(name)))
        target = *std::move(value);
  }

  void boolean(const Node& parent, std::string_view name, const std::string& base, bool& target) {
    const Node* node = parent.find(name);
    if (node == nullptr) return;
    if (context_.expect(*node, Node::Kind::boolean, base + "/" + std::string(name)))
      target = node->text == "true" || node->text == "True" || node->text == "TRUE" ||
               node->text == "yes" || node->text == "on";
  }

  void amount(const Node& parent, std::string_view name, const std::string& base,
              std::int64_t least, std::int64_t& target) {
    const Node* node = parent.find(name);
    if (node == nullptr) return;
    const std::string where = base + "/" + std::string(name);
    const auto quantity = context_.quantity(*node, where);
    if (!quantity) return;
    const auto value = quantity->value();
    if (!value)
      context_.error(*node, where, to_string(value.error()));
    else if (*value < least)
      context_.error(*node, where, fmt::format("{} is less than {} bytes", *value, least));
    else
      target = *value;
  }

  void strings(const Node& parent, std::string_view name, const std::string& base,
               std::vector<std::string>& target) {
    const Node* node = parent.find(name);
    if (node == nullptr) return;
    const std::string where = base + "/" + std::string(name);
    if (!context_.expect(*node, Node::Kind::sequence, where)) return;
    target.clear();
    for (std::size_t i = 0; i < node->items.size(); ++i)
      if (auto value = context_.text(node->items[i], fmt::format("{}/{}", where, i)))
        target.push_back(*std::move(value));
  }

  template <class T>
  void word(const Node& parent, std::string_view name, const std::string& base,
            std::initializer_list<std::type_identity_t<Word<T>>> words, T& target) {
    const Node* node = parent.find(name);
    if (node == nullptr) return;
    const std::string where = base + "/" + std::string(name);
    std::string choices;
    for (const Word<T>& candidate : words) {
      // A release like 1.36 is a number to YAML.
      if (candidate.text == node->text) {
        target = candidate.value;
        return;
      }
      choices += fmt::format("{}{}", choices.empty() ? "" : ", ", candidate.text);
    }
    context_.error(*node, where, fmt::format("\"{}\" is none of {}", node->text, choices));
  }

  ReaderContext context_;
  NodeFile file_;
};

}  // namespace

NodeFile read_node(std::string_view text) {
  return NodeReader().run(text);
}

}  // namespace minirun::kubernetes
