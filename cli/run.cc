// Owns: `minirun run`.
#include "runtime/run.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>

#include "base/file.h"
#include "cli/command.h"
#include "cli/launch_flags.h"
#include "cli/load.h"
#include "cli/network_flags.h"
#include "cli/plan_text.h"
#include "cli/run_pod.h"
#include "runtime/report.h"
#include "runtime/spec_facts.h"
#include "spec/duration.h"

namespace minirun::cli {
namespace {

bool exists(const std::string& path) {
  struct stat info{};
  return ::stat(path.c_str(), &info) == 0;
}

/// `name` with six hexadecimal digits that the kernel gave this process at random.
std::string generated_id(const std::string& name) {
  std::uint32_t random = 0;
  if (const unsigned long at = ::getauxval(AT_RANDOM); at != 0)
    std::memcpy(&random, reinterpret_cast<const char*>(at) + 8, sizeof random);
  return fmt::format("{}-{:06x}", name.empty() ? "minirun" : name, random & 0xffffffU);
}

class Run : public Command {
 public:
  void declare(App app) override {
    spec_option_ = app.add_option(
        "SPEC", spec_,
        "OCI config.json, bundle directory, minirun's short form, Pod manifest, or - for "
        "standard input");
    app.add_option("COMMAND", words_, "after --: replaces the command of the spec");
    id_option_ = app.add_option("--id", id_,
                                "name of the container (default: the spec's name and a number)");
    app.add_flag("--dry-run", dry_run_, "print the plan and change nothing");
    app.add_option("--report", report_, "write the result as JSON to this file");
    app.add_option("--timeout", timeout_, "kill the whole container after it, e.g. 30s or 1m30s");
    app.add_option("-e,--env", environment_, "K=V for the program").single();
    app.add_flag("--keep", keep_,
                 "do not remove the container at the end, keep the overlay's upper layer");
    app.add_flag("-d,--detach", detach_,
                 "return when the program runs; print the id unless it is given as with runc");
    app.add_flag("--summary,!--no-summary", summary_,
                 "say what the limits did (default when standard error is a terminal)");
    app.add_flag("--timing", timing_, "print the time of each step");
    app.footer(
        "Exit status: the program's own; 128 + the signal that ended it; 125 minirun failed, 126 "
        "the\n"
        "program cannot be executed, 127 it was not found.");
    flags_.declare(app);
    network_.declare(app);
    app.add_option("--image", pod_.images, "NAME=DIR: of a Pod's image or container, the root")
        .single();
    app.add_option("--node", pod_.node, "of Pods: what the node is like (default: this machine)");
    app.add_option("--cgroup-root", pod_.cgroup_root, "of Pods: kubepods is below it");
    app.add_option("--restart-delay", pod_.restart_delay,
                   "of Pods: before a second restart, doubled from then on (default 10s)");
    summary_option_ = app.get_option("--summary");
  }

  int run(const GlobalOptions& options, Output& output) override {
    PhaseClock clock;
    Result<LoadedSpec> loaded = load();
    if (!loaded) return fail(output, loaded.error());
    // In an OCI document an unknown property is nobody's business (engines write their own); in
    // ours it is a misspelt word, and what it asked for would be silently missing.
    if (output.findings(loaded->findings, dry_run_ || loaded->format != Format::oci, loaded->name))
      return run_failed;
    if (loaded->format == Format::pod) return run_pod(options, *loaded, output);
    if (const Status status = prepare(*loaded, output); !status)
      return fail(output, status.error());
    clock.mark("read");
    Result<HostFacts> facts = discover_host_for(dry_run_ ? nullptr : &loaded->spec, accounts());
    if (!facts) return fail(output, facts.error());
    discover_for(loaded->spec, id_, *facts);
    clock.mark("host");
    return plan_and_run(options, output, *loaded, *facts, clock);
  }

 private:
  static int fail(Output& output, const Error& error) {
    output.error(error);
    if (error.object != "process.args") return run_failed;
    switch (error.errnum) {
      case ENOENT:
      case ENOTDIR:
        return not_found;
      case 0:
        return run_failed;
      default:
        return not_executable;
    }
  }

