#include "rootfs/plan.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/mount.h>
#include <linux/openat2.h>

#include <algorithm>
#include <array>
#include <optional>
#include <tuple>
#include <utility>

#include "rootfs/covers.h"
#include "rootfs/devices.h"
#include "rootfs/id_mappings.h"
#include "rootfs/old_mount.h"
#include "spec/validate.h"

namespace minirun {
namespace {

// <sys/mount.h> and <linux/mount.h> of glibc 2.36 cannot be included together.
constexpr std::int64_t ms_rec = 0x4000, ms_private = 1 << 18, ms_slave = 1 << 19,
                       ms_shared = 1 << 20;

/// "size=64k" -> "size", "64k"; "ro" -> "ro", "".
StringList key_value_pairs(const std::vector<std::string>& data) {
  StringList pairs;
  for (const std::string& option : data) {
    const std::size_t equals = option.find('=');
    pairs.push_back(option.substr(0, equals));
    pairs.push_back(equals == std::string::npos ? "" : option.substr(equals + 1));
  }
  return pairs;
}

class Planner {
 public:
  Planner(const ContainerSpec& spec, const HostFacts& facts, const RootfsInput& input, Slots& slots)
      : spec_(spec),
        facts_(facts),
        input_(input),
        slots_(slots),
        userns_(spec.find_namespace(NamespaceType::user) != nullptr) {}

  RootfsPlan make() && {
    plan_root();
    for (const Mount& mount : spec_.mounts) plan_mount(mount);
    plan_devices(spec_, userns_, plan_.root, slots_, plan_.parent, plan_.build);
    plan_sysctls();
    plan_protection();
    plan_pivot();
    return std::move(plan_);
  }

 private:
  void error(std::string pointer, std::string message) {
    plan_.findings.push_back({Finding::Level::error, std::move(pointer), std::move(message)});
  }

  void plan_root() {
    if (!spec_.mount_label.empty() && !facts_.selinux)
      error("/linux/mountLabel", "this kernel has no SELinux, or it is switched off");
    // Always a slave first: the new root is attached over "/", which must not reach the host.
    plan_.build.push_back({.op = Op::propagation, .n = {ms_slave, 1}});
    if (spec_.root.kind == Root::Kind::directory) {
      plan_.root = slots_.opened();
      plan_.parent.push_back({.op = Op::clone_tree,
                              .n = {number(plan_.root), AT_RECURSIVE, ms_slave},
                              .s = {spec_.root.path},
                              .field = "root.path"});
    } else {
      plan_overlay();
    }
    plan_.build.push_back({.op = Op::attach_root,
                           .n = {number(plan_.root)},
                           .s = {spec_.root.path},  // for the words of a failure only
                           .field = "root"});
  }

  void plan_overlay() {
    const Root& root = spec_.root;
    plan_.root = slots_.in_child();
    std::string upper = root.upper, work = root.work;
    if (upper.empty() && !input_.layer_directory.empty()) {
      upper = input_.layer_directory + "/upper";
      work = input_.layer_directory + "/work";
    }
    Slot tmpfs = Slot::none;
    if (upper.empty()) {
      tmpfs = slots_.in_child();
      StringList options{"mode", "0755"};
      if (root.tmpfs_size_bytes) {
        options.emplace_back("size");
        options.push_back(std::to_string(*root.tmpfs_size_bytes));
      }
      plan_.build.push_back({.op = Op::make_mount,
                             .n = {number(tmpfs), 0},
                             .s = {"tmpfs", std::move(options)},
                             .field = "root"});
      // An overlay takes its layers only from mounts of this namespace (before Linux 6.15).
      if (!facts_.overlay_detached_layers) {
        plan_.build.push_back({.op = Op::stage_mount, .n = {number(tmpfs)}, .field = "root"});
        ++staged_;
      }
    } else if (work.empty()) {
      error("/root/overlay/work", "an overlay with a kept upper directory needs a work directory");
    }
    StringList lower = root.lower;
    if (userns_) clone_layers(lower);
    // What an image brings as overlay attributes must not redirect or point out of it (SEC-28).
    StringList options{"redirect_dir", "nofollow", "metacopy", "off", "index", "off"};
    if (userns_) options = {"userxattr", ""};
    plan_.build.push_back(
        {.op = Op::make_overlay,
         .n = {number(plan_.root), 0, number(tmpfs), facts_.overlay_lowerdir_append ? 1 : 0},
         .s = {std::move(lower), upper, work, std::move(options)},
         .field = "root"});
  }

