// Owns: `minirun list`, `state`, `kill`, `delete` and `gc`.
#include <fmt/format.h>

#include <csignal>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/load.h"
#include "runtime/container.h"
#include "runtime/pod_sandbox.h"

namespace minirun::cli {
namespace {

using json = nlohmann::ordered_json;

/// The state of the OCI specification (runtime.md "State"), and what engines read besides.
json state_json(const ContainerView& view) {
  const Record record = view.record.value_or(Record{});
  const bool alive =
      view.status != ContainerStatus::stopped && view.status != ContainerStatus::crashed;
  json object = {{"ociVersion", record.oci_version.empty() ? "1.3.0" : record.oci_version},
                 {"id", view.id},
                 {"pid", alive && view.init ? view.init->pid : 0},
                 {"status", name(view.status)},
                 {"bundle", record.bundle},
                 {"rootfs", record.rootfs},
                 {"created", record.created},
                 {"owner", ""}};
  if (!record.annotations.empty()) object["annotations"] = record.annotations;
  if (!record.cgroup_path.empty()) object["cgroup"] = record.cgroup_mount + record.cgroup_path;
  if (view.status == ContainerStatus::crashed) object["crashed"] = true;
  return object;
}

std::string dump(const json& value) {
  return value.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

/// What every one of these commands needs.
struct Ground {
  StateRoot root;
  HostFacts facts;
};

Result<Ground> prepare(const GlobalOptions& options) {
  StateRoot root = TRY(StateRoot::open(options.root, false));
  return Ground{std::move(root), TRY(discover_host())};
}

int report(const Status& status, Output& output) {
  if (status) return 0;
  output.error(status.error());
  return 1;
}

class List : public Command {
 public:
  void declare(CLI::App& app) override {
    app.add_option("-f,--format", format_, "table or json")
        ->check(CLI::IsMember({"table", "json"}));
    app.add_flag("-q,--quiet", quiet_, "ids only");
  }

  int run(const GlobalOptions& options, Output& output) override {
    std::vector<ContainerView> views;
    Result<Ground> ground = prepare(options);
    if (ground) {
      Result<std::vector<ContainerView>> found = list_containers(ground->root, ground->facts);
      if (!found) return report(std::unexpected(found.error()), output);
      views = std::move(*found);
    } else if (ground.error().errnum != ENOENT) {
      return report(std::unexpected(ground.error()), output);
    }
    return print(text(views)) ? 0 : 1;
  }

 private:
  std::string text(const std::vector<ContainerView>& views) const {
    if (format_ == "json") {
      json array = json::array();
      for (const ContainerView& view : views) array.push_back(state_json(view));
      return dump(array);
    }
    std::string lines;
    if (!quiet_)
      lines = fmt::format("{:<24} {:>8}  {:<8}  {:<30}  {}\n", "ID", "PID", "STATUS", "CREATED",
                          "BUNDLE");
    for (const ContainerView& view : views) {
      const json state = state_json(view);
      if (quiet_)
        lines += view.id + "\n";
      else
        lines +=
            fmt::format("{:<24} {:>8}  {:<8}  {:<30}  {}\n", view.id, state["pid"].get<int>(),
                        view.status == ContainerStatus::crashed ? "crashed" : name(view.status),
                        state["created"].get<std::string>(), state["bundle"].get<std::string>());
    }
    return lines;
  }

  std::string format_ = "table";
  bool quiet_ = false;
};

class State : public Command {
 public:
  void declare(CLI::App& app) override { app.add_option("ID", id_, "the container")->required(); }

  int run(const GlobalOptions& options, Output& output) override {
    const Result<ContainerView> view = [&]() -> Result<ContainerView> {
      TRY(validate_id(id_));
      Result<Ground> ground = prepare(options);
      if (!ground && ground.error().errnum == ENOENT)
        return plain_error(id_, "container does not exist");
      if (!ground) return std::unexpected(ground.error());
      const ContainerDir dir = TRY(ContainerDir::open(ground->root, id_, Lock::none));
      return view_container(dir, ground->facts);
    }();
    if (!view) return report(std::unexpected(view.error()), output);
    return print(dump(state_json(*view))) ? 0 : 1;
  }

 private:
  std::string id_;
};

class Kill : public Command {
 public:
  void declare(CLI::App& app) override {
    app.add_option("ID", id_, "the container")->required();
    app.add_option("SIGNAL", signal_, "name or number (default TERM)");
    app.add_flag("-a,--all", all_, "every process of the container");
  }

  int run(const GlobalOptions& options, Output& output) override {
    return report(kill(options), output);
  }

 private:
  Status kill(const GlobalOptions& options) const {
    TRY(validate_id(id_));
    const std::optional<int> signal = parse_signal(signal_);
    if (!signal) return plain_error("SIGNAL", fmt::format("\"{}\" is not a signal", signal_));
    Result<Ground> ground = prepare(options);
    if (!ground && ground.error().errnum == ENOENT)
      return plain_error(id_, "container does not exist");
    if (!ground) return std::unexpected(ground.error());
    return kill_container(ground->root, id_, *signal, all_, ground->facts);
  }

  std::string id_, signal_ = "TERM";
  bool all_ = false;
};

class Delete : public Command {
 public:
  void declare(CLI::App& app) override {
    app.add_option("ID", id_, "the container")->required();
    app.add_flag("-f,--force", force_, "kill it first; a missing one is fine");
  }

  int run(const GlobalOptions& options, Output& output) override {
    return report(remove(options), output);
  }

 private:
  Status remove(const GlobalOptions& options) const {
    TRY(validate_id(id_));
    Result<Ground> ground = prepare(options);
    if (!ground && ground.error().errnum == ENOENT) {
      if (force_) return {};
      return plain_error(id_, "container does not exist");
    }
    if (!ground) return std::unexpected(ground.error());
    return delete_container(ground->root, id_, force_, ground->facts);
  }

  std::string id_;
  bool force_ = false;
};

class Gc : public Command {
 public:
  void declare(CLI::App& /*app*/) override {}

  int run(const GlobalOptions& options, Output& output) override {
    Result<Ground> ground = prepare(options);
    if (!ground && ground.error().errnum == ENOENT) return 0;
    if (!ground) return report(std::unexpected(ground.error()), output);
    const Result<GcResult> result = collect_garbage(ground->root, ground->facts);
    if (!result) return report(std::unexpected(result.error()), output);
    for (const std::string& id : result->removed)
      if (!print(id + "\n")) return 1;
    for (const std::string& uid : sweep_pods(ground->facts))
      if (!print("pod " + uid + "\n")) return 1;
    for (const Error& error : result->errors) output.error(error);
    return result->errors.empty() ? 0 : 1;
  }
};

}  // namespace

std::unique_ptr<Command> make_list() {
  return std::make_unique<List>();
}
std::unique_ptr<Command> make_state() {
  return std::make_unique<State>();
}
std::unique_ptr<Command> make_kill() {
  return std::make_unique<Kill>();
}
std::unique_ptr<Command> make_delete() {
  return std::make_unique<Delete>();
}
std::unique_ptr<Command> make_gc() {
  return std::make_unique<Gc>();
}

}  // namespace minirun::cli
