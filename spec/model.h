// Owns: ContainerSpec, the one plain model that every format is read into. Names are those of the
// OCI runtime specification 1.3. Absent is std::optional; -1, 0 and "max" are values.
// Must not: contain behaviour, know JSON, or make a system call.
#pragma once

#include <sys/types.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace minirun {

// ---------------------------------------------------------------- process

/// config.md "User". uid and gid are ids inside the container's user namespace; 4294967295 is
/// never valid (setresuid(2) reads -1 as "leave unchanged").
struct User {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::optional<std::uint32_t> umask;  ///< 022 when absent, as runc and crun do
  std::vector<std::uint32_t> additional_gids;
  bool operator==(const User&) const = default;
};

struct Rlimit {
  int resource = 0;  ///< RLIMIT_NOFILE ...
  std::uint64_t soft = 0;
  std::uint64_t hard = 0;  ///< RLIM_INFINITY is UINT64_MAX
  bool operator==(const Rlimit&) const = default;
};

/// Bit n is capability n (capabilities(7)).
struct Capabilities {
  std::uint64_t bounding = 0;
  std::uint64_t effective = 0;
  std::uint64_t inheritable = 0;
  std::uint64_t permitted = 0;
  std::uint64_t ambient = 0;
  bool operator==(const Capabilities&) const = default;
};

struct ConsoleSize {
  std::uint16_t height = 0;  ///< rows
  std::uint16_t width = 0;   ///< columns
  bool operator==(const ConsoleSize&) const = default;
};

/// config.md "scheduler", see sched_setattr(2).
struct Scheduler {
  int policy = 0;  ///< SCHED_OTHER ...
  std::int32_t nice = 0;
  std::uint32_t priority = 0;
  std::uint64_t flags = 0;
  std::uint64_t runtime_ns = 0;
  std::uint64_t deadline_ns = 0;
  std::uint64_t period_ns = 0;
  bool operator==(const Scheduler&) const = default;
};

struct IoPriority {
  int class_ = 0;    ///< IOPRIO_CLASS_RT 1, BE 2, IDLE 3
  int priority = 0;  ///< 0 to 7
  bool operator==(const IoPriority&) const = default;
};

struct ExecCpuAffinity {
  std::string initial;  ///< cpu list, may be empty
  std::string final;
  bool operator==(const ExecCpuAffinity&) const = default;
};

struct Process {
  bool terminal = false;
  std::optional<ConsoleSize> console_size;
  std::string cwd = "/";
  std::vector<std::string> env;   ///< "K=V"
  std::vector<std::string> args;  ///< at least one
  User user;
  std::vector<Rlimit> rlimits;
  std::optional<Capabilities> capabilities;  ///< absent: none at all
  bool no_new_privileges = false;
  std::optional<int> oom_score_adj;  ///< -1000 to 1000; absent: not touched
  std::optional<Scheduler> scheduler;
  std::optional<IoPriority> io_priority;
  std::optional<ExecCpuAffinity> exec_cpu_affinity;
  std::string apparmor_profile;
  std::string selinux_label;
  bool operator==(const Process&) const = default;
};

// ---------------------------------------------------------------- file systems

/// A line of uid_map or gid_map (user_namespaces(7)).
struct IdMapping {
  std::uint32_t container_id = 0;
  std::uint32_t host_id = 0;
  std::uint32_t size = 0;
  bool operator==(const IdMapping&) const = default;
};

/// Mount options split into what the kernel interfaces take.
struct MountOptions {
  std::uint64_t attr_set = 0;  ///< MOUNT_ATTR_* on this mount
  std::uint64_t attr_clear = 0;
  std::uint64_t rec_attr_set = 0;  ///< the same, AT_RECURSIVE ("rro" ...)
  std::uint64_t rec_attr_clear = 0;
  std::vector<std::uint64_t> propagation;  ///< MS_PRIVATE|MS_REC ... in the order written
  bool bind = false;
  bool recursive_bind = false;  ///< rbind
  bool remount = false;
  bool tmpcopyup = false;
  bool idmap = false;
  bool recursive_idmap = false;   ///< ridmap
  std::vector<std::string> data;  ///< for the file system: "size=64k", "ro", "sync" ...
  bool operator==(const MountOptions&) const = default;
};

struct Mount {
  std::string destination;  ///< absolute, inside the root
  std::string type;
  std::string source;  ///< absolute for a bind
  MountOptions options;
  std::vector<IdMapping> uid_mappings;
  std::vector<IdMapping> gid_mappings;
  std::string field;  ///< where the user wrote it, "mounts[4]"
  bool operator==(const Mount&) const = default;
};