  /// In a user namespace the mounts below a layer are locked to it, and an overlay refuses such a
  /// layer (EINVAL): the parent clones each directory alone. "#N" names slot N.
  void clone_layers(StringList& lower) {
    for (std::string& layer : lower) {
      const Slot slot = slots_.opened();
      plan_.parent.push_back(
          {.op = Op::clone_tree, .n = {number(slot), 0}, .s = {layer}, .field = "root"});
      // The clone of a shared mount is its peer: what is stacked on it would reach the host.
      plan_.parent.push_back(
          {.op = Op::set_attr, .n = {number(slot), 0, 0, ms_private, 0, -1}, .field = "root"});
      // With the ids of the container's root instead of the host's a file can be copied up.
      if (!slots_.alone() && std::ranges::find(facts_.idmappable, layer) != facts_.idmappable.end())
        plan_.parent.push_back(
            {.op = Op::set_attr,
             .n = {number(slot), MOUNT_ATTR_IDMAP, 0, 0, 0, number(mappings_.of_container("root"))},
             .field = "root"});
      else
        plan_.findings.push_back(
            {Finding::Level::warning, "/root",
             fmt::format(
                 "the file system of {} cannot be idmapped: in the user namespace its files "
                 "belong to nobody and cannot be changed",
                 layer)});
      // Also on Linux 6.18: a layer that is detached must belong to our own user namespace.
      plan_.build.push_back({.op = Op::stage_mount, .n = {number(slot)}, .field = "root"});
      ++staged_;
      layer = fmt::format("#{}", number(slot));
    }
  }

  void plan_mount(const Mount& mount) {
    if (const std::optional<std::string> why = refused_destination(mount))
      return error("/" + pointer(mount) + "/destination", *why);
    if (mount.options.remount && is_idmapped(mount))
      error("/" + pointer(mount) + "/options",
            "a mount that is in place cannot be idmapped, expected remount without idmap");
    else if (mount.options.remount)
      plan_remount(mount);
    else if (mount.options.bind || mount.options.recursive_bind)
      plan_bind(mount, mount.source, mount.options.recursive_bind);
    else
      plan_new(mount);
  }

  static std::string pointer(const Mount& mount) {
    std::string path;
    for (const char c : mount.field)
      if (c == '[')
        path += '/';
      else if (c != ']')
        path += c;
    return path;
  }

  bool shares_host(NamespaceType type) const { return spec_.find_namespace(type) == nullptr; }

  void plan_new(const Mount& mount) {
    if (mount.type == "cgroup" || mount.type == "cgroup2") return plan_cgroup(mount);
    // In a user namespace these need the other namespace to be its own: bind the host's instead.
    if (userns_ && mount.type == "sysfs" && shares_host(NamespaceType::network))
      return plan_bind(mount, "/sys", true);
    if (userns_ && mount.type == "proc" && shares_host(NamespaceType::pid))
      return plan_bind(mount, "/proc", true);
    if (userns_ && mount.type == "mqueue" && shares_host(NamespaceType::ipc))
      return plan_host_queues(mount);
    make_and_attach(mount, mount.type, key_value_pairs(mount.options.data));
  }

  /// The host's message queues need not be mounted on the host: root makes a mount of them.
  void plan_host_queues(const Mount& mount) {
    if (facts_.euid != 0) return plan_bind(mount, "/dev/mqueue", true);
    const Slot slot = slots_.from_parent();
    plan_.parent.push_back({.op = Op::make_mount,
                            .n = {number(slot), as_int(mount.options.attr_set)},
                            .s = {mount.type, StringList{}},
                            .field = mount.field});
    attach(slot, mount, wire::create_directory, 0);
    add_propagation(slot, mount);
  }

  /// A user namespace may make a sysfs only where it owns the network namespace. Of a joined one
  /// nobody knows before the kernel says so: then the host's is held ready. Not so for proc: the
  /// host's processes are not what a joined pid namespace is about.
  Slot fall_back(const Mount& mount) {
    const Namespace* network = spec_.find_namespace(NamespaceType::network);
    const bool joined = userns_ && network != nullptr && !network->path.empty();
    return joined && mount.type == "sysfs" ? open_host(mount, "/sys", true) : Slot::none;
  }

  static bool is_shared(const Mount& mount) {
    return std::ranges::any_of(mount.options.propagation, [](std::uint64_t flags) {
      return (as_int(flags) & ms_shared) != 0;
    });
  }