  /// runc's words are `run --bundle BUNDLE ID`, ours `run SPEC`. The positional is an id when a
  /// bundle or its config.json is named, and when it is a bare word that is no file in a directory
  /// with a config.json.
  Result<LoadedSpec> load() {
    const SpecOptions options = caller_options();
    const bool is_id = flags_.names_bundle() ||
                       (!spec_.empty() && spec_ != "-" && spec_.find('/') == std::string::npos &&
                        !exists(spec_) && exists("config.json"));
    if (is_id) {
      named_ = spec_option_.count() > 0;
      if (named_) id_ = spec_;
      return flags_.load(options);
    }
    return load_spec(spec_.empty() ? "." : spec_, options);
  }

  int run_pod(const GlobalOptions& options, const LoadedSpec& loaded, Output& output) {
    for (const auto& [given, name] :
         {std::pair{!words_.empty(), "a command"}, std::pair{!environment_.empty(), "--env"},
          std::pair{detach_, "--detach"}, std::pair{keep_, "--keep"},
          std::pair{!id_.empty(), "--id"}})
      if (given) {
        output.error(fmt::format("{}: a Pod cannot be run with {}", spec_, name));
        return run_failed;
      }
    pod_.dry_run = dry_run_;
    pod_.report = report_;
    pod_.timeout = timeout_;
    pod_.summary = summary_option_.count() == 0 || summary_;
    return run_pod_file(loaded, spec_, pod_, network_, options, output);
  }

  Status prepare(LoadedSpec& loaded, Output& /*output*/) {
    for (const std::string& entry : environment_)
      if (entry.find('=') == std::string::npos || entry.starts_with('='))
        return plain_error("--env", fmt::format("\"{}\" is not NAME=VALUE", entry));
    apply({environment_, words_}, loaded.spec);
    if (id_.empty() && id_option_.count() == 0 && !named_) id_ = generated_id(loaded.spec.name);
    TRY(validate_id(id_));
    if (!timeout_.empty()) {
      const auto duration = parse_duration(timeout_);
      if (!duration)
        return plain_error("--timeout", fmt::format("\"{}\" is not a duration like 30s", timeout_));
      loaded.spec.timeout = std::chrono::ceil<std::chrono::milliseconds>(*duration);
    }
    TRY(flags_.check(loaded.spec, detach_));
    TRY(check_combinations());
    if (detach_ && loaded.spec.timeout)
      return plain_error("timeout", "nobody is left to keep it with --detach");
    return report_.empty() || dry_run_ ? Status{} : check_report();
  }

  /// What would be without effect is refused, since whoever asked for it waits for it.
  [[nodiscard]] Status check_combinations() const {
    if (detach_)
      for (const auto& [given, option] :
           {std::pair{!report_.empty(), "--report"}, std::pair{timing_, "--timing"},
            std::pair{summary_option_.count() > 0 && summary_, "--summary"}})
        if (given)
          return plain_error(option,
                             "nobody is left to see the end with --detach; `minirun events` "
                             "tells what a container uses");
    for (const auto& [given, option] :
         {std::pair{!pod_.images.empty(), "--image"}, std::pair{!pod_.node.empty(), "--node"},
          std::pair{pod_.cgroup_root != PodArguments{}.cgroup_root, "--cgroup-root"},
          std::pair{!pod_.restart_delay.empty(), "--restart-delay"}})
      if (given) return plain_error(option, "is for Pod manifests, and this is none");
    return {};
  }

  /// Before the program runs, not after it has worked for hours.
  [[nodiscard]] Status check_report() const {
    const std::string path = absolute_from_here(report_);
    struct stat info{};
    if (::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode))
      return os_error(EISDIR, "--report", report_);
    if (::access(path.substr(0, path.rfind('/') + 1).c_str(), W_OK) != 0)
      return os_error("--report", report_);
    return {};
  }

  [[nodiscard]] Record record_of(const LoadedSpec& loaded) const {
    Record record = make_record(loaded);
    record.keep = keep_;
    record.arguments = words_;
    record.environment = environment_;
    return record;
  }