/// Where the root file system comes from.
struct Root {
  enum class Kind {
    directory,  ///< `path`
    overlay,    ///< `lower` (top first) below `upper`, or below a throw-away tmpfs
  };
  Kind kind = Kind::directory;
  std::string path;                ///< directory: absolute
  std::vector<std::string> lower;  ///< overlay: absolute, topmost first, at least one
  std::string upper;               ///< overlay: empty means tmpfs
  std::string work;                ///< overlay: beside upper when empty
  std::optional<std::uint64_t> tmpfs_size_bytes;
  bool readonly = false;
  bool operator==(const Root&) const = default;
};

struct Device {
  enum class Type : char { character = 'c', block = 'b', fifo = 'p' };  // "u" reads as character
  Type type = Type::character;
  std::string path;
  std::uint32_t major = 0;
  std::uint32_t minor = 0;
  std::optional<std::uint32_t> file_mode;  ///< 0666 when absent
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  bool operator==(const Device&) const = default;
};

// ---------------------------------------------------------------- hooks

struct Hook {
  std::string path;
  std::vector<std::string> args;
  std::vector<std::string> env;
  std::optional<std::chrono::seconds> timeout;
  bool operator==(const Hook&) const = default;
};

struct Hooks {
  std::vector<Hook> prestart, create_runtime, create_container, start_container, poststart,
      poststop;
  bool operator==(const Hooks&) const = default;
  [[nodiscard]] bool empty() const { return *this == Hooks{}; }
};

// ---------------------------------------------------------------- namespaces

enum class NamespaceType { pid, network, mount, ipc, uts, user, cgroup, time };

struct Namespace {
  NamespaceType type = NamespaceType::mount;
  std::string path;  ///< empty: a new one
  bool operator==(const Namespace&) const = default;
};

struct TimeOffset {
  std::int64_t secs = 0;
  std::uint32_t nanosecs = 0;
  bool operator==(const TimeOffset&) const = default;
};

// ---------------------------------------------------------------- resources

struct DeviceRule {
  enum class Type : char { all = 'a', character = 'c', block = 'b' };
  bool allow = false;
  Type type = Type::all;
  std::optional<std::uint32_t> major;  ///< absent: any
  std::optional<std::uint32_t> minor;
  bool read = true, write = true, mknod = true;
  bool operator==(const DeviceRule&) const = default;
};

struct MemoryResources {
  std::optional<std::int64_t> limit_bytes;        ///< -1: no limit
  std::optional<std::int64_t> reservation_bytes;  ///< memory.low
  std::optional<std::int64_t> swap_bytes;         ///< memory + swap, -1: no limit
  bool check_before_update = false;
  bool operator==(const MemoryResources&) const = default;
};

struct CpuResources {
  std::optional<std::uint64_t> shares;
  std::optional<std::int64_t> quota_us;    ///< <= 0: no limit
  std::optional<std::uint64_t> period_us;  ///< 1000 to 1000000
  std::optional<std::uint64_t> burst_us;
  std::optional<std::int64_t> idle;  ///< 0 or 1
  std::string cpus;                  ///< cpu list, empty: absent
  std::string mems;
  bool operator==(const CpuResources&) const = default;
};

struct WeightDevice {
  std::uint32_t major = 0, minor = 0;
  std::uint16_t weight = 0;  ///< 10 to 1000
  bool operator==(const WeightDevice&) const = default;
};

struct ThrottleDevice {
  std::uint32_t major = 0, minor = 0;
  std::uint64_t rate = 0;  ///< bytes or operations per second
  bool operator==(const ThrottleDevice&) const = default;
};

struct BlockIoResources {
  std::optional<std::uint16_t> weight;  ///< 10 to 1000
  std::vector<WeightDevice> weight_device;
  std::vector<ThrottleDevice> read_bps, write_bps, read_iops, write_iops;
  bool operator==(const BlockIoResources&) const = default;
};

struct HugepageLimit {
  std::string page_size;  ///< "2MB"
  std::uint64_t limit_bytes = 0;
  bool operator==(const HugepageLimit&) const = default;
};

struct RdmaLimit {
  std::optional<std::uint32_t> hca_handles, hca_objects;
  bool operator==(const RdmaLimit&) const = default;
};

struct Resources {
  std::vector<DeviceRule> devices;
  MemoryResources memory;
  CpuResources cpu;
  BlockIoResources block_io;
  std::vector<HugepageLimit> hugepage_limits;
  std::optional<std::int64_t> pids_limit;  ///< -1: no limit
  std::map<std::string, RdmaLimit> rdma;
  std::map<std::string, std::string> unified;
  bool operator==(const Resources&) const = default;
};

// ---------------------------------------------------------------- seccomp

/// config-linux.md "seccomp". Names are kept as written; security/ resolves them.
struct SeccompArg {
  std::uint32_t index = 0;  ///< 0 to 5
  std::uint64_t value = 0;
  std::uint64_t value_two = 0;
  std::string op;  ///< "SCMP_CMP_EQ" ...
  bool operator==(const SeccompArg&) const = default;
};

struct SeccompSyscall {
  std::vector<std::string> names;
  std::string action;  ///< "SCMP_ACT_ALLOW" ...
  std::optional<std::uint32_t> errno_ret;
  std::vector<SeccompArg> args;
  bool operator==(const SeccompSyscall&) const = default;
};

