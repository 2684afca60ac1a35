#include "runtime/host_probe.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/bpf.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <map>

#include "base/file.h"
#include "base/text.h"
#include "cgroups/files.h"
#include "cgroups/plan.h"
#include "runtime/plan.h"
#include "security/seccomp.h"
#include "spec/words.h"

namespace minirun {
namespace {

std::string reason(int error) {
  return error == 0 ? "" : fmt::format("{} ({})", ::strerrordesc_np(error), errno_name(error));
}

/// What `call` leaves in errno, in a child that ends with it: 0 is success.
template <class Call>
int errno_in_child(Call call) {
  const pid_t pid = ::fork();
  if (pid < 0) return errno;
  if (pid == 0) {
    errno = 0;
    const bool done = call();
    ::_exit(done ? 0 : errno == 0 ? EINVAL : errno & 0xff);
  }
  int status = 0;
  if (TEMP_FAILURE_RETRY(::waitpid(pid, &status, 0)) != pid) return errno;
  return WIFEXITED(status) ? WEXITSTATUS(status) : EFAULT;
}

std::string file_text(const char* path) {
  std::string text = read_file(AT_FDCWD, path, 1 << 16).value_or("");
  while (text.ends_with('\n')) text.pop_back();
  return text;
}

class Prober {
 public:
  explicit Prober(const HostFacts& facts) : facts_(facts) {}

  std::vector<HostAbility> run() {
    cgroups();
    namespaces();
    idmapped_mounts();
    seccomp();
    security_modules();
    file_systems();
    bpf();
    systemd();
    return std::move(probes_);
  }

 private:
  void add(const char* area, std::string name, bool available, std::string detail,
           std::string cost) {
    probes_.push_back(
        {area, std::move(name), available, std::move(detail), available ? "" : std::move(cost)});
  }

  void pressure_and_swap() {
    const bool pressure = ::access("/proc/pressure/cpu", R_OK) == 0;
    add("cgroup", "pressure", pressure, pressure ? "PSI" : "off; boot with psi=1",
        "stalls cannot be seen in reports and events");
    const bool swap = std::string_view(file_text("/proc/swaps")).find("\n/") != std::string::npos;
    add("cgroup", "swap", swap, swap ? "there is swap" : "this host has no swap",
        "limits of swap have nothing to limit");
  }

  void cgroups() {
    const CgroupFacts& cgroup = facts_.cgroup;
    const bool mounted = !cgroup.mount_point.empty();
    add("cgroup", "cgroup2", mounted, mounted ? "mounted at " + cgroup.mount_point : "not mounted",
        "no container can be started except with --cgroup-manager=disabled");
    add("cgroup", "kill", facts_.kernel_at_least(5, 14), "cgroup.kill, Linux 5.14",
        "containers cannot be ended without a race");
    pressure_and_swap();
    for (const ControllerInfo& info : known_controllers()) {
      const std::string missing = why_missing(cgroup, info.name);
      add("controller", std::string(info.name), missing.empty(),
          missing.empty() ? std::string(info.summary) : missing,
          fmt::format("no limit of this kind: {}", info.summary));
    }
  }

  void namespaces() {
    for (const auto& [name, type] : namespace_words) {
      const auto flag = static_cast<int>(clone_flag(type));
      const int error = errno_in_child([flag] { return ::unshare(flag) == 0; });
      add("namespace", std::string(name), error == 0, reason(error),
          type == NamespaceType::user ? "no rootless containers, no ids of their own"
                                      : fmt::format("no {} namespace of their own", name));
    }
    const std::string most = file_text("/proc/sys/user/max_user_namespaces");
    add("namespace", "user namespaces per user", most != "0", most,
        "no user namespaces: user.max_user_namespaces is 0");
  }

