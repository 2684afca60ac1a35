#include "rootfs/id_mappings.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/mount.h>

namespace minirun {
namespace {

std::string map_text(const std::vector<IdMapping>& mappings) {
  std::string text;
  for (const IdMapping& mapping : mappings)
    text += fmt::format("{} {} {}\n", mapping.container_id, mapping.host_id, mapping.size);
  return text;
}

}  // namespace

bool is_idmapped(const Mount& mount) {
  return mount.options.idmap || mount.options.recursive_idmap || !mount.uid_mappings.empty();
}

Slot IdMappings::user_namespace(const std::vector<IdMapping>& uids,
                                const std::vector<IdMapping>& gids, const std::string& field) {
  const std::pair maps{map_text(uids), map_text(gids)};
  const auto [at, fresh] = made_.try_emplace(maps, Slot::none);
  if (!fresh) return at->second;
  at->second = slots_.opened();
  parent_.push_back({.op = Op::user_namespace,
                     .n = {number(at->second)},
                     .s = {maps.first, maps.second},
                     .field = field});
  return at->second;
}

Slot IdMappings::of_container(const std::string& field) {
  const Namespace* user = spec_.find_namespace(NamespaceType::user);
  if (user == nullptr || user->path.empty())
    return user_namespace(spec_.uid_mappings, spec_.gid_mappings, field);
  if (joined_ == Slot::none) {
    joined_ = slots_.opened();
    parent_.push_back(
        {.op = Op::open_file, .n = {number(joined_), O_RDONLY}, .s = {user->path}, .field = field});
  }
  return joined_;
}

void IdMappings::apply(Slot slot, const Mount& mount, Steps& steps) {
  if (!is_idmapped(mount)) return;
  const Slot map = mount.uid_mappings.empty()
                       ? of_container(mount.field)
                       : user_namespace(mount.uid_mappings, mount.gid_mappings, mount.field);
  steps.push_back({.op = Op::set_attr,
                   .n = {number(slot), MOUNT_ATTR_IDMAP, 0, 0,
                         mount.options.recursive_idmap ? AT_RECURSIVE : 0, number(map)},
                   .field = mount.field});
}

}  // namespace minirun
