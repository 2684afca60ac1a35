// Owns: `minirun resize`.
#include <fmt/format.h>

#include "cli/command.h"
#include "cli/run_pod.h"
#include "runtime/pod_resize.h"
#include "spec/kubernetes/pod_file.h"
#include "spec/load.h"

namespace minirun::cli {
namespace {

class Resize : public Command {
 public:
  void declare(App app) override {
    app.add_option("POD", path_, "manifest with the new requests and limits; - for standard input")
        .required();
    app.add_option("--node", node_, "what the node is like (default: this machine)");
    app.add_flag("--force", force_, "shrink memory below what is in use");
    app.add_flag("--dry-run", dry_run_, "check, print the writes in their order, change nothing");
  }

  int run(const GlobalOptions& options, Output& output) override {
    const Result<LoadedSpec> loaded = load_spec(path_);
    if (!loaded) return fail(output, loaded.error());
    const kubernetes::PodFile file = kubernetes::read_pods(loaded->text);
    if (output.positioned(path_, file.findings, true)) return 1;
    const auto node = load_node(node_.empty() ? "host" : node_, output);
    if (!node) return 1;
    const Result<HostFacts> facts = discover_host();
    if (!facts) return fail(output, facts.error());
    const Result<StateRoot> state = StateRoot::open(options.root, false);
    if (!state && state.error().errnum == ENOENT) {
      output.error("no pod runs here");
      return 1;
    }
    if (!state) return fail(output, state.error());
    for (const kubernetes::PodManifest& pod : file.pods) {
      const ResizeRequest request{.name = pod.name.empty() ? "pod" : pod.name,
                                  .document = loaded->text,
                                  .after = pod,
                                  .node = node->facts,
                                  .force = force_,
                                  .dry_run = dry_run_};
      const auto writes = resize_pod(request, *facts, *state);
      if (!writes) return fail(output, writes.error());
      if (!show(request.name, *writes)) return 1;
    }
    return 0;
  }

 private:
  static int fail(Output& output, const Error& error) {
    output.error(error);
    return 1;
  }

  bool show(const std::string& name, const std::vector<ResizeWrite>& writes) const {
    std::string text = fmt::format("pod {}{}\n", name, writes.empty() ? ": nothing changes" : "");
    std::string step;
    for (const ResizeWrite& write : writes) {
      if (write.step != step) text += fmt::format("  {}\n", step = write.step);
      text += fmt::format("    {} = {}\n", write.file, write.value);
    }
    if (dry_run_ && !writes.empty()) text += "  (dry run: nothing was written)\n";
    return print(text);
  }

  std::string path_, node_;
  bool force_ = false, dry_run_ = false;
};

}  // namespace

std::unique_ptr<Command> make_resize() {
  return std::make_unique<Resize>();
}

}  // namespace minirun::cli