  /// Mounts, devices and the working directory may still have to be made in a tmpfs. Not where it
  /// could be copied to the peers of a shared mount: the copies would stay writable.
  bool is_read_only_late(const Mount& mount, const std::string& type) const {
    return type == "tmpfs" && (mount.options.attr_set & MOUNT_ATTR_RDONLY) != 0 &&
           std::ranges::none_of(spec_.mounts, is_shared);
  }

  void make_and_attach(const Mount& mount, const std::string& type, StringList options) {
    const Slot slot = slots_.in_child();
    const bool system = type == "proc" || type == "sysfs";
    const bool copies = mount.options.tmpcopyup;
    const bool late = is_read_only_late(mount, type);
    const std::uint64_t later = late ? MOUNT_ATTR_RDONLY : 0;
    const std::uint64_t attributes = mount.options.attr_set & ~later;
    const Slot instead = fall_back(mount);
    add_label(mount, options);
    if (!mount.source.empty() && mount.source != "none") {  // what mountinfo and df(1) show
      options.emplace_back("source");
      options.push_back(mount.source);
    }
    if (instead == Slot::none && make_inside(slot, mount, type, options)) return;
    Step& made = plan_.build.emplace_back(Step{.op = Op::make_mount,
                                               .n = {number(slot), copies ? 0 : as_int(attributes),
                                                     instead == Slot::none ? 0 : number(instead)},
                                               .s = {type, std::move(options)},
                                               .field = mount.field});
    if (!is_idmapped(mount)) allow_old_call(made, spec_);
    if (copies) {
      plan_.build.push_back({.op = Op::copy_up,
                             .n = {number(slot), number(plan_.root)},
                             .s = {mount.destination},
                             .field = mount.field});
      if (attributes != 0) set_attributes(slot, mount, as_int(attributes), 0, 0);
    }
    mappings_.apply(slot, mount, plan_.build);
    attach(slot, mount, wire::create_directory, system ? RESOLVE_NO_SYMLINKS : 0);
    if (system) covers_.last().mount = slot;
    if (type == "tmpfs" && !copies && !is_idmapped(mount)) covers_.last().fresh = slot;
    if (mount.options.rec_attr_set != 0 || mount.options.rec_attr_clear != 0)
      set_attributes(slot, mount, as_int(mount.options.rec_attr_set),
                     as_int(mount.options.rec_attr_clear), AT_RECURSIVE);
    add_propagation(slot, mount);
    if (late) sealed_.push_back({normal_path(mount.destination), slot, mount.field});
    if (type == "proc" && mount.destination == "/proc") plan_.proc = slot;
  }

  /// A mount directly in a new tmpfs of this container (/dev/pts, /dev/shm), or of cgroup2 in its
  /// sysfs, that needs nothing else: two calls of the older kind instead of five to ten.
  bool make_inside(Slot slot, const Mount& mount, const std::string& type,
                   const StringList& options) {
    const MountOptions& wanted = mount.options;
    const bool cgroup = type == "cgroup2";
    const bool usual = cgroup || type == "tmpfs" || type == "devpts" || type == "mqueue";
    if (!usual || wanted.tmpcopyup || is_idmapped(mount) || wanted.rec_attr_set != 0 ||
        wanted.rec_attr_clear != 0 || !wanted.propagation.empty())
      return false;
    const std::string path = normal_path(mount.destination);
    // All mounts of cgroup2 share one super block, which only its first mount could make read-only.
    const std::uint64_t harmless = cgroup ? MOUNT_ATTR_RDONLY : 0;
    std::optional<std::int64_t> flags = old_flags(wanted.attr_set & ~harmless);
    if (!flags || path != mount.destination) return false;
    if ((wanted.attr_set & harmless) != 0) *flags |= 1;  // MS_RDONLY
    const Known known = covers_.known(path);
    const Cover* cover = covers_.of(path);
    std::int64_t parent = 0;
    if (cgroup && known.mount != Slot::none)
      parent = -number(known.mount);
    else if (!cgroup && cover != nullptr && cover->fresh != Slot::none &&
             path.rfind('/') == cover->destination.size())
      parent = number(cover->fresh);
    else
      return false;
    if (!fits_one_string(options)) return false;
    plan_.build.push_back(
        {.op = Op::make_mount,
         .n = {number(slot), as_int(wanted.attr_set), 0, number(plan_.root), *flags, parent},
         .s = {type, options, mount.destination, known.path},
         .field = mount.field});
    covers_.add({path});
    return true;
  }

