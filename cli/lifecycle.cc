// Owns: `minirun state` and `gc`.
#include <cerrno>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/containers.h"
#include "runtime/pod_network.h"
#include "runtime/pod_sandbox.h"
#include "runtime/update.h"

namespace minirun::cli {
namespace {

class State : public Command {
 public:
  void declare(App app) override { app.add_option("ID", id_, "the container").required(); }

  int run(const GlobalOptions& options, Output& output) override {
    const Result<Found> found = find_container(options, id_);
    if (!found) return report(std::unexpected(found.error()), output);
    nlohmann::ordered_json state = state_json(found->view);
    // What `update` changed; a key of ours, absent until then.
    if (const auto updated = stored_resources(found->dir); updated && *updated)
      state["resources"] = nlohmann::ordered_json::parse(**updated, nullptr, false);
    return print(dump(state)) ? 0 : 1;
  }

 private:
  std::string id_;
};

class Gc : public Command {
 public:
  void declare(App /*app*/) override {}

  int run(const GlobalOptions& options, Output& output) override {
    Result<Ground> ground = prepare(options);
    if (!ground && ground.error().errnum == ENOENT) return 0;
    if (!ground) return report(std::unexpected(ground.error()), output);
    const auto networks = sweep_pod_networks(ground->root);
    if (!networks) output.error(networks.error());
    const Result<GcResult> result = collect_garbage(ground->root, ground->facts);
    if (!result) return report(std::unexpected(result.error()), output);
    for (const std::string& id : result->removed)
      if (!print(id + "\n")) return 1;
    for (const std::string& uid : sweep_pods(ground->facts))
      if (!print("pod " + uid + "\n")) return 1;
    for (const Error& error : result->errors) output.error(error);
    return result->errors.empty() && networks ? 0 : 1;
  }
};

}  // namespace

std::unique_ptr<Command> make_state() {
  return std::make_unique<State>();
}
std::unique_ptr<Command> make_gc() {
  return std::make_unique<Gc>();
}

}  // namespace minirun::cli