  /// A user namespace whose ids 0 to 9 are 1000 to 1009 here; its end is a pipe's.
  struct UserNamespace {
    Fd fd, keep_alive;
    pid_t pid = 0;
  };
  static UserNamespace make_user_namespace() {
    UserNamespace ns;
    std::array<int, 2> pipe{};
    if (::pipe2(pipe.data(), O_CLOEXEC) != 0) return ns;
    Fd reader(pipe[0]);
    ns.keep_alive = Fd(pipe[1]);
    std::array<int, 2> made{};
    if (::pipe2(made.data(), O_CLOEXEC) != 0) return ns;
    Fd made_reader(made[0]), made_writer(made[1]);
    ns.pid = ::fork();
    if (ns.pid == 0) {
      ns.keep_alive.reset();
      const char byte = ::unshare(CLONE_NEWUSER) == 0 ? 1 : 0;
      (void)!::write(made_writer.get(), &byte, 1);
      char end = 0;
      (void)!::read(reader.get(), &end, 1);
      ::_exit(0);
    }
    char byte = 0;
    made_writer.reset();
    if (ns.pid < 0 || ::read(made_reader.get(), &byte, 1) != 1 || byte != 1) return ns;
    for (const char* file : {"uid_map", "gid_map"}) {
      const Fd map(::open(fmt::format("/proc/{}/{}", ns.pid, file).c_str(), O_WRONLY | O_CLOEXEC));
      if (!map || !write_all(map.get(), "0 1000 10", file)) return ns;
    }
    ns.fd = Fd(::open(fmt::format("/proc/{}/ns/user", ns.pid).c_str(), O_RDONLY | O_CLOEXEC));
    return ns;
  }

  /// Views of the kernel, in whose files nobody keeps anything.
  static bool is_interface(std::string_view type) {
    static constexpr std::array<std::string_view, 17> names{
        "autofs",  "binfmt_misc", "bpf",        "cgroup",     "cgroup2", "configfs",
        "debugfs", "devpts",      "devtmpfs",   "efivarfs",   "fusectl", "mqueue",
        "proc",    "pstore",      "rpc_pipefs", "securityfs", "sysfs"};
    return std::ranges::find(names, type) != names.end() || type == "tracefs" || type == "nsfs";
  }

  void idmapped_mounts() {
    UserNamespace ns = make_user_namespace();
    std::map<std::string, std::string> places;  // file system type -> one of its mount points
    for (const std::string& line_text : lines_of("/proc/self/mountinfo")) {
      const std::string_view line = line_text;
      const std::size_t dash = line.find(" - ");
      if (dash == std::string_view::npos) continue;
      const auto words = split_words(line.substr(0, dash));
      const auto type = split_words(line.substr(dash + 3));
      if (words.size() > 4 && !type.empty() && !is_interface(type[0]))
        places.emplace(type[0], words[4]);
    }
    for (const auto& [type, place] : places) {
      int error = ns.fd ? 0 : EPERM;
      if (error == 0) {
        const Fd tree(::open_tree(AT_FDCWD, place.c_str(), OPEN_TREE_CLONE | O_CLOEXEC));
        mount_attr attr{};
        attr.attr_set = MOUNT_ATTR_IDMAP;
        attr.userns_fd = static_cast<__u64>(ns.fd.get());
        if (!tree || ::mount_setattr(tree.get(), "", AT_EMPTY_PATH, &attr, sizeof attr) != 0)
          error = errno;
      }
      add("idmap", type, error == 0,
          error == 0 ? place : fmt::format("{}: {}", place, reason(error)),
          "no idmapped mounts of this file system: files keep the host's owners");
    }
    ns.keep_alive.reset();
    if (ns.pid > 0) (void)TEMP_FAILURE_RETRY(::waitpid(ns.pid, nullptr, 0));
  }

  static std::vector<std::string> lines_of(const char* path) {
    const Fd fd(::open(path, O_RDONLY | O_CLOEXEC));
    std::vector<std::string> lines;
    if (!fd) return lines;
    const std::string text = read_all(fd.get(), path).value_or("");
    for (const std::string_view line : split(text, '\n')) lines.emplace_back(line);
    return lines;
  }

  void seccomp() {
    // A known flag fails on the null program with EFAULT, an unknown one with EINVAL.
    const auto flag_error = [](unsigned flags) {
      return errno_in_child([flags] {
        ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, nullptr);
        return errno == EFAULT;
      });
    };
    const int error = flag_error(0);
    add("seccomp", "filter", error == 0,
        error == 0
            ? fmt::format("actions {}; libseccomp {}",
                          file_text("/proc/sys/kernel/seccomp/actions_avail"), libseccomp_version())
            : reason(error),
        "no system call can be refused; containers with linux.seccomp do not start");
    for (const auto& [name, flag] :
         {std::pair{"log", SECCOMP_FILTER_FLAG_LOG},
          {"spec_allow", SECCOMP_FILTER_FLAG_SPEC_ALLOW},
          {"new_listener", SECCOMP_FILTER_FLAG_NEW_LISTENER},
          // alone it is an error, also where it is known
          {"wait_killable", SECCOMP_FILTER_FLAG_NEW_LISTENER | 1UL << 5}}) {
      const int code = flag_error(static_cast<unsigned>(flag));
      add("seccomp", fmt::format("flag {}", name), code == 0, reason(code),
          "profiles with this flag do not load");
    }
  }

