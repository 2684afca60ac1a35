#include "runtime/plan_attributes.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace minirun {
namespace {

/// Nodes that the kernel knows at most (CONFIG_NODES_SHIFT is at most 10).
constexpr std::size_t most_nodes = 1024;

}  // namespace

std::string mask_of_list(std::string_view list, std::size_t bytes) {
  std::string mask(bytes, '\0');
  while (!list.empty()) {
    const std::size_t comma = std::min(list.find(','), list.size());
    const std::string_view range = list.substr(0, comma);
    list.remove_prefix(std::min(comma + 1, list.size()));
    std::size_t first = 0, last = 0;
    const char* end = range.data() + range.size();
    const auto [at, error] = std::from_chars(range.data(), end, first);
    if (error != std::errc()) continue;
    last = first;
    if (at != end) std::from_chars(at + 1, end, last);
    for (std::size_t i = first; i <= last && i / 8 < bytes; ++i)
      mask[i / 8] = static_cast<char>(static_cast<unsigned char>(mask[i / 8]) | 1U << i % 8);
  }
  return mask;
}

void add_container_attributes(const ContainerSpec& spec, Steps& steps) {
  if (spec.personality)
    steps.push_back({.op = Op::personality,
                     .n = {static_cast<std::int64_t>(spec.personality->domain)},
                     .field = "linux.personality"});
  if (!spec.memory_policy) return;
  const MemoryPolicy& policy = *spec.memory_policy;
  Step step{.op = Op::memory_policy,
            .n = {static_cast<std::int64_t>(static_cast<unsigned>(policy.mode) | policy.flags)},
            .field = "linux.memoryPolicy"};
  if (!policy.nodes.empty()) {
    step.n[1] = most_nodes + 1;  // the kernel looks at one bit less than it is told
    step.s[0] = mask_of_list(policy.nodes, most_nodes / 8);
  }
  steps.push_back(std::move(step));
}

bool has_labels(const Process& process) {
  return !process.apparmor_profile.empty() || !process.selinux_label.empty();
}

void add_labels(const Process& process, Slot proc, Steps& steps) {
  if (!process.apparmor_profile.empty())
    steps.push_back({.op = Op::lsm_label,
                     .n = {number(proc)},
                     .s = {"self/attr/apparmor/exec", "exec " + process.apparmor_profile},
                     .field = "process.apparmorProfile"});
  if (!process.selinux_label.empty())
    steps.push_back({.op = Op::lsm_label,
                     .n = {number(proc)},
                     .s = {"self/attr/exec", process.selinux_label},
                     .field = "process.selinuxLabel"});
}

Findings check_labels(const Process& process, const HostFacts& facts) {
  Findings findings;
  auto lacks = [&findings](const char* pointer, const char* what) {
    findings.push_back({Finding::Level::error, pointer,
                        fmt::format("this kernel has no {}, or it is switched off", what)});
  };
  if (!process.apparmor_profile.empty() && !facts.apparmor)
    lacks("/process/apparmorProfile", "AppArmor");
  if (!process.selinux_label.empty() && !facts.selinux) lacks("/process/selinuxLabel", "SELinux");
  return findings;
}

bool keeps_groups(const ContainerSpec& spec) {
  const auto at = spec.annotations.find("run.oci.keep_original_groups");
  return at != spec.annotations.end() && at->second == "1";
}

std::string keyring_name(std::string_view id, std::string_view nonce) {
  std::uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  for (const char c : nonce) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return fmt::format("_ses.{}.{:016x}", id, hash);
}

}  // namespace minirun
