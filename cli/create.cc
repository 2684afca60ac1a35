// Owns: `minirun create` and `minirun start`.
#include <fmt/format.h>

#include "cli/command.h"
#include "cli/launch_flags.h"
#include "cli/load.h"
#include "cli/network_flags.h"
#include "runtime/run.h"
#include "runtime/spec_facts.h"
#include "runtime/start.h"

namespace minirun::cli {
namespace {

Warn warn_with(Output& output) {
  return [&output](const Error& error) { output.warning(sentence(error)); };
}

class Create : public Command {
 public:
  void declare(App app) override {
    app.add_option("ID", id_, "name of the new container").required();
    flags_.declare(app);
    network_.declare(app);
  }

  int run(const GlobalOptions& options, Output& output) override {
    const Result<LoadedSpec> loaded = flags_.load(caller_options());
    if (!loaded) return fail(output, loaded.error());
    // Engines write properties of their own: only errors.
    if (output.findings(loaded->findings, loaded->format != Format::oci, loaded->name)) return 1;
    const Result<bool> created = create(options, *loaded, output);
    if (!created) return fail(output, created.error());
    return *created ? 0 : 1;
  }

 private:
  static int fail(Output& output, const Error& error) {
    output.error(error);
    return 1;
  }

  /// False: refused, and said why.
  Result<bool> create(const GlobalOptions& options, LoadedSpec loaded, Output& output) const {
    TRY(validate_id(id_));
    if (loaded.format == Format::pod)
      return plain_error(id_, "is a Pod manifest: `minirun run` runs those");
    TRY(flags_.check(loaded.spec, true));
    if (loaded.spec.timeout)
      return plain_error("timeout", "nobody is left to keep it after `create`");
    HostFacts facts = TRY(discover_host_for(&loaded.spec, false));
    discover_for(loaded.spec, id_, facts);
    const StateRoot root = TRY(StateRoot::open(options.root, true));
    Record record = make_record(loaded);
    LaunchOptions launch;
    launch.id = id_;
    launch.wait_for_start = true;
    launch.cgroup_manager = manager_of(options);
    TRY(flags_.adapt(loaded.spec, record, launch, root.path()));
    TRY(network_.adapt(loaded.spec, id_, &root, options.root, launch));
    const std::optional<SeccompProgram> seccomp = TRY(seccomp_of(loaded.spec, &root, output));
    LaunchPlan plan = plan_launch(loaded.spec, facts, launch, seccomp ? &*seccomp : nullptr);
    TRY(flags_.change_plan(loaded.spec, plan));
    TRY(NetworkFlags::plan(loaded.spec, id_, &root, options.root, false, plan, output));
    if (output.findings(plan.findings, false)) return false;
    if (loaded.format == Format::oci) output.left_out(loaded.findings);
    output.left_out(plan.findings);
    PhaseClock clock;
    TRY(run_detached({.spec = loaded.spec,
                      .record = std::move(record),
                      .document = loaded.text,
                      .root = root,
                      .timeout = {},
                      .seccomp = seccomp ? &*seccomp : nullptr,
                      .handover = flags_.handover(),
                      .warn = warn_with(output)},
                     plan, facts, clock));
    return true;
  }

  std::string id_;
  LaunchFlags flags_;
  NetworkFlags network_;
};

class Start : public Command {
 public:
  void declare(App app) override { app.add_option("ID", id_, "the container").required(); }

  int run(const GlobalOptions& options, Output& output) override {
    const Status started = [&]() -> Status {
      TRY(validate_id(id_));
      Result<StateRoot> root = StateRoot::open(options.root, false);
      if (!root && root.error().errnum == ENOENT)
        return plain_error(id_, "container does not exist");
      if (!root) return std::unexpected(root.error());
      return start_container(*root, id_, TRY(discover_host()), warn_with(output));
    }();
    if (started) return 0;
    output.error(started.error());
    return 1;
  }

 private:
  std::string id_;
};

}  // namespace

std::unique_ptr<Command> make_create() {
  return std::make_unique<Create>();
}
std::unique_ptr<Command> make_start() {
  return std::make_unique<Start>();
}

}  // namespace minirun::cli