  /// config-linux.md "Mount label", for file systems that take their label at the mount.
  void add_label(const Mount& mount, StringList& options) const {
    static constexpr std::array without = {"proc", "sysfs", "mqueue", "cgroup", "cgroup2"};
    if (spec_.mount_label.empty() || std::ranges::find(without, mount.type) != without.end())
      return;
    options.emplace_back("context");
    options.push_back(spec_.mount_label);
  }

  void plan_cgroup(const Mount& mount) {
    if (!shares_host(NamespaceType::cgroup)) return make_and_attach(mount, "cgroup2", {});
    // Without a cgroup namespace a cgroup2 mount would show, and a writable one give away, the
    // whole hierarchy (CVE-2023-25809): only our own subtree.
    if (input_.cgroup_directory.empty()) {
      error("/" + pointer(mount), "this host has no cgroup2 mount to bind");
      return;
    }
    plan_bind(mount, input_.cgroup_directory, false);
  }

  void plan_bind(const Mount& mount, const std::string& source, bool recursive) {
    if ((mount.options.bind || mount.options.recursive_bind) && !mount.options.data.empty()) {
      error("/" + pointer(mount) + "/options",
            fmt::format("a bind mount takes no file system option, found \"{}\"",
                        mount.options.data.front()));
      return;
    }
    const Slot slot = open_host(mount, source, recursive);
    attach(slot, mount, wire::create_like, 0);
    add_propagation(slot, mount);
    if (mount.type == "proc" && normal_path(mount.destination) == "/proc") plan_.proc = slot;
  }

  /// A part of the host as a detached mount, with all attributes that the user gave: the parent
  /// may also clear what is locked for a user namespace.
  Slot open_host(const Mount& mount, const std::string& source, bool recursive) {
    const Slot slot = slots_.opened();
    plan_.parent.push_back({.op = Op::clone_tree,
                            .n = {number(slot), recursive ? AT_RECURSIVE : 0},
                            .s = {source},
                            .field = mount.field});
    // The clone is made beside the host's mount: a shared one stays its peer unless told not to.
    if (!is_shared(mount))
      plan_.parent.push_back({.op = Op::set_attr,
                              .n = {number(slot), 0, 0, ms_slave, AT_RECURSIVE, -1},
                              .field = mount.field});
    const MountOptions& options = mount.options;
    for (const auto& [set, clear, flags] :
         {std::tuple{options.attr_set, options.attr_clear, 0},
          std::tuple{options.rec_attr_set, options.rec_attr_clear, AT_RECURSIVE}})
      if (set != 0 || clear != 0)
        plan_.parent.push_back({.op = Op::set_attr,
                                .n = {number(slot), as_int(set), as_int(clear), 0, flags, -1},
                                .field = mount.field});
    mappings_.apply(slot, mount, plan_.parent);
    return slot;
  }

  void plan_remount(const Mount& mount) {
    if ((mount.options.attr_clear & MOUNT_ATTR_RDONLY) != 0)
      std::erase_if(sealed_, [&](const Sealed& one) {
        return one.destination == normal_path(mount.destination);
      });
    plan_.build.push_back({.op = Op::set_attr_path,
                           .n = {number(plan_.root), as_int(mount.options.attr_set),
                                 as_int(mount.options.attr_clear), 0, 0},
                           .s = {mount.destination},
                           .field = mount.field});
  }

  void attach(Slot slot, const Mount& mount, wire::Create create, std::int64_t resolve) {
    covers_.add({normal_path(mount.destination)});
    plan_.build.push_back({.op = Op::attach,
                           .n = {number(slot), number(plan_.root), create,
                                 create == wire::create_directory ? 0755 : 0644, resolve,
                                 normal_path(mount.destination).starts_with("/proc") ? 1 : 0},
                           .s = {mount.destination},
                           .field = mount.field});
  }

  void set_attributes(Slot slot, const Mount& mount, std::int64_t set, std::int64_t clear,
                      std::int64_t recursive) {
    plan_.build.push_back({.op = Op::set_attr,
                           .n = {number(slot), set, clear, 0, recursive, -1},
                           .field = mount.field});
  }

  void add_propagation(Slot slot, const Mount& mount) {
    for (const std::uint64_t flags : mount.options.propagation)
      plan_.build.push_back({.op = Op::set_attr,
                             .n = {number(slot), 0, 0, as_int(flags) & ~ms_rec,
                                   (as_int(flags) & ms_rec) != 0 ? AT_RECURSIVE : 0, -1},
                             .field = mount.field});
  }

