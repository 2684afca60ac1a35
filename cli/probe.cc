// Owns: `minirun probe list|run|textbook|compare|report`: arguments, files, what is printed.
// Must not: measure or judge (probe/ does).
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "cli/command.h"
#include "cli/load.h"
#include "cli/network_flags.h"
#include "probe/judge.h"
#include "probe/page.h"
#include "probe/recorder.h"
#include "probe/scenario.h"
#include "probe/text.h"
#include "probe/textbook.h"
#include "runtime/container.h"
#include "runtime/run.h"

namespace minirun::cli {
namespace {

using probe::Json;

constexpr std::size_t max_recording = 256 << 20;

Result<Json> read_recording(const std::string& path) {
  const std::string text = TRY(read_file(AT_FDCWD, path, max_recording));
  Json file = Json::parse(text, nullptr, false);
  if (file.is_discarded()) return plain_error(path, "is not JSON");
  if (Status good = probe::check_recording(file); !good)
    return plain_error(path + good.error().object, good.error().detail);
  return file;
}

class ProbeCommand : public Command {
 public:
  void declare(App app) override {
    app.require_subcommand();
    declare_run(app);
    list_ = app.add_subcommand("list", "the probes and the metrics that --expect knows");
    compare_ = app.add_subcommand("compare", "what changed between two recordings");
    compare_.add_option("A", first_, "recording of `probe run --json`").required();
    compare_.add_option("B", second_, "the later one").required();
    textbook_ = app.add_subcommand("textbook", "what texts say, this host, this container");
    textbook_.add_option("--inside", inside_, "the container's spec (default: no limits)");
    textbook_.add_flag("--outside", outside_, "only on the host");
    textbook_.add_flag("--quick", quick_, "under a minute, with more spread");
    textbook_.add_option("--json", json_, "write the recording here; - is standard output");
    report_ = app.add_subcommand("report", "judge recordings again: the table, or a page");
    report_.add_option("FILES", files_, "recordings of `probe run --json`").required();
    report_.add_option("--html", html_, "write one page with charts to this file");
    report_.add_flag("--all", all_, "also the numbers that only support others");
  }

  int run(const GlobalOptions& options, Output& output) override {
    if (list_.parsed()) return list();
    Status done;
    if (run_.parsed()) done = run_probes(options, output);
    if (textbook_.parsed()) {
      names_ = {"textbook", "ctxswitch.all", "net.loopback", "net.bridge"};
      done = run_probes(options, output);
    }
    if (compare_.parsed()) done = compare();
    if (report_.parsed()) done = report();
    if (done) return status_;
    output.error(done.error());
    return 1;
  }

 private:
  void declare_run(App app) {
    run_ = app.add_subcommand("run", "run probes on the host and in a container");
    run_.add_option("NAME", names_,
                    "probes, or one scenario of one (throttle.1t); all when none is named");
    run_.add_option("--inside", inside_,
                    "the container's spec; alone: only in it (default: 500m and 64Mi)");
    run_.add_flag("--outside", outside_, "only on the host, in a transient cgroup");
    run_.add_flag("--both", both_, "on both (the default)");
    run_.add_option("--repeat", repeat_, "how often").range(1, 1000);
    run_.add_flag("--quick", quick_, "shorter, with more spread");
    run_.add_option("--json", json_, "write the recording here; - is standard output");
    run_.add_option("--expect", expect_, "e.g. 'throttle.ratio>=0.4'; status 1 when it is not so")
        .single();
    run_.add_option("--junit", junit_, "write the expectations as JUnit XML to this file");
    run_.add_flag("--all", all_, "also the numbers that only support others");
  }

  static int list() {
    std::vector<std::vector<std::string>> rows;
    for (const probe::Probe& row : probe::probes()) {
      rows.push_back({std::string(row.name), std::string(row.summary)});
      rows.push_back({"", "metrics: " + std::string(row.metrics)});
    }
    return print(probe::columns(rows, "") +
                 "\nAn expectation is METRIC[@host|@container|@ratio] OP NUMBER, e.g. "
                 "'oom.anon.peak<=65Mi'.\n")
               ? 0
               : 1;
  }

  Status choose() {
    if (names_.empty())
      for (const probe::Probe& row : probe::probes()) names_.emplace_back(row.name);
    for (const std::string& name : names_) TRY(probe::check_name(name));
    for (const std::string& text : expect_)
      expectations_.push_back(TRY(probe::parse_expectation(text)));
    if (!junit_.empty() && expectations_.empty())
      return plain_error("--junit", "has nothing to tell without --expect");
    return {};
  }

