// Owns: `minirun events`.
#include "runtime/events.h"

#include <fmt/format.h>

#include "cli/command.h"
#include "cli/containers.h"
#include "spec/duration.h"

namespace minirun::cli {
namespace {

class Events : public Command {
 public:
  void declare(App app) override {
    app.add_option("ID", id_, "the container").required();
    app.add_flag("--stats", stats_, "the statistics once, and no more");
    app.add_option("--interval", interval_, "how often the statistics are told (default 5s)");
  }

  int run(const GlobalOptions& options, Output& output) override {
    return report(tell(options), output);
  }

 private:
  Status tell(const GlobalOptions& options) const {
    const auto interval = parse_duration(interval_);
    if (!interval || *interval < std::chrono::milliseconds(1))
      return plain_error("--interval",
                         fmt::format("\"{}\" is not a duration like 5s or 500ms", interval_));
    const Found found = TRY(find_container(options, id_));
    const HostFacts& facts = found.ground.facts;
    bool written = true;
    const auto emit = [&written](const std::string& line) { return written = print(line + "\n"); };
    if (stats_)
      (void)emit(TRY(read_stats_event(found.view, facts)));
    else
      TRY(watch_events(found.view, std::chrono::ceil<std::chrono::milliseconds>(*interval), facts,
                       emit));
    if (!written) return plain_error("standard output", "cannot be written");
    return {};
  }

  std::string id_, interval_ = "5s";
  bool stats_ = false;
};

}  // namespace

std::unique_ptr<Command> make_events() {
  return std::make_unique<Events>();
}

}  // namespace minirun::cli
