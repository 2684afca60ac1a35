// Owns: `minirun info`: what the host offers, for people and as JSON.
// Must not: probe (runtime/host_probe.h does).
#include <fmt/format.h>
#include <sys/utsname.h>

#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/containers.h"
#include "cli/version.h"
#include "runtime/host_probe.h"

namespace minirun::cli {
namespace {

using json = nlohmann::ordered_json;

std::string text_of(const std::vector<HostAbility>& probes, const HostFacts& facts,
                    const char* release) {
  std::string text = fmt::format("minirun {} ({}), Linux {}, uid {}\n", MINIRUN_VERSION,
                                 commit().substr(0, 12), release, facts.euid);
  std::string area;
  std::size_t missing = 0;
  for (const HostAbility& probe : probes) {
    if (probe.area != area) text += fmt::format("\n{}\n", area = probe.area);
    text += fmt::format("  {:<3} {:<24} {}\n", probe.available ? "yes" : "NO", probe.name,
                        probe.detail);
    if (probe.available) continue;
    ++missing;
    text += fmt::format("  {:<28} -> {}\n", "", probe.cost);
  }
  return text + fmt::format("\n{} of {} are there\n", probes.size() - missing, probes.size());
}

json json_of(const std::vector<HostAbility>& probes, const HostFacts& facts, const char* release) {
  json list = json::array();
  for (const HostAbility& probe : probes) {
    json entry = {{"area", probe.area},
                  {"name", probe.name},
                  {"available", probe.available},
                  {"detail", probe.detail}};
    if (!probe.available) entry["cost"] = probe.cost;
    list.push_back(std::move(entry));
  }
  json held = json::array();
  for (const CgroupV1Mount& v1 : facts.cgroup.v1)
    held.push_back({{"mountPoint", v1.mount_point}, {"controllers", v1.controllers}});
  return {{"version", MINIRUN_VERSION},
          {"commit", commit()},
          {"kernel", release},
          {"uid", facts.euid},
          {"pageSizeBytes", facts.page_size_bytes},
          {"capabilities", facts.capabilities},
          {"cgroup",
           {{"mountPoint", facts.cgroup.mount_point},
            {"controllers", facts.cgroup.controllers},
            {"ownPath", facts.cgroup.own_path},
            {"heldByV1", held}}},
          {"probes", list}};
}

class Info : public Command {
 public:
  void declare(App app) override { app.add_flag("--json", json_, "as JSON"); }

  int run(const GlobalOptions& /*options*/, Output& output) override {
    const Result<HostFacts> facts = discover_host();
    if (!facts) return report(std::unexpected(facts.error()), output);
    utsname system{};
    ::uname(&system);
    const std::vector<HostAbility> probes = probe_host(*facts);
    return print(json_ ? dump(json_of(probes, *facts, system.release))
                       : text_of(probes, *facts, system.release))
               ? 0
               : 1;
  }

 private:
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> make_info() {
  return std::make_unique<Info>();
}

}  // namespace minirun::cli