struct Seccomp {
  std::string default_action;
  std::optional<std::uint32_t> default_errno_ret;
  std::vector<std::string> architectures;         ///< "SCMP_ARCH_X86_64" ...
  std::optional<std::vector<std::string>> flags;  ///< absent: SPEC_ALLOW, as runc and crun do
  std::string listener_path;
  std::string listener_metadata;
  std::vector<SeccompSyscall> syscalls;
  bool operator==(const Seccomp&) const = default;
};

// ---------------------------------------------------------------- rest of linux

struct IntelRdt {
  std::string clos_id;
  std::vector<std::string> schemata;
  std::string l3_cache_schema, mem_bw_schema;
  bool enable_monitoring = false;
  bool operator==(const IntelRdt&) const = default;
};

struct MemoryPolicy {
  int mode = 0;  ///< MPOL_*
  std::string nodes;
  unsigned flags = 0;
  bool operator==(const MemoryPolicy&) const = default;
};

struct Personality {
  unsigned long domain = 0;  ///< PER_LINUX, PER_LINUX32
  bool operator==(const Personality&) const = default;
};

/// One published port: host_ip:host_port of this host leads to container_port.
struct PortMapping {
  std::string host_ip;  ///< empty: every address of the host, IPv4 and IPv6
  std::uint16_t host_port = 0;
  std::uint16_t container_port = 0;
  bool udp = false;
  std::string field;  ///< where the user wrote it, "network.ports[0]"
  bool operator==(const PortMapping&) const = default;
};

/// minirun's own field; netns/ knows what each mode means.
struct Network {
  enum class Mode { unspecified, none, host, bridge, join, pasta, cni };
  Mode mode = Mode::unspecified;
  std::string name = "minirun0";  ///< bridge: its interface, at most 15 characters
  std::string subnet;             ///< bridge: IPv4, empty: the network's, or a free one
  std::string subnet6;            ///< bridge: empty: made from the IPv4 subnet
  std::optional<bool> ipv6;       ///< absent: when the host has it
  std::string ip;                 ///< IPv4 address, empty: the next free one
  std::vector<PortMapping> ports;
  std::vector<std::string> dns;               ///< name servers; empty: the host's
  std::map<std::string, std::string> hosts;   ///< name -> address, for /etc/hosts
  std::optional<std::uint32_t> mtu;           ///< bytes, 1280 to 65535
  std::optional<std::uint64_t> ingress_bits;  ///< per second, to the container
  std::optional<std::uint64_t> egress_bits;   ///< per second, from the container
  std::string join;                           ///< id of the container whose network is shared
  std::string conflist;                       ///< cni: path of the network configuration list
  bool operator==(const Network&) const = default;
};

/// Where a value of the model came from, for errors, `explain` and the summary.
struct Origin {
  std::string field;    ///< as the user wrote it: "resources.limits.cpu"
  std::string text;     ///< the user's text: "500m"
  std::string formula;  ///< "500 * 100000 / 1000 = 50000", empty when copied as it is
  bool operator==(const Origin&) const = default;
};

struct ContainerSpec {
  std::string name;  ///< short form "name", else empty
  std::string oci_version;
  std::optional<Process> process;
  Root root;
  std::optional<std::string> hostname;
  std::optional<std::string> domainname;
  std::vector<Mount> mounts;
  Hooks hooks;
  std::map<std::string, std::string> annotations;

  std::vector<Namespace> namespaces;  ///< no type twice
  std::vector<IdMapping> uid_mappings;
  std::vector<IdMapping> gid_mappings;
  std::map<std::string, TimeOffset> time_offsets;  ///< "monotonic", "boottime"
  std::vector<Device> devices;
  std::map<std::string, std::string> net_devices;  ///< host name -> name in the container
  std::string cgroups_path;
  Resources resources;
  std::uint64_t rootfs_propagation = 0;  ///< MS_SLAVE|MS_REC ...
  std::optional<Seccomp> seccomp;
  std::map<std::string, std::string> sysctl;
  std::vector<std::string> masked_paths;
  std::vector<std::string> readonly_paths;
  std::string mount_label;
  std::optional<IntelRdt> intel_rdt;
  std::optional<MemoryPolicy> memory_policy;
  std::optional<Personality> personality;

  // minirun's own
  Network network;
  std::optional<std::chrono::milliseconds> timeout;  ///< whole container is killed after it
  /// Keyed by the OCI field, dotted: "memory.limit", "cpu.quota", "unified.memory.high".
  std::map<std::string, Origin> origins;

  bool operator==(const ContainerSpec&) const = default;

  [[nodiscard]] const Namespace* find_namespace(NamespaceType type) const {
    for (const Namespace& ns : namespaces)
      if (ns.type == type) return &ns;
    return nullptr;
  }
};

}  // namespace minirun