  /// The active security modules by lsm_list_modules(2), of Linux 6.8, which needs no securityfs.
  static std::vector<std::uint64_t> module_numbers() {
    constexpr long kListModules = 461;
    std::vector<std::uint64_t> numbers(64);
    auto size = static_cast<std::uint32_t>(numbers.size() * sizeof numbers[0]);
    const long count = ::syscall(kListModules, numbers.data(), &size, 0);
    numbers.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
    return numbers;
  }

  static long landlock_version() {
    constexpr long kCreateRuleset = 444, kVersion = 1;
    return ::syscall(kCreateRuleset, nullptr, 0, kVersion);
  }

  void security_modules() {
    const std::string list = file_text("/sys/kernel/security/lsm");
    const auto names = split(list, ',');
    const std::vector<std::uint64_t> numbers = module_numbers();
    struct Module {
      const char* name;
      std::uint64_t number;  // LSM_ID_* of linux/lsm.h
      const char* instead;   // what is there on an older kernel without securityfs
    };
    for (const auto& [name, number, instead] :
         {Module{"apparmor", 104, "/sys/kernel/security/apparmor"},
          Module{"selinux", 101, "/sys/fs/selinux/enforce"}, Module{"landlock", 110, ""},
          Module{"yama", 105, "/proc/sys/kernel/yama"}}) {
      const bool there = std::ranges::find(names, name) != names.end() ||
                         std::ranges::find(numbers, number) != numbers.end() ||
                         (std::string_view(name) == "apparmor" &&
                          file_text("/sys/module/apparmor/parameters/enabled") == "Y") ||
                         (number == 110 && landlock_version() > 0) ||
                         (*instead != 0 && ::access(instead, F_OK) == 0);
      add("lsm", name, there,
          there                             ? "active"
          : list.empty() && numbers.empty() ? "no sign of it; securityfs is not mounted here"
                                            : "not active",
          std::string_view(name) == "apparmor" ? "no process.apparmorProfile"
          : std::string_view(name) == "selinux"
              ? "no process.selinuxLabel and linux.mountLabel"
              : "programs cannot use it; minirun does not need it");
    }
  }

  void file_systems() {
    for (const auto& [type, cost] :
         {std::pair{"overlay",
                    "no roots in layers: the short form needs a root directory of its own"},
          {"tmpfs", "no private /dev, /tmp and /dev/shm"},
          {"mqueue", "no POSIX message queues in containers"},
          {"fuse", "no FUSE file systems in containers"}}) {
      const Fd context(::fsopen(type, FSOPEN_CLOEXEC));
      const int error = context ? 0 : errno;
      add("files", type, error == 0, reason(error), cost);
    }
    add("files", "overlay lowerdir+", facts_.overlay_lowerdir_append, "Linux 6.8",
        "layers are named by descriptor in one option of at most 255 bytes: about 60 of them");
    const bool attributes = facts_.kernel_at_least(5, 12);
    add("files", "mount_setattr", attributes, "Linux 5.12", "no recursive mount options (rro ...)");
  }

  void bpf() {
    // r0 = 1; exit: allows everything, and is never attached.
    std::array<bpf_insn, 2> program{
        {{BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 1}, {BPF_JMP | BPF_EXIT, 0, 0, 0, 0}}};
    bpf_attr attr{};
    attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
    attr.insns = reinterpret_cast<std::uint64_t>(program.data());
    attr.insn_cnt = program.size();
    attr.license = reinterpret_cast<std::uint64_t>("GPL");
    const Fd fd(static_cast<int>(::syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof attr)));
    const int error = fd ? 0 : errno;
    add("bpf", "device filter", error == 0, reason(error),
        "linux.resources.devices cannot be enforced");
  }

  void systemd() {
    struct stat info{};
    const bool running = ::stat("/run/systemd/system", &info) == 0;
    const Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    constexpr std::string_view path = "/run/dbus/system_bus_socket";
    std::memcpy(address.sun_path, path.data(), path.size());
    const bool bus = socket && ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address),
                                         sizeof address) == 0;
    add("systemd", "manager", running && bus,
        !running ? "systemd is not process 1"
        : bus    ? "answers on the system bus"
                 : "no system bus",
        "--systemd-cgroup and --cgroup-manager=systemd do not work");
  }

  const HostFacts& facts_;
  std::vector<HostAbility> probes_;
};

}  // namespace

std::vector<HostAbility> probe_host(const HostFacts& facts) {
  return Prober(facts).run();
}

}  // namespace minirun