  Result<std::optional<LoadedSpec>> read_spec(Output& output) const {
    if (inside_.empty()) return std::nullopt;
    LoadedSpec loaded = TRY(load_spec(inside_, caller_options()));
    if (output.findings(loaded.findings, loaded.format != Format::oci, loaded.name))
      return plain_error("--inside", "the spec cannot be used");
    if (loaded.format == Format::pod)
      return plain_error("--inside", inside_ + " is a Pod manifest; probes take one container");
    return loaded;
  }

  Status run_probes(const GlobalOptions& options, Output& output) {
    TRY(choose());
    const std::optional<LoadedSpec> loaded = TRY(read_spec(output));
    const HostFacts facts = TRY(discover_host());
    const StateRoot root = TRY(StateRoot::open(options.root, true));
    const Fd program = TRY(probe::open_probe_program());
    const SignalFd signals = TRY(SignalFd::open(facts));
    probe::RecordRequest request;
    request.probes = names_;
    request.spec = loaded ? &loaded->spec : nullptr;
    request.spec_name = inside_;
    request.host = both_ || outside_ || inside_.empty() || textbook_.parsed();
    request.container = both_ || !outside_ || !inside_.empty();
    request.quick = quick_;
    request.repeat = repeat_;
    const bool terminal = ::isatty(STDERR_FILENO) == 1;
    const NetworkFlags flags;
    const probe::NetworkPlanner network = {
        .adapt =
            [&](ContainerSpec& spec, const std::string& id, LaunchOptions& launch) {
              return flags.adapt(spec, id, &root, options.root, launch);
            },
        .plan =
            [&](const ContainerSpec& spec, const std::string& id, LaunchPlan& plan) {
              return NetworkFlags::plan(spec, id, &root, options.root, false, plan, output);
            }};
    const Json file = TRY(probe::record(
        request, {facts, root, program, network, signals.get()},
        [terminal](const probe::RecordProgress& progress) {
          if (progress.done < progress.total)
            print_error(fmt::format("{}[{}/{}] {}{}", terminal ? "\r\033[K" : "", progress.done + 1,
                                    progress.total, progress.what, terminal ? "" : "\n"));
          else if (terminal)
            print_error("\r\033[K");
        }));
    return show(file);
  }

  Status show(const Json& file) {
    const probe::Judgement judgement = probe::judge(file);
    // What is no UTF-8 in the words of a workload is replaced.
    const std::string text = file.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
    if (json_ == "-") {
      if (!print(text)) return os_error("standard output");
    } else {
      if (!json_.empty()) TRY(replace_file(AT_FDCWD, json_, text, 0644));
      if (!print(textbook_.parsed() ? probe::textbook_table(judgement)
                                    : probe::table(judgement, all_)))
        return os_error("standard output");
    }
    std::vector<probe::Outcome> outcomes;
    outcomes.reserve(expectations_.size());
    for (const probe::Expectation& expectation : expectations_) {
      outcomes.push_back(probe::check(expectation, judgement));
      const auto state = outcomes.back().state;
      if (state != probe::Outcome::State::met) status_ = 1;
      print_error(fmt::format("{} {}\n",
                              state == probe::Outcome::State::met      ? "ok"
                              : state == probe::Outcome::State::failed ? "FAIL"
                                                                       : "UNSUPPORTED",
                              outcomes.back().message));
    }
    if (!junit_.empty())
      TRY(replace_file(AT_FDCWD, junit_, probe::junit(expectations_, outcomes), 0644));
    return {};
  }

  Status compare() {
    const Json first = TRY(read_recording(first_)), second = TRY(read_recording(second_));
    if (!print(probe::table(probe::compare(first, second)))) return os_error("standard output");
    return {};
  }

  Status report() {
    if (!html_.empty()) {
      std::vector<probe::NamedRecording> recordings;
      for (const std::string& path : files_)
        recordings.push_back({path.substr(path.rfind('/') + 1), TRY(read_recording(path))});
      return replace_file(AT_FDCWD, html_, TRY(probe::report_page(recordings)), 0644);
    }
    for (const std::string& path : files_) {
      const Json file = TRY(read_recording(path));
      if (!print((files_.size() > 1 ? path + "\n" : "") + probe::table(probe::judge(file), all_)))
        return os_error("standard output");
    }
    return {};
  }

  App run_, list_, textbook_, compare_, report_;
  std::vector<std::string> names_, expect_, files_;
  std::vector<probe::Expectation> expectations_;
  std::string html_, inside_, json_, junit_, first_, second_;
  bool outside_ = false, both_ = false, quick_ = false, all_ = false;
  int repeat_ = 1;
  int status_ = 0;
};

}  // namespace

std::unique_ptr<Command> make_probe() {
  return std::make_unique<ProbeCommand>();
}

}  // namespace minirun::cli
