// Owns: `minirun pause` and `resume`.
#include "cli/command.h"
#include "cli/containers.h"
#include "runtime/freezer.h"

namespace minirun::cli {
namespace {

class Freezer : public Command {
 public:
  explicit Freezer(bool pause) : pause_(pause) {}

  void declare(App app) override { app.add_option("ID", id_, "the container").required(); }

  int run(const GlobalOptions& options, Output& output) override {
    const Result<Found> found = find_container(options, id_);
    if (!found) return report(std::unexpected(found.error()), output);
    return report(pause_ ? pause_container(found->view, found->ground.facts)
                         : resume_container(found->view, found->ground.facts),
                  output);
  }

 private:
  bool pause_;
  std::string id_;
};

}  // namespace

std::unique_ptr<Command> make_pause() {
  return std::make_unique<Freezer>(true);
}
std::unique_ptr<Command> make_resume() {
  return std::make_unique<Freezer>(false);
}

}  // namespace minirun::cli
