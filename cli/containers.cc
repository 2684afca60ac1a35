#include "cli/containers.h"

#include <fmt/format.h>
#include <regex.h>

#include <array>
#include <cerrno>
#include <memory>
#include <nlohmann/json.hpp>

#include "spec/validate.h"

namespace minirun::cli {

using json = nlohmann::ordered_json;

json state_json(const ContainerView& view) {
  const Record record = view.record.value_or(Record{});
  const bool alive =
      view.status != ContainerStatus::stopped && view.status != ContainerStatus::crashed;
  json object = {{"ociVersion", record.oci_version.empty() ? "1.3.0" : record.oci_version},
                 {"id", view.id},
                 {"pid", alive && view.init ? view.init->pid : 0},
                 {"status", name(view.status)},
                 {"bundle", record.bundle},
                 {"rootfs", record.rootfs},
                 {"created", record.created},
                 {"owner", ""}};
  if (!record.annotations.empty()) object["annotations"] = record.annotations;
  if (!record.cgroup_path.empty()) object["cgroup"] = record.cgroup_mount + record.cgroup_path;
  if (!record.systemd_unit.empty()) object["systemd-scope"] = record.systemd_unit;
  if (view.status == ContainerStatus::crashed) object["crashed"] = true;
  return object;
}

std::string dump(const json& value) {
  return value.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

Result<Ground> prepare(const GlobalOptions& options) {
  StateRoot root = TRY(StateRoot::open(options.root, false));
  return Ground{std::move(root), TRY(discover_host())};
}

Result<Ground> prepare(const GlobalOptions& options, const std::string& id) {
  TRY(validate_id(id));
  Result<Ground> ground = prepare(options);
  if (!ground && ground.error().errnum == ENOENT)
    return plain_error(id, "container does not exist");
  return ground;
}

Result<Found> find_container(const GlobalOptions& options, const std::string& id) {
  Ground ground = TRY(prepare(options, id));
  ContainerDir dir = TRY(ContainerDir::open(ground.root, id, Lock::none));
  ContainerView view = view_container(dir, ground.facts);
  return Found{std::move(ground), std::move(dir), std::move(view)};
}

Status for_each_match(const GlobalOptions& options, const std::string& expression,
                      const std::function<Status(const Ground&, const std::string&)>& act) {
  regex_t compiled{};
  if (const int code = ::regcomp(&compiled, expression.c_str(), REG_EXTENDED | REG_NOSUB);
      code != 0) {
    std::array<char, 128> words{};
    ::regerror(code, &compiled, words.data(), words.size());
    return plain_error("--regex", fmt::format("\"{}\": {}", expression, words.data()));
  }
  const std::unique_ptr<regex_t, void (*)(regex_t*)> release(&compiled, ::regfree);
  Result<Ground> ground = prepare(options);
  if (!ground && ground.error().errnum == ENOENT) return {};
  if (!ground) return std::unexpected(ground.error());
  Status first;
  for (const std::string& id : TRY(ground->root.ids())) {
    if (::regexec(&compiled, id.c_str(), 0, nullptr, 0) != 0) continue;
    if (Status done = act(*ground, id); !done && first) first = std::move(done);
  }
  return first;
}

int report(const Status& status, Output& output) {
  if (status) return 0;
  output.error(status.error());
  return 1;
}

}  // namespace minirun::cli
