#include "runtime/pod_sandbox.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <net/if.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "base/file.h"
#include "cgroups/control.h"
#include "cgroups/files.h"

namespace minirun {
namespace {

using kubernetes::PodPlan;
using kubernetes::PodRun;
using kubernetes::Volume;

Status make_parents(const std::string& path) {
  for (std::size_t at = 1; at != std::string::npos;) {
    at = path.find('/', at + 1);
    if (::mkdir(path.substr(0, at).c_str(), 0755) != 0 && errno != EEXIST) return os_error(path);
  }
  return {};
}

/// Removes the levels above `path` that are empty: whoever leaves last, which need not be who made
/// them. EBUSY: others live there; the kernel decides it atomically.
void prune_above(const std::string& path, const HostFacts& facts) {
  const auto mount = open_cgroup_mount(facts.cgroup);
  if (!mount) return;
  std::string above = path.substr(1);
  for (std::size_t slash; (slash = above.rfind('/')) != std::string::npos;) {
    above.resize(slash);
    if (::unlinkat(mount->get(), above.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) return;
  }
}

/// The cgroup of a pod that nobody serves any more.
Status remove_pod_cgroup(int directory, const HostFacts& facts) {
  const auto path = read_file(directory, "cgroup", 4096);
  if (!path) return path.error().errnum == ENOENT ? Status() : std::unexpected(path.error());
  TRY(remove_cgroup(facts.cgroup, *path));
  prune_above(*path, facts);
  return {};
}

/// Directories of killed runs: those whose lock is free. The names of what was removed.
std::vector<std::string> sweep(int directory, const HostFacts& facts) {
  std::vector<std::string> removed;
  const int copy = ::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* list = copy < 0 ? nullptr : ::fdopendir(copy);
  if (list == nullptr) return removed;
  while (const dirent* entry = ::readdir(list)) {
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    const Fd one(::openat(directory, name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    // A cgroup that cannot be removed keeps its directory: the next sweep finds it again.
    if (one && ::flock(one.get(), LOCK_EX | LOCK_NB) == 0 && remove_pod_cgroup(one.get(), facts) &&
        remove_tree(directory, name))
      removed.push_back(name);
  }
  ::closedir(list);
  return removed;
}

}  // namespace

Status enter_own_mounts() {
  static bool done = false;
  if (done) return {};
  if (::unshare(CLONE_NEWNS) != 0) return os_error("mount namespace");
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0)
    return os_error("/", "cannot make the mounts private");
  done = true;
  return {};
}

std::vector<std::string> sweep_pods(const HostFacts& facts) {
  const DirFd parent(::open(pods_directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!parent || ::flock(parent.get(), LOCK_EX) != 0) return {};
  return sweep(parent.get(), facts);
}

CgroupPlan plan_pod_cgroup(const PodPlan& plan, const std::string& path, const HostFacts& facts) {
  CgroupPlan cgroup;
  cgroup.path = path;
  const auto& offered = facts.cgroup.controllers;
  // Those that limit and those that only count.
  for (const char* name : {"cpu", "memory", "io", "pids", "hugetlb"})
    if (std::find(offered.begin(), offered.end(), name) != offered.end())
      cgroup.controllers.emplace_back(name);
  for (const auto& [file, planned] : plan.pod_cgroup2) {
    CgroupWrite write;
    write.controller = file.substr(0, file.find('.'));
    write.file = file;
    write.value = planned.value;
    write.source = "spec (pod)";
    write.formula = planned.formula;
    if (file.ends_with(".rsvd.max")) write.if_absent = IfAbsent::skip;
    cgroup.writes.push_back(std::move(write));
  }
  return cgroup;
}

Result<PodSandbox> PodSandbox::create(const PodPlan& plan, const PodRun& run, PodPlaces places,
                                      const std::string& document, const HostFacts& facts,
                                      const StateRoot& root, const NetworkLaunch* network) {
  PodSandbox sandbox;
  sandbox.places_ = std::move(places);
  sandbox.facts_ = &facts;
  TRY(enter_own_mounts());
  TRY(sandbox.make_directory(plan, run, document, facts));
  sandbox.cgroup_ =
      TRY(Cgroup::create(plan_pod_cgroup(plan, sandbox.places_.cgroup, facts), facts.cgroup));
  if (network != nullptr) {
    sandbox.connected_.emplace(TRY(PodNetwork::prepare(*network, root)));
    sandbox.places_.network_files = sandbox.connected_->files();
  }
  TRY(sandbox.make_namespaces(run.host_network));
  return sandbox;
}

PodSandbox::~PodSandbox() {
  (void)end();  // who wants to know calls end() itself
}

Status PodSandbox::end() {
  Status result;
  if (!parent_) return result;  // ended, moved from, or nothing was made
  if (connected_) result = connected_->end();
  connected_.reset();
  if (cgroup_) {
    if (const Status removed = cgroup_->remove(); !removed && result) result = removed;
    prune_above(places_.cgroup, *facts_);
  }
  cgroup_.reset();
  if (parent_) {
    const std::string& directory = places_.directory;
    (void)::umount2((directory + "/shm").c_str(), MNT_DETACH);
    for (const std::string& name : memory_volumes_)
      (void)::umount2((directory + "/volumes/" + name).c_str(), MNT_DETACH);
    if (const Status removed = remove_tree(parent_.get(), places_.uid); !removed && result)
      result = removed;
    parent_.reset();
  }
  return result;
}

Status weigh_tier(const HostFacts& facts, const std::string& tier, std::uint64_t weight,
                  std::size_t own_pods) {
  const DirFd mount = TRY(open_cgroup_mount(facts.cgroup));
  const int directory = ::openat(mount.get(), tier.c_str() + 1, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) return os_error(tier);
  DIR* list = ::fdopendir(directory);
  if (list == nullptr) return os_error(tier);
  std::size_t pods = 0;
  while (const dirent* entry = ::readdir(list))
    if (entry->d_type == DT_DIR && entry->d_name[0] != '.') ++pods;
  // The pods of another minirun are there: their sum is not known here.
  const Status written =
      pods == own_pods ? write_beneath(directory, "cpu.weight", std::to_string(weight)) : Status();
  ::closedir(list);
  return written;
}

namespace {

Status write_text(const std::string& path, std::string_view text, mode_t mode) {
  const Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode));
  if (!file) return os_error(path);
  TRY(write_all(file.get(), text, path));
  return ::fchmod(file.get(), mode) == 0 ? Status() : os_error(path);
}

std::string hosts_text(const PodRun& run, const std::string& hostname) {
  std::string text =
      fmt::format("127.0.0.1\tlocalhost {}\n::1\tlocalhost ip6-localhost ip6-loopback\n", hostname);
  for (const auto& [ip, names] : run.host_aliases)
    text += fmt::format("{}\t{}\n", ip, fmt::join(names, " "));
  return text;
}

}  // namespace

Status PodSandbox::make_directory(const PodPlan& plan, const PodRun& run,
                                  const std::string& document, const HostFacts& facts) {
  TRY(make_parents(pods_directory));
  DirFd parent(::open(pods_directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!parent) return os_error(pods_directory);
  if (::fchmod(parent.get(), 0700) != 0) return os_error(pods_directory);
  // Nobody sweeps away what is made and not locked yet.
  if (::flock(parent.get(), LOCK_EX) != 0) return os_error(pods_directory);
  (void)sweep(parent.get(), facts);
  if (::mkdirat(parent.get(), places_.uid.c_str(), 0755) != 0)
    return os_error(fmt::format("{}/{}", pods_directory, places_.uid),
                    errno == EEXIST ? "a pod with this uid runs already" : "");
  parent_ = std::move(parent);
  places_.directory = fmt::format("{}/{}", pods_directory, places_.uid);
  const std::string& directory = places_.directory;
  lock_ = Fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!lock_ || ::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0) return os_error(directory);
  (void)::flock(parent_.get(), LOCK_UN);
  TRY(write_text(directory + "/cgroup", places_.cgroup, 0600));
  TRY(write_text(directory + "/name", plan.pod.name, 0600));
  TRY(write_text(directory + "/manifest", document, 0600));
  for (const char* name : {"/volumes", "/shm"})
    if (::mkdir((directory + name).c_str(), 0755) != 0) return os_error(directory + name);
  // The default size of containerd and docker.
  if (::mount("shm", (directory + "/shm").c_str(), "tmpfs", MS_NOSUID | MS_NOEXEC | MS_NODEV,
              "mode=1777,size=64m") != 0)
    return os_error(directory + "/shm");
  TRY(write_text(directory + "/hosts", hosts_text(run, places_.hostname), 0644));
  return make_volumes(plan, run);
}

namespace {

/// A volume in memory is as large as its limit, else as the pod's memory limit (the kubelet's
/// SizeMemoryBackedVolumes); 0: half of the machine's memory, tmpfs's own default.
std::int64_t volume_bytes(const Volume& volume, const PodPlan& plan) {
  std::int64_t bytes = plan.config.memory_bytes.value_or(0);
  if (volume.size_limit)
    if (const auto limit = volume.size_limit->value(); limit && *limit > 0)
      bytes = bytes == 0 ? *limit : std::min(bytes, *limit);
  return bytes;
}

Status check_host_path(const Volume& volume) {
  struct stat info{};
  const bool there = ::stat(volume.path.c_str(), &info) == 0;
  const std::string& type = volume.type;
  const std::string field = "volume " + volume.name + ": hostPath " + volume.path;
  if (type == "DirectoryOrCreate" && !there) return make_parents(volume.path);
  if (type == "FileOrCreate" && !there) return write_text(volume.path, "", 0644);
  if (!there) return os_error(ENOENT, field);
  const mode_t kind = info.st_mode & S_IFMT;
  if (((type == "Directory" || type == "DirectoryOrCreate") && kind != S_IFDIR) ||
      ((type == "File" || type == "FileOrCreate") && kind != S_IFREG) ||
      (type == "Socket" && kind != S_IFSOCK) || (type == "CharDevice" && kind != S_IFCHR) ||
      (type == "BlockDevice" && kind != S_IFBLK))
    return plain_error(field, "is no " + type);
  return {};
}

}  // namespace

Status PodSandbox::make_volumes(const PodPlan& plan, const PodRun& run) {
  for (const Volume& volume : run.volumes) {
    if (volume.kind == Volume::Kind::host_path) {
      TRY(check_host_path(volume));
      continue;
    }
    const std::string path = places_.directory + "/volumes/" + volume.name;
    if (::mkdir(path.c_str(), 0777) != 0) return os_error(path);
    // Secrets are never on a disk, as the kubelet has it.
    if (volume.kind == Volume::Kind::memory || volume.kind == Volume::Kind::secret) {
      std::string options = "mode=0777";
      if (const std::int64_t bytes = volume_bytes(volume, plan);
          bytes > 0 && volume.kind == Volume::Kind::memory)
        options += fmt::format(",size={}", bytes);
      if (::mount("tmpfs", path.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, options.c_str()) != 0)
        return os_error(path, "cannot mount a tmpfs of " + options);
      memory_volumes_.push_back(volume.name);
    }
    for (const auto& [name, content] : volume.files)
      TRY(write_text(path + "/" + name, content, volume.mode));
    const auto group = run.security.fs_group;
    if (group && ::chown(path.c_str(), static_cast<uid_t>(-1), *group) != 0) return os_error(path);
    const bool data =
        volume.kind == Volume::Kind::config_map || volume.kind == Volume::Kind::secret;
    const mode_t mode = data ? 0755 : group ? 02777 : 0777;
    if (::chmod(path.c_str(), mode) != 0) return os_error(path);
  }
  return {};
}

namespace {

bool raise_loopback() {
  const Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  if (!socket || ::ioctl(socket.get(), SIOCGIFFLAGS, &request) != 0) return false;
  request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
  return ::ioctl(socket.get(), SIOCSIFFLAGS, &request) == 0;
}

/// Makes the namespaces and waits until its parent has opened them.
[[noreturn]] void hold(int ready, int go, int flags, const std::string& hostname) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const bool made =
      ::unshare(flags) == 0 &&
      ((flags & CLONE_NEWUTS) == 0 || ::sethostname(hostname.c_str(), hostname.size()) == 0) &&
      ((flags & CLONE_NEWNET) == 0 || raise_loopback());
  const int error = made ? 0 : errno;
  char byte = 0;
  if (::write(ready, &error, sizeof error) == sizeof error) (void)!::read(go, &byte, 1);
  ::_exit(0);
}

}  // namespace

Status PodSandbox::make_namespaces(bool host_network) {
  int ready[2], go[2];
  if (::pipe2(ready, O_CLOEXEC) != 0) return os_error("pipe");
  const Fd ready_read(ready[0]);
  Fd ready_write(ready[1]);
  if (::pipe2(go, O_CLOEXEC) != 0) return os_error("pipe");
  Fd go_read(go[0]);
  Fd go_write(go[1]);
  const int flags = CLONE_NEWIPC | (host_network ? 0 : CLONE_NEWNET | CLONE_NEWUTS);
  const pid_t pid = ::fork();
  if (pid < 0) return os_error("fork");
  if (pid == 0) {
    go_write.reset();
    hold(ready_write.get(), go_read.get(), flags, places_.hostname);
  }
  ready_write.reset();
  int error = 0;
  if (::read(ready_read.get(), &error, sizeof error) != sizeof error) error = ECHILD;
  const Status filled = error == 0 ? fill_namespaces(pid, host_network)
                                   : Status(os_error(error, "pod", "cannot make its namespaces"));
  go_write.reset();
  (void)TEMP_FAILURE_RETRY(::waitpid(pid, nullptr, 0));
  return filled;
}

/// While the holder lives: its namespaces are named by its pid.
Status PodSandbox::fill_namespaces(pid_t holder, bool host_network) {
  const auto open_namespace = [&](const char* name, Fd& target, std::string& path) -> Status {
    const std::string source = fmt::format("/proc/{}/ns/{}", holder, name);
    target = Fd(::open(source.c_str(), O_RDONLY | O_CLOEXEC));
    if (!target) return os_error(source);
    path = fmt::format("/proc/{}/fd/{}", ::getpid(), target.get());
    return {};
  };
  TRY(open_namespace("ipc", ipc_, places_.ipc));
  if (host_network) return {};
  TRY(open_namespace("net", network_, places_.network));
  TRY(open_namespace("uts", uts_, places_.uts));
  if (!connected_) return {};
  TRY(connected_->attach(holder));
  places_.address = TRY(connected_->address());
  return {};
}

}  // namespace minirun