  int plan_and_run(const GlobalOptions& options, Output& output, LoadedSpec& loaded,
                   const HostFacts& facts, PhaseClock& clock) {
    // The state directory is made late: a dry run leaves nothing.
    Result<StateRoot> root = StateRoot::open(options.root, !dry_run_);
    if (!root && !dry_run_) return fail(output, root.error());
    Result<std::optional<SeccompProgram>> seccomp =
        seccomp_of(loaded.spec, root && !dry_run_ ? &*root : nullptr, output);
    if (!seccomp) return fail(output, std::move(seccomp.error()).in("linux.seccomp"));
    LaunchOptions launch;
    launch.id = id_;
    launch.die_with_parent = !detach_;
    launch.early_word = true;
    launch.cgroup_manager = manager_of(options);
    // Only a run that says what limits did needs every counter.
    launch.account = accounts();
    const bool layered =
        keep_ && loaded.spec.root.kind == Root::Kind::overlay && loaded.spec.root.upper.empty();
    if (layered && root) launch.layer_directory = root->path() + "/" + id_ + "/layer";
    const StateRoot* state = root ? &*root : nullptr;
    if (const Status adapted = network_.adapt(loaded.spec, id_, state, options.root, launch);
        !adapted)
      return fail(output, adapted.error());
    Record record = record_of(loaded);
    if (const Status adapted =
            flags_.adapt(loaded.spec, record, launch, root ? root->path() : std::string());
        !adapted)
      return fail(output, adapted.error());
    LaunchPlan plan = plan_launch(loaded.spec, facts, launch, *seccomp ? &**seccomp : nullptr);
    if (const Status changed = flags_.change_plan(loaded.spec, plan); !changed)
      return fail(output, changed.error());
    if (const Status planned =
            NetworkFlags::plan(loaded.spec, id_, state, options.root, dry_run_, plan, output);
        !planned)
      return fail(output, planned.error());
    clock.mark("plan");
    const bool bad = output.findings(plan.findings, dry_run_);
    if (dry_run_) {
      if (!print(plan_text(plan, facts))) return run_failed;
      return bad ? run_failed : 0;
    }
    if (bad) return run_failed;
    if (loaded.format == Format::oci) output.left_out(loaded.findings);
    output.left_out(plan.findings);
    RunRequest request{.spec = loaded.spec,
                       .record = std::move(record),
                       .document = loaded.text,
                       .root = *root,
                       .timing = timing_,
                       .measure = launch.account,
                       .timeout = loaded.spec.timeout,
                       .seccomp = *seccomp ? &**seccomp : nullptr,
                       .handover = flags_.handover(),
                       .warn = [&output](const Error& error) { output.warning(sentence(error)); }};
    return detach_ ? run_in_background(std::move(request), plan, facts, clock, output)
                   : run_to_the_end(std::move(request), plan, facts, clock, output);
  }

  [[nodiscard]] bool accounts() { return wants_summary() || !report_.empty(); }

  [[nodiscard]] bool wants_summary() {
    if (summary_option_.count() == 0 && !asked_) {
      summary_ = ::isatty(STDERR_FILENO) == 1;
      asked_ = true;
    }
    return summary_;
  }

  int run_in_background(RunRequest request, const LaunchPlan& plan, const HostFacts& facts,
                        PhaseClock& clock, Output& output) {
    const Result<pid_t> pid = run_detached(std::move(request), plan, facts, clock);
    if (!pid) return fail(output, pid.error());
    if (named_) return 0;  // as runc: whoever named it knows it
    return print(plan.id + "\n") ? 0 : run_failed;
  }

  int run_to_the_end(RunRequest request, const LaunchPlan& plan, const HostFacts& facts,
                     PhaseClock& clock, Output& output) {
    std::vector<std::uint32_t> steps;
    const std::string layer = plan_layer(plan);
    const Result<RunResult> run =
        run_foreground(std::move(request), plan, facts, clock, timing_ ? &steps : nullptr);
    if (!run) return fail(output, run.error());
    RunResult result = *run;
    result.layer = layer;
    if (timing_) print_error(timing_text(plan, result.phases, steps));
    if (wants_summary()) print_error(summary(result, ::isatty(STDERR_FILENO) == 1));
    if (!report_.empty())
      if (const Status written =
              replace_file(AT_FDCWD, absolute_from_here(report_), report_json(result), 0644);
          !written) {
        return fail(output, Error(written.error()).in("--report"));
      }
    return result.status();
  }

  static std::string plan_layer(const LaunchPlan& plan) {
    for (const Step& step : plan.child)
      if (step.op == Op::make_overlay && step.n[2] < 0) return std::string(step.text(1));
    return "";
  }

  PodArguments pod_;
  std::string spec_, id_, report_, timeout_;
  LaunchFlags flags_;
  NetworkFlags network_;
  Option id_option_;
  std::vector<std::string> words_, environment_;
  bool dry_run_ = false, keep_ = false, detach_ = false, summary_ = false, timing_ = false,
       asked_ = false;
  bool named_ = false;  ///< the positional is the container's id
  Option summary_option_, spec_option_;
};

}  // namespace

std::unique_ptr<Command> make_run() {
  return std::make_unique<Run>();
}

}  // namespace minirun::cli