  /// Written before /proc/sys becomes read-only, through a procfs of the container's namespaces.
  void plan_sysctls() {
    if (spec_.sysctl.empty()) return;
    if (plan_.proc == Slot::none) {
      plan_.proc = slots_.in_child();
      plan_.build.push_back({.op = Op::make_mount,
                             .n = {number(plan_.proc), 0},
                             .s = {"proc", StringList{}},
                             .field = "linux.sysctl"});
    }
    for (const auto& [key, value] : spec_.sysctl) {
      const Result<std::string> path = sysctl_path(key);
      if (!path) {
        error("/linux/sysctl/" + key, to_string(path.error()));
        continue;
      }
      plan_.build.push_back(
          {.op = Op::write_file,
           .n = {number(plan_.proc), RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV},
           .s = {"sys/" + *path, value},
           .field = "linux.sysctl." + key});
    }
  }

  /// What kernels have as directories: a guess, which saves asking for the other kind first.
  static bool is_likely_directory(std::string_view path) {
    const std::string_view name = path.substr(path.rfind('/') + 1);
    return name == "acpi" || name == "asound" || name == "firmware" || name == "scsi";
  }

  void plan_protection() {
    if (!spec_.masked_paths.empty()) {
      const Slot empty = slots_.in_child();
      allow_old_call(plan_.protect.emplace_back(
                         Step{.op = Op::make_mount,
                              .n = {number(empty), MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID |
                                                       MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC},
                              .s = {"tmpfs", StringList{}},
                              .field = "linux.maskedPaths"}),
                     spec_);
      for (std::size_t i = 0; i < spec_.masked_paths.size(); ++i) {
        Known known = covers_.known(spec_.masked_paths[i]);
        plan_.protect.push_back({.op = Op::mask,
                                 .n = {number(plan_.root), number(empty), number(known.mount),
                                       is_likely_directory(spec_.masked_paths[i]) ? 1 : 0},
                                 .s = {spec_.masked_paths[i], std::move(known.path)},
                                 .field = fmt::format("linux.maskedPaths[{}]", i)});
      }
    }
    for (std::size_t i = 0; i < spec_.readonly_paths.size(); ++i) {
      Known known = covers_.known(spec_.readonly_paths[i]);
      plan_.protect.push_back({.op = Op::readonly_path,
                               .n = {number(plan_.root), number(known.mount)},
                               .s = {spec_.readonly_paths[i], std::move(known.path)},
                               .field = fmt::format("linux.readonlyPaths[{}]", i)});
    }
  }

  void plan_pivot() {
    plan_.pivot.push_back({.op = Op::pivot_root, .n = {1 + staged_, number(plan_.root)}});
    if (const std::int64_t flags = as_int(spec_.rootfs_propagation); flags != 0)
      plan_.pivot.push_back({.op = Op::set_attr,
                             .n = {number(plan_.root), 0, 0, flags & ~ms_rec,
                                   (flags & ms_rec) != 0 ? AT_RECURSIVE : 0, -1},
                             .field = "linux.rootfsPropagation"});
    for (const Sealed& one : sealed_)
      plan_.seal.push_back({.op = Op::set_attr,
                            .n = {number(one.slot), MOUNT_ATTR_RDONLY, 0, 0, 0, -1},
                            .field = one.field});
    if (spec_.root.readonly)
      plan_.seal.push_back({.op = Op::set_attr,
                            .n = {number(plan_.root), MOUNT_ATTR_RDONLY, 0, 0, 0, -1},
                            .field = "root.readonly"});
  }

  const ContainerSpec& spec_;
  const HostFacts& facts_;
  const RootfsInput& input_;
  Slots& slots_;
  bool userns_;
  std::int64_t staged_ = 0;  ///< mounts stacked on the old root that go with it
  struct Sealed {
    std::string destination;
    Slot slot;
    std::string field;
  };
  std::vector<Sealed> sealed_;  ///< mounts that become read-only in the end
  Covers covers_;
  RootfsPlan plan_;
  IdMappings mappings_{spec_, slots_, plan_.parent};
};

}  // namespace

RootfsPlan plan_rootfs(const ContainerSpec& spec, const HostFacts& facts, const RootfsInput& input,
                       Slots& slots) {
  return Planner(spec, facts, input, slots).make();
}

}  // namespace minirun
