// Owns: `minirun kill` and `delete`.
#include <fmt/format.h>

#include "cli/command.h"
#include "cli/containers.h"
#include "cli/load.h"

namespace minirun::cli {
namespace {

class Kill : public Command {
 public:
  void declare(App app) override {
    app.add_option("ID", id_, "the container, or an expression with --regex").required();
    app.add_option("SIGNAL", signal_, "name or number (default TERM)");
    app.add_flag("-a,--all", all_, "every process of the container");
    app.add_flag("-r,--regex", regex_, "every container whose id the regular expression matches");
  }

  int run(const GlobalOptions& options, Output& output) override {
    return report(kill(options), output);
  }

 private:
  Status kill(const GlobalOptions& options) const {
    const std::optional<int> signal = parse_signal(signal_);
    if (!signal) return plain_error("SIGNAL", fmt::format("\"{}\" is not a signal", signal_));
    if (regex_)
      return for_each_match(options, id_, [&](const Ground& ground, const std::string& id) {
        return kill_container(ground.root, id, *signal, all_, ground.facts);
      });
    const Ground ground = TRY(prepare(options, id_));
    return kill_container(ground.root, id_, *signal, all_, ground.facts);
  }

  std::string id_, signal_ = "TERM";
  bool all_ = false, regex_ = false;
};

class Delete : public Command {
 public:
  void declare(App app) override {
    app.add_option("ID", id_, "the container, or an expression with --regex").required();
    app.add_flag("-f,--force", force_, "kill it first; a missing one is fine");
    app.add_flag("-r,--regex", regex_, "every container whose id the regular expression matches");
  }

  int run(const GlobalOptions& options, Output& output) override {
    return report(remove(options, output), output);
  }

 private:
  Status remove(const GlobalOptions& options, Output& output) const {
    const Warn warn = [&output](const Error& error) { output.warning(sentence(error)); };
    if (regex_)
      return for_each_match(options, id_, [&](const Ground& ground, const std::string& id) {
        return delete_container(ground.root, id, force_, ground.facts, warn);
      });
    Result<Ground> ground = prepare(options, id_);
    if (!ground && force_ && ground.error().detail == "container does not exist") return {};
    if (!ground) return std::unexpected(ground.error());
    return delete_container(ground->root, id_, force_, ground->facts, warn);
  }

  std::string id_;
  bool force_ = false, regex_ = false;
};

}  // namespace

std::unique_ptr<Command> make_kill() {
  return std::make_unique<Kill>();
}
std::unique_ptr<Command> make_delete() {
  return std::make_unique<Delete>();
}

}  // namespace minirun::cli
