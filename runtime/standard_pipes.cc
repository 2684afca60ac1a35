#include "runtime/standard_pipes.h"

#include <linux/magic.h>
#include <sys/auxv.h>
#include <sys/vfs.h>
#include <unistd.h>

namespace minirun {

std::optional<uid_t> host_uid(const ContainerSpec& spec, const Process& process) {
  const Namespace* user = spec.find_namespace(NamespaceType::user);
  if (user == nullptr) return process.user.uid;
  if (!user->path.empty()) return std::nullopt;  // what is said of its maps is not verified yet
  for (const IdMapping& mapping : spec.uid_mappings)
    if (process.user.uid >= mapping.container_id &&
        process.user.uid - mapping.container_id < mapping.size)
      return mapping.host_id + (process.user.uid - mapping.container_id);
  return std::nullopt;
}

void give_standard_pipes(uid_t uid) {
  if (uid == static_cast<uid_t>(::getauxval(AT_EUID))) return;
  for (int fd = 0; fd < 3; ++fd) {
    struct statfs info{};
    if (::fstatfs(fd, &info) != 0 || info.f_type != PIPEFS_MAGIC) continue;
    // Without the right to do so the program has the pipe all the same, by descriptor.
    if (::fchown(fd, uid, static_cast<gid_t>(-1)) != 0) continue;
  }
}

}  // namespace minirun
