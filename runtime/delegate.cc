#include "runtime/delegate.h"

#include <algorithm>

namespace minirun {

std::optional<uid_t> cgroup_owner(const ContainerSpec& spec) {
  const Namespace* cgroup = spec.find_namespace(NamespaceType::cgroup);
  if (cgroup == nullptr || !cgroup->path.empty() || !spec.process) return std::nullopt;
  const bool writable = std::ranges::any_of(spec.mounts, [](const Mount& mount) {
    const bool read_only = ((mount.options.attr_set | mount.options.rec_attr_set) & 1U) != 0;
    return (mount.type == "cgroup" || mount.type == "cgroup2") &&
           mount.destination == "/sys/fs/cgroup" && !read_only;
  });
  if (!writable) return std::nullopt;
  const std::uint32_t uid = spec.process->user.uid;
  const Namespace* user = spec.find_namespace(NamespaceType::user);
  if (user == nullptr) return uid == 0 ? std::nullopt : std::optional<uid_t>(uid);  // 0: as it is
  if (!user->path.empty()) return std::nullopt;  // what is said of its maps is not verified yet
  for (const IdMapping& map : spec.uid_mappings)
    if (uid >= map.container_id && uid - map.container_id < map.size)
      return map.host_id + (uid - map.container_id);
  return std::nullopt;
}

}  // namespace minirun
