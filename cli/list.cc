// Owns: `minirun list`.
#include <fmt/format.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/containers.h"

namespace minirun::cli {
namespace {

using json = nlohmann::ordered_json;

class List : public Command {
 public:
  void declare(App app) override {
    app.add_option("-f,--format", format_, "table or json").one_of({"table", "json"});
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
    // The columns of runc, whose users cut them out.
    static constexpr auto row = "{:<24} {:<8}  {:<8}  {:<40}  {:<30}  {}\n";
    std::string lines;
    if (!quiet_) lines = fmt::format(row, "ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER");
    for (const ContainerView& view : views) {
      const json state = state_json(view);
      if (quiet_)
        lines += view.id + "\n";
      else
        lines +=
            fmt::format(row, view.id, state["pid"].get<int>(),
                        view.status == ContainerStatus::crashed ? "crashed" : name(view.status),
                        state["bundle"].get<std::string>(), state["created"].get<std::string>(),
                        state["owner"].get<std::string>());
    }
    return lines;
  }

  std::string format_ = "table";
  bool quiet_ = false;
};

}  // namespace

std::unique_ptr<Command> make_list() {
  return std::make_unique<List>();
}

}  // namespace minirun::cli
