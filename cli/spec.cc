// Owns: `minirun spec`.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>

#include "base/file.h"
#include "cli/command.h"
#include "spec/defaults.h"

namespace minirun::cli {
namespace {

class Spec : public Command {
 public:
  void declare(App app) override {
    app.add_option("-b,--bundle", bundle_, "directory to write config.json to (default: here)");
    app.add_flag("--rootless", rootless_, "for a caller without privileges");
  }

  int run(const GlobalOptions& /*options*/, Output& output) override {
    const std::string text =
        default_oci_config({.rootless = rootless_, .uid = ::geteuid(), .gid = ::getegid()});
    Result<DirFd> bundle = open_directory(bundle_);
    if (!bundle) {
      output.error(bundle.error());
      return 1;
    }
    const Status written = write_new_file(bundle->get(), "config.json", text, 0644);
    if (written) return 0;
    if (written.error().errnum == EEXIST)
      output.error(fmt::format("{}/config.json: exists already; remove it first", bundle_));
    else
      output.error(written.error());
    return 1;
  }

 private:
  std::string bundle_ = ".";
  bool rootless_ = false;
};

}  // namespace

std::unique_ptr<Command> make_spec() {
  return std::make_unique<Spec>();
}

}  // namespace minirun::cli
