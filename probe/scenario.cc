#include "probe/scenario.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace minirun::probe {

std::span<const Probe> probes() {
  static constexpr std::array rows = {
      Probe{"throttle", "what cpu.max does: effective cores, stalls, latency",
            "throttle.effective_cores throttle.ratio throttle.throttled_share "
            "throttle.share_error throttle.requests.latency"},
      Probe{"oom", "what memory.max does: where, when and whom the kernel kills",
            "oom.anon.peak oom.anon.kills oom.anon.seconds oom.kernel.peak oom.group.kills"},
      Probe{"ctxswitch", "what a context switch costs, by primitive and working set",
            "ctxswitch.pipe.process.one_cpu ctxswitch.futex.thread.one_cpu"},
      Probe{"net", "what a veth pair, a bridge and a bandwidth limit do to TCP",
            "net.loopback.latency net.bridge.latency net.bridge.upload net.bandwidth.upload"},
      Probe{"textbook", "the numbers that textbooks quote",
            "textbook.process.fork textbook.calls.getppid textbook.memory.load.16k"},
  };
  return rows;
}

const Probe* find_probe(std::string_view name) {
  for (const Probe& probe : probes())
    if (probe.name == name) return &probe;
  return nullptr;
}

std::string_view name(Change change) {
  switch (change) {
    case Change::none:
      return "none";
    case Change::burst:
      return "cpu.max.burst";
    case Change::shared:
      return "shared CPU";
    case Change::oom_group:
      return "memory.oom.group";
    case Change::oom_alone:
      return "memory.oom.group 0";
    case Change::high:
      return "memory.high";
    case Change::swap:
      return "memory.swap.max";
    case Change::quota:
      return "cpu.max";
    case Change::bridge:
      return "network bridge";
    case Change::bandwidth:
      return "network bandwidth";
    case Change::no_seccomp:
      return "no seccomp filter";
    case Change::no_limits:
      return "no limits";
  }
  return "?";
}

namespace {

using Words = std::vector<std::string>;

std::vector<Scenario> throttle(const ScenarioFacts& facts) {
  constexpr int sample_ms = 100;
  std::vector<Scenario> rows;
  rows.push_back(
      {.name = "1t", .args = {"--kind", "burn", "--threads", "1"}, .sample_ms = sample_ms});
  if (facts.cpus > 1)
    rows.push_back({.name = "nt",
                    .args = {"--kind", "burn", "--threads", fmt::format("{}", facts.cpus)},
                    .sample_ms = sample_ms});
  rows.push_back({.name = "requests", .args = {"--kind", "requests"}});
  rows.push_back({.name = "bursts", .args = {"--kind", "bursts"}});
  rows.push_back({.name = "bursts+burst",
                  .args = {"--kind", "bursts"},
                  .change = Change::burst,
                  .host = false});
  rows.push_back({.name = "requests+burst",
                  .args = {"--kind", "requests"},
                  .change = Change::burst,
                  .host = false});
  auto shared = [&rows](const char* name, std::vector<Part> parts) {
    rows.push_back({.name = name,
                    .args = {},
                    .change = Change::shared,
                    .host = false,
                    .parts = std::move(parts)});
  };
  const Words burn = {"--kind", "burn", "--threads", "1"}, requests = {"--kind", "requests"};
  // As long as the handler may need; it is ended with it.
  const Words rival = {"--kind", "burn", "--threads", "1", "--ms", "120000"};
  using Files = std::map<std::string, std::string>;
  const Files normal = {{"cpu.weight", "100"}}, idle = {{"cpu.idle", "1"}};
  shared("weights", {{"100", burn, normal}, {"300", burn, {{"cpu.weight", "300"}}}});
  // The other one is there before the idle one begins and until it ends: two windows of the same
  // length begin apart, since who is idle waits for its start too, and what is left over of one is
  // alone.
  shared("idle", {{"normal", rival, normal, true}, {"idle", burn, idle}});
  for (const auto& [name, files] : {std::pair<const char*, Files>{"requests+rival", normal},
                                    {"requests+weight", {{"cpu.weight", "1000"}}},
                                    {"requests+idle", idle}})
    shared(name, {{"", requests, files}, {"rival", rival, normal, true}});
  return rows;
}

std::vector<Scenario> oom(const ScenarioFacts& facts) {
  constexpr std::uint64_t mib = 1 << 20;
  const std::uint64_t limit = facts.memory_max.value_or(64 * mib);
  const std::string cap = fmt::format("{}", 2 * limit);
  std::vector<Scenario> rows;
  for (const char* kind : {"anon", "tmpfs", "pagecache", "kernel", "processes", "cow"}) {
    // Above the limit by as much again; outside nothing stops it there. For cow see oom.cc.
    rows.push_back({.name = kind,
                    .args = {"--kind", kind, "--cap", cap},
                    .change = Change::oom_alone,
                    .sample_ms = 2});
  }
  rows.push_back({.name = "group",
                  .args = {"--kind", "processes", "--cap", cap},
                  .change = Change::oom_group,
                  .host = false,
                  .sample_ms = 2});
  rows.push_back({.name = "high",
                  .args = {"--kind", "anon", "--cap", fmt::format("{}", limit * 3 / 4), "--ms",
                           facts.quick ? "3000" : "10000"},
                  .change = Change::high,
                  .host = false,
                  .sample_ms = 10});
  rows.push_back({.name = "swap",
                  .args = {"--kind", "anon", "--cap", fmt::format("{}", limit * 3 / 2)},
                  .change = Change::swap,
                  .host = false,
                  .sample_ms = 10});
  return rows;
}

std::vector<Scenario> ctxswitch(const ScenarioFacts&) {
  return {{.name = "all", .args = {}},
          {.name = "no-limits", .args = {"--kind", "pipe"}, .change = Change::no_limits},
          {.name = "quota", .args = {"--kind", "pipe"}, .change = Change::quota, .host = false},
          {.name = "no-seccomp",
           .args = {"--kind", "pipe"},
           .change = Change::no_seccomp,
           .host = false}};
}

std::vector<Scenario> net(const ScenarioFacts& facts) {
  std::vector<Scenario> rows = {{.name = "loopback", .args = {"--kind", "loopback"}}};
  const std::string port = fmt::format("{}", facts.port);
  for (const auto& [name, change] :
       {std::pair{"bridge", Change::bridge}, std::pair{"bandwidth", Change::bandwidth}})
    rows.push_back(
        {.name = name,
         .args = {},
         .change = change,
         .host = false,
         .parts = {{"", {"--kind", "connect", "--port", port}, {}},
                   {.label = "server",
                    .args = {"--kind", "serve", "--port", port, "--device", facts.bridge},
                    .unified = {},
                    .background = true,
                    .host = true}}});
  return rows;
}

}  // namespace

