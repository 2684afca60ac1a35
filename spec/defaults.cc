// Owns: the text of the default config.json.
// Must not: differ from what the readers accept (defaults_test.cc reads it back).
#include "spec/defaults.h"

#include <nlohmann/json.hpp>

#include "base/capabilities.h"
#include "spec/short_reader.h"
#include "spec/words.h"

namespace minirun {
namespace {

using Ordered = nlohmann::ordered_json;

Ordered capability_list() {
  Ordered list = Ordered::array();
  for (unsigned i = 0; i < capability_names.size(); ++i)
    if ((default_capabilities & capability_bit(i)) != 0) list.push_back(capability_name(i));
  return list;
}

Ordered process() {
  Ordered out;
  out["terminal"] = true;
  out["user"] = {{"uid", 0}, {"gid", 0}};
  out["args"] = {"sh"};
  out["env"] = {kDefaultPath, "TERM=xterm"};
  out["cwd"] = "/";
  for (const char* set : {"bounding", "effective", "permitted"})
    out["capabilities"][set] = capability_list();
  out["rlimits"] =
      Ordered::array({Ordered{{"type", "RLIMIT_NOFILE"}, {"hard", 1024}, {"soft", 1024}}});
  out["noNewPrivileges"] = true;
  return out;
}

Ordered mount(const char* destination, const char* type, const char* source,
              std::initializer_list<const char*> options) {
  Ordered out;
  out["destination"] = destination;
  out["type"] = type;
  out["source"] = source;
  out["options"] = Ordered::array();
  for (const char* option : options) out["options"].push_back(option);
  return out;
}

Ordered mounts(bool rootless) {
  Ordered out = Ordered::array();
  out.push_back(mount("/proc", "proc", "proc", {}));
  out.push_back(
      mount("/dev", "tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"}));
  // One mapped id has no gid 5.
  Ordered pts = mount("/dev/pts", "devpts", "devpts",
                      {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"});
  if (!rootless) pts["options"].push_back("gid=5");
  out.push_back(std::move(pts));
  out.push_back(
      mount("/dev/shm", "tmpfs", "shm", {"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}));
  out.push_back(mount("/dev/mqueue", "mqueue", "mqueue", {"nosuid", "noexec", "nodev"}));
  // sysfs can only be mounted by the owner of the network namespace.
  if (rootless)
    out.push_back(mount("/sys", "none", "/sys", {"rbind", "nosuid", "noexec", "nodev", "ro"}));
  else
    out.push_back(mount("/sys", "sysfs", "sysfs", {"nosuid", "noexec", "nodev", "ro"}));
  out.push_back(
      mount("/sys/fs/cgroup", "cgroup", "cgroup", {"nosuid", "noexec", "nodev", "relatime", "ro"}));
  return out;
}

Ordered linux_part(const DefaultSpecOptions& options) {
  Ordered out;
  out["resources"]["devices"] = Ordered::array({Ordered{{"allow", false}, {"access", "rwm"}}});
  out["namespaces"] = Ordered::array();
  for (const char* type : {"pid", "network", "ipc", "uts", "mount", "cgroup"})
    if (!options.rootless || std::string_view(type) != "network")
      out["namespaces"].push_back({{"type", type}});
  if (options.rootless) {
    out["namespaces"].push_back({{"type", "user"}});
    out["uidMappings"] =
        Ordered::array({Ordered{{"containerID", 0}, {"hostID", options.uid}, {"size", 1}}});
    out["gidMappings"] =
        Ordered::array({Ordered{{"containerID", 0}, {"hostID", options.gid}, {"size", 1}}});
    out.erase("resources");
  }
  out["maskedPaths"] = default_masked_paths();
  out["readonlyPaths"] = default_readonly_paths();
  return out;
}

}  // namespace

std::string default_oci_config(const DefaultSpecOptions& options) {
  Ordered out;
  out["ociVersion"] = "1.3.0";
  out["process"] = process();
  out["root"] = {{"path", "rootfs"}, {"readonly", true}};
  out["hostname"] = "minirun";
  out["mounts"] = mounts(options.rootless);
  out["linux"] = linux_part(options);
  return out.dump(2) + "\n";
}

}  // namespace minirun
