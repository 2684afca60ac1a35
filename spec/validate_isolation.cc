// Owns: the rules about namespaces, id mappings, host names, sysctls, time and network devices.
// Must not: look at the host's namespaces; a joined one may still turn out to be the host's.
#include <algorithm>

#include "spec/places.h"
#include "spec/words.h"

namespace minirun {
namespace {

bool has(const ContainerSpec& spec, NamespaceType type) {
  return spec.find_namespace(type) != nullptr;
}

void check_namespaces(const ContainerSpec& spec, Reporter& report) {
  for (std::size_t i = 0; i < spec.namespaces.size(); ++i) {
    const Namespace& ns = spec.namespaces[i];
    const auto here = spec.namespaces.begin() + static_cast<std::ptrdiff_t>(i);
    if (std::any_of(spec.namespaces.begin(), here,
                    [&](const Namespace& other) { return other.type == ns.type; }))
      report.error(fmt::format("/linux/namespaces/{}", i), "/namespaces",
                   fmt::format("the namespace {} is there twice, expected it once",
                               namespace_name(ns.type)));
  }
}

void check_names(const ContainerSpec& spec, Reporter& report) {
  for (auto [key, name] :
       {std::pair{"hostname", &spec.hostname}, {"domainname", &spec.domainname}}) {
    if (!*name) continue;
    const std::string place = fmt::format("/{}", key);
    if (!has(spec, NamespaceType::uts))
      report.error(place, place,
                   quote_text(**name) + ", expected a uts namespace together with it");
    if ((*name)->empty() || (*name)->size() > 64)  // __NEW_UTS_LEN
      report.error(place, place, quote_text(**name) + ", expected 1 to 64 bytes");
  }
}

struct MapPlace {
  std::string oci, short_form;
};

/// Ranges must not overlap on either side, as the kernel demands (user_namespaces(7)).
void check_mappings(const std::vector<IdMapping>& map, const MapPlace& place, Reporter& report) {
  constexpr std::size_t kMostLines = 340;  // Linux 4.15
  if (map.size() > kMostLines)
    return report.error(place.oci, place.short_form,
                        fmt::format("{} lines, expected at most {}", map.size(), kMostLines));
  const auto meet = [](std::uint64_t a, std::uint64_t a_size, std::uint64_t b,
                       std::uint64_t b_size) { return a < b + b_size && b < a + a_size; };
  for (std::size_t i = 0; i < map.size(); ++i) {
    const IdMapping& one = map[i];
    const std::string oci = fmt::format("{}/{}", place.oci, i);
    const std::string short_form = fmt::format("{}/{}", place.short_form, i);
    if (one.size == 0) report.error(oci + "/size", short_form, "0, expected at least 1");
    const std::uint64_t most = std::max(one.container_id, one.host_id);
    if (most + one.size > UINT32_MAX)
      report.error(oci, short_form, "goes beyond the id 4294967294, expected a smaller range");
    for (std::size_t j = 0; j < i; ++j) {
      if (meet(one.container_id, one.size, map[j].container_id, map[j].size))
        report.error(oci + "/containerID", short_form,
                     fmt::format("overlaps with the ids in the container of entry {}", j));
      if (meet(one.host_id, one.size, map[j].host_id, map[j].size))
        report.error(oci + "/hostID", short_form,
                     fmt::format("overlaps with the ids on the host of entry {}", j));
    }
  }
}

bool is_mapped(const std::vector<IdMapping>& map, std::uint32_t id) {
  return std::any_of(map.begin(), map.end(), [&](const IdMapping& one) {
    return id >= one.container_id && id - one.container_id < one.size;
  });
}

void check_mapped_ids(const ContainerSpec& spec, Reporter& report) {
  if (!spec.process) return;
  const User& user = spec.process->user;
  constexpr std::string_view kWhat = "{} {}, expected an id that the user namespace maps";
  const auto unreadable = [](const IdMapping& map) { return map.size == 0; };
  if (std::any_of(spec.uid_mappings.begin(), spec.uid_mappings.end(), unreadable) ||
      std::any_of(spec.gid_mappings.begin(), spec.gid_mappings.end(), unreadable))
    return;  // reported already; what is unmapped then says nothing
  if (!is_mapped(spec.uid_mappings, user.uid))
    report.error("/process/user/uid", "/user", fmt::format(kWhat, "uid", user.uid));
  if (!is_mapped(spec.gid_mappings, user.gid))
    report.error("/process/user/gid", "/user", fmt::format(kWhat, "gid", user.gid));
  for (std::size_t i = 0; i < user.additional_gids.size(); ++i)
    if (!is_mapped(spec.gid_mappings, user.additional_gids[i]))
      report.error(fmt::format("/process/user/additionalGids/{}", i), "/user/additional_gids",
                   fmt::format(kWhat, "gid", user.additional_gids[i]));
}

void check_user_namespace(const ContainerSpec& spec, Reporter& report) {
  const Namespace* ns = spec.find_namespace(NamespaceType::user);
  const bool new_one = ns && ns->path.empty();
  for (auto [oci, short_form, map] :
       {std::tuple{"/linux/uidMappings", "/userns/uid", &spec.uid_mappings},
        std::tuple{"/linux/gidMappings", "/userns/gid", &spec.gid_mappings}}) {
    if (!map->empty() && ns == nullptr)
      report.error(oci, short_form, "expected a user namespace together with them");
    if (map->empty() && new_one)
      report.error(oci, short_form, "missing, expected mappings for the new user namespace");
    // The short form takes uid for gid when there is no gid: once is enough.
    const bool same = report.format() == Format::short_form && map == &spec.gid_mappings &&
                      *map == spec.uid_mappings;
    if (!same) check_mappings(*map, {oci, short_form}, report);
  }
  if (!spec.uid_mappings.empty() && !spec.gid_mappings.empty() && ns != nullptr)
    check_mapped_ids(spec, report);
}

/// Which namespace a sysctl belongs to; absent: none, it is the whole host's.
std::optional<NamespaceType> sysctl_namespace(std::string_view path) {
  constexpr auto kIpc = std::to_array<std::string_view>(
      {"kernel/msgmax", "kernel/msgmnb", "kernel/msgmni", "kernel/sem", "kernel/shmall",
       "kernel/shmmax", "kernel/shmmni", "kernel/shm_rmid_forced"});
  if (std::find(kIpc.begin(), kIpc.end(), path) != kIpc.end() || path.starts_with("fs/mqueue/"))
    return NamespaceType::ipc;
  if (path.starts_with("net/")) return NamespaceType::network;
  if (path == "kernel/domainname") return NamespaceType::uts;
  if (path.starts_with("user/")) return NamespaceType::user;
  return std::nullopt;
}

/// An allow-list: everything else is the host's (CVE-2022-0811, kernel.core_pattern).
void check_sysctls(const ContainerSpec& spec, Reporter& report) {
  for (const auto& [key, value] : spec.sysctl) {
    const std::string oci = "/linux/sysctl/" + pointer_token(key);
    const std::string short_form = "/sysctl/" + pointer_token(key);
    const auto path = sysctl_path(key);
    if (!path) {
      report.error(oci, short_form,
                   quote_text(key) + ", expected a name such as net.ipv4.ip_forward");
    } else if (*path == "kernel/hostname") {
      report.error(oci, short_form, "expected the property hostname instead");
    } else if (const auto type = sysctl_namespace(*path); !type) {
      report.error(oci, short_form,
                   "belongs to the whole host, expected one of a namespace (net.*, fs.mqueue.*, "
                   "kernel.msg*, kernel.shm*, kernel.sem, user.*)");
    } else if (!has(spec, *type)) {
      report.error(oci, short_form,
                   fmt::format("expected the namespace {} together with it: this one would be the "
                               "host's",
                               namespace_name(*type)));
    }
    if (value.size() > 4096) report.error(oci, short_form, "more than 4096 bytes");
  }
}

void check_time(const ContainerSpec& spec, Reporter& report) {
  const Namespace* ns = spec.find_namespace(NamespaceType::time);
  if (!spec.time_offsets.empty() && (!ns || !ns->path.empty()))
    report.error("/linux/timeOffsets", "", "expected a new time namespace together with them");
}

void check_net_devices(const ContainerSpec& spec, Reporter& report) {
  if (!spec.net_devices.empty() && !has(spec, NamespaceType::network))
    report.error("/linux/netDevices", "", "expected a network namespace together with them");
  const auto good = [](std::string_view name) {  // dev_valid_name() of the kernel
    return !name.empty() && name.size() < 16 && name != "." && name != ".." &&
           name.find_first_of("/: \t\n\v\f\r") == std::string_view::npos;
  };
  for (const auto& [host, inside] : spec.net_devices) {
    const std::string place = "/linux/netDevices/" + pointer_token(host);
    if (!good(host) || !good(inside))
      report.error(place, "",
                   quote_text(good(host) ? inside : host) +
                       ", expected an interface name of at most 15 bytes");
  }
}

}  // namespace

void validate_isolation(const ContainerSpec& spec, Reporter& report) {
  check_namespaces(spec, report);
  check_names(spec, report);
  check_user_namespace(spec, report);
  check_sysctls(spec, report);
  check_time(spec, report);
  check_net_devices(spec, report);
}

}  // namespace minirun