std::uint64_t swap_needed(const ScenarioFacts& facts) {
  return facts.memory_max.value_or(64 << 20);
}

std::vector<Scenario> scenarios(std::string_view probe, const ScenarioFacts& facts) {
  if (probe == "throttle") return throttle(facts);
  if (probe == "oom") return oom(facts);
  if (probe == "ctxswitch") return ctxswitch(facts);
  if (probe == "net") return net(facts);
  return {{.name = "all", .args = {}}};
}

namespace {

bool has_quota(const CpuResources& cpu) {
  return cpu.quota_us && *cpu.quota_us > 0;
}

constexpr std::uint64_t bandwidth_bits = 20'000'000;

/// The network is one of the probe's own, whatever the spec says of it.
std::string make_network(Change change, ContainerSpec& spec, const std::string& bridge) {
  spec.network = {};
  spec.network.mode = Network::Mode::bridge;
  spec.network.name = bridge;
  if (change == Change::bandwidth)
    spec.network.ingress_bits = spec.network.egress_bits = bandwidth_bits;
  for (Namespace& one : spec.namespaces)
    if (one.type == NamespaceType::network) {
      one.path.clear();
      return {};
    }
  spec.namespaces.push_back({NamespaceType::network, {}});
  return {};
}

std::string make_change(Change change, ContainerSpec& spec, const std::string& bridge) {
  CpuResources& cpu = spec.resources.cpu;
  switch (change) {
    case Change::none:
      return {};
    case Change::burst:
      if (!has_quota(cpu)) return "the spec has no CPU limit to add a burst to";
      cpu.burst_us = static_cast<std::uint64_t>(*cpu.quota_us);
      return {};
    case Change::shared:
      cpu = CpuResources{};
      return {};
    case Change::quota:
      cpu.quota_us = 50'000;
      cpu.period_us = 100'000;
      cpu.burst_us.reset();
      return {};
    case Change::bridge:
    case Change::bandwidth:
      return make_network(change, spec, bridge);
    case Change::swap: {
      const auto limit = spec.resources.memory.limit_bytes;
      if (!limit || *limit <= 0) return "the spec has no memory limit";
      spec.resources.memory.swap_bytes = 2 * *limit;
      spec.resources.unified["memory.oom.group"] = "0";
      return {};
    }
    case Change::oom_alone:
    case Change::oom_group:
      if (!spec.resources.memory.limit_bytes) return "the spec has no memory limit";
      spec.resources.unified["memory.oom.group"] = change == Change::oom_group ? "1" : "0";
      return {};
    case Change::high: {
      const auto limit = spec.resources.memory.limit_bytes;
      if (!limit || *limit <= 0) return "the spec has no memory limit to take half of";
      spec.resources.unified["memory.high"] = fmt::format("{}", *limit / 2);
      return {};
    }
    case Change::no_seccomp:
      if (!spec.seccomp) return "the spec has no seccomp filter to leave out";
      spec.seccomp.reset();
      return {};
    case Change::no_limits:
      // The device rules stay: they are no limit of a resource.
      spec.resources.cpu = {};
      spec.resources.memory = {};
      spec.resources.pids_limit.reset();
      spec.resources.unified.clear();
      return {};
  }
  return "unknown change";
}

}  // namespace

ChangedSpec change_spec(const ContainerSpec& spec, Change change, const std::string& bridge) {
  ChangedSpec result{spec, {}};
  if (!result.spec.process) {
    result.unsupported = "the spec has no process";
    return result;
  }
  result.spec.process->terminal = false;
  result.spec.process->cwd = "/";
  result.spec.hooks = {};
  result.spec.timeout.reset();
  result.unsupported = make_change(change, result.spec, bridge);
  return result;
}

}  // namespace minirun::probe
