// Owns: which ids an ordinary user may map into a user namespace, and writing the maps of one.
// Must not: decide whether a container has a user namespace (the spec does).
#pragma once

#include <sys/types.h>

#include <string_view>
#include <vector>

#include "base/result.h"
#include "spec/model.h"
#include "spec/options.h"

namespace minirun {

struct IdMaps {
  std::vector<IdMapping> uid, gid;
};

/// Container root is the caller; behind it come the caller's subordinate ids (subuid(5), the first
/// range of each file) where newuidmap(1) and newgidmap(1) are installed.
[[nodiscard]] IdMaps own_id_maps(uid_t uid, gid_t gid);

/// What the readers of specs need to know of the caller: the effective ids, and own_id_maps().
[[nodiscard]] SpecOptions caller_options();

/// The first range that a file like /etc/subuid gives to a login name or a uid, size 0: none.
[[nodiscard]] IdMapping subordinate_range(std::string_view file, std::string_view login, uid_t uid);

/// Maps that the owner of `uid` and `gid` may write without a helper: nothing but these. The kernel
/// then wants setgroups(2) denied in the namespace (user_namespaces(7)).
[[nodiscard]] bool is_self_map(const IdMaps& maps, uid_t uid, gid_t gid);

/// Writes both maps of the user namespace of `pid`, as `euid`: as root directly, else by newuidmap
/// and newgidmap unless it is a self map. Errors name linux.uidMappings or linux.gidMappings, and
/// carry the helper's own words.
[[nodiscard]] Status write_id_maps(pid_t pid, const IdMaps& maps, uid_t euid);

/// That the user namespace of `pid` has these maps: engines name a namespace to join and its maps
/// once more. An empty map is not compared. Errors name linux.uidMappings or linux.gidMappings.
[[nodiscard]] Status expect_id_maps(pid_t pid, const IdMaps& maps);

}  // namespace minirun
