// Owns: the answer to `minirun checkpoint` and `restore`, which engines offer to their users.
// Must not: do half of it.
#include "cli/command.h"
#include "cli/containers.h"

namespace minirun::cli {
namespace {

class Unsupported : public Command {
 public:
  explicit Unsupported(const char* name) : name_(name) {}

  void declare(App app) override {
    // Whatever is asked for, the answer is the same: status 0 of `checkpoint --help` could be taken
    // for the ability.
    app.take_anything();
    app.add_option("ID", id_, "the container");
  }

  int run(const GlobalOptions& /*options*/, Output& output) override {
    return report(plain_error(name_,
                              "not supported: minirun neither saves nor restores the memory "
                              "of processes (features: org.opencontainers.runc.checkpoint."
                              "enabled=false)"),
                  output);
  }

 private:
  const char* name_;
  std::string id_;
};

}  // namespace

std::unique_ptr<Command> make_checkpoint() {
  return std::make_unique<Unsupported>("checkpoint");
}
std::unique_ptr<Command> make_restore() {
  return std::make_unique<Unsupported>("restore");
}

}  // namespace minirun::cli
