// Order: directories, state check, controllers, values, device filter; so that all limits stand
// before the first process is cloned into the cgroup. Must not: run with a limit missing.
#include "cgroups/apply.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <utility>

#include "base/text.h"
#include "cgroups/device_filter.h"
#include "cgroups/files.h"

namespace minirun {
namespace {

constexpr mode_t kMode = 0755;

Result<std::vector<std::string>> path_components(const std::string& path) {
  std::vector<std::string> names;
  for (std::string_view name : split(path, '/')) {
    if (name == "..") return plain_error(path, "contains \"..\"");
    if (!name.empty() && name != ".") names.emplace_back(name);
  }
  if (names.empty()) return plain_error(path, "names no cgroup of its own");
  return names;
}

std::string join(const std::vector<std::string>& names, std::size_t count) {
  std::string path;
  for (std::size_t i = 0; i < count; ++i) path += (i == 0 ? "" : "/") + names[i];
  return path;
}

bool has_word(std::string_view text, std::string_view word) {
  const auto words = split_words(text);
  return std::find(words.begin(), words.end(), word) != words.end();
}

// The names among `controllers` that the list `offered` lacks.
std::string lacking(std::string_view offered, const std::vector<std::string>& controllers) {
  std::string names;
  for (const std::string& name : controllers)
    if (!has_word(offered, name)) names += (names.empty() ? "" : ", ") + name;
  return names;
}

// Why a write into `ancestor`/cgroup.subtree_control was refused, in words.
Error explain_enable(const Error& error, int ancestor, const std::string& path,
                     const std::vector<std::string>& controllers) {
  Error explained = error;
  explained.object = path + "/cgroup.subtree_control";
  std::string names = fmt::format("{}", fmt::join(controllers, ", "));
  if (error.errnum == EBUSY) {
    std::string who = "processes";
    if (const auto text = read_beneath(ancestor, "cgroup.procs")) {
      std::vector<pid_t> pids;
      for (std::string_view word : split_words(*text)) {
        pid_t pid = 0;
        std::from_chars(word.data(), word.data() + word.size(), pid);
        pids.push_back(pid);
      }
      if (!pids.empty()) who = describe_pids(pids);
    }
    explained.detail = fmt::format(
        "cannot enable {}: a cgroup with processes of its own cannot pass controllers on (the "
        "no-internal-processes rule), and here sit {}; move them to a child cgroup, or choose "
        "another cgroupsPath",
        names, who);
  } else if (error.errnum == ENOENT) {
    if (const auto offered = read_beneath(ancestor, "cgroup.controllers"))
      names = lacking(*offered, controllers);
    explained.detail = fmt::format(
        "cannot enable {}: not delegated, the cgroup above {} lacks it in its "
        "cgroup.subtree_control; with systemd set Delegate=yes",
        names, path.empty() ? "the mount" : path);
  } else {
    explained.detail = fmt::format(
        "cannot enable {}: not delegated to us, {} lacks it in cgroup.subtree_control and we may "
        "not write there; with systemd set Delegate=yes",
        names, path.empty() ? "the root of the mount" : path);
  }
  return explained;
}

Status enable_in(int ancestor, const std::string& path,
                 const std::vector<std::string>& controllers) {
  std::string value;
  for (const std::string& name : controllers) value += (value.empty() ? "+" : " +") + name;
  const Status written = write_beneath(ancestor, "cgroup.subtree_control", value);
  if (written) return {};
  // Somebody else's cgroup, with the controllers on already: that is what delegation looks like.
  const auto enabled = read_beneath(ancestor, "cgroup.subtree_control");
  if (enabled && std::all_of(controllers.begin(), controllers.end(),
                             [&](const std::string& name) { return has_word(*enabled, name); }))
    return {};
  return std::unexpected(explain_enable(written.error(), ancestor, path, controllers));
}

// Enables what the leaf lacks in every cgroup above it, from the mount downwards. Where another
// container did so before, the leaf lacks nothing and this is one read.
Status enable_controllers(const DirFd& mount, const CgroupFd& leaf,
                          const std::vector<std::string>& names,
                          const std::vector<std::string>& controllers) {
  const std::string offered = TRY(read_beneath(leaf.get(), "cgroup.controllers"));
  std::vector<std::string> missing;
  for (const std::string& name : controllers)
    if (!has_word(offered, name)) missing.push_back(name);
  if (missing.empty()) return {};
  for (std::size_t depth = 0; depth < names.size(); ++depth) {
    const std::string below = depth == 0 ? "." : join(names, depth);
    const Fd ancestor(open_beneath(mount.get(), below.c_str(), O_PATH | O_DIRECTORY));
    if (!ancestor) return os_error("/" + below);
    const std::string shown = depth == 0 ? "" : "/" + below;
    if (Status enabled = enable_in(ancestor.get(), shown, missing); !enabled) return enabled;
  }
  return {};
}

std::string hint(const CgroupWrite& write, int errnum) {
  switch (errnum) {
    case ENOENT:
      if (write.controller == "io" && write.if_absent == IfAbsent::write)
        return "the kernel has neither BFQ nor io.weight (CONFIG_BLK_CGROUP_IOCOST)";
      if (write.controller == "hugetlb") return "the kernel has no huge pages of this size";
      return "this kernel has no such file";
    case ENODEV:
      return "no such device";
    case EINVAL:
      return "the kernel does not accept this value";
    case ERANGE:
      return "the value is out of range";
    case EBUSY:
      return "in use";
    default:
      return "";
  }
}

Error explain_write(const Error& error, const CgroupWrite& write) {
  Error explained = error;
  explained.object = write.file;
  std::string why = hint(write, error.errnum);
  explained.detail = fmt::format("cannot write \"{}\", from {}{}{}", write.value, write.source,
                                 why.empty() ? "" : ": ", why);
  return explained;
}

Status apply_write(const CgroupFd& cgroup, const CgroupWrite& write) {
  Status done = write_beneath(cgroup.get(), write.file.c_str(), write.value);
  if (!done && done.error().errnum == ENOENT && write.if_absent == IfAbsent::skip) return {};
  if (!done && done.error().errnum == ENOENT && write.if_absent == IfAbsent::write)
    done = write_beneath(cgroup.get(), write.else_file.c_str(), write.else_value);
  if (done) return {};
  return std::unexpected(explain_write(done.error(), write));
}

// OCI memory.checkBeforeUpdate: lowering memory.max below the usage would reclaim and then kill.
Status check_memory(const CgroupFd& cgroup, const CgroupPlan& plan) {
  for (const CgroupWrite& write : plan.writes) {
    const bool swap = write.file == "memory.swap.max";
    if ((!swap && write.file != "memory.max") || write.value == "max") continue;
    const char* usage_file = swap ? "memory.swap.current" : "memory.current";
    const auto usage = read_beneath(cgroup.get(), usage_file);
    if (!usage && usage.error().errnum == ENOENT) continue;  // nothing is used without a counter
    if (!usage) return std::unexpected(usage.error());
    const std::uint64_t used = leading_number(*usage).value_or(0);
    if (used > 0 && leading_number(write.value).value_or(0) <= used)
      return plain_error(write.file,
                         fmt::format("{} (from {}) is not above the current usage of {} bytes, "
                                     "and checkBeforeUpdate asks to refuse that",
                                     write.value, write.source, used));
  }
  return {};
}

/// The write that undoes `write`: what its file says now about the same device or name.
/// Errors: the file cannot be read.
Result<CgroupWrite> opposite(const CgroupFd& cgroup, CgroupWrite write) {
  Result<std::string> text = read_beneath(cgroup.get(), write.file.c_str());
  if (!text && text.error().errnum == ENOENT && write.if_absent == IfAbsent::write) {
    write.file = std::exchange(write.else_file, {});
    write.value = std::exchange(write.else_value, {});
    write.if_absent = IfAbsent::fail;
    text = read_beneath(cgroup.get(), write.file.c_str());
  }
  if (!text && text.error().errnum == ENOENT) return write;  // writing it says why
  if (!text) return std::unexpected(std::move(text).error());
  const auto words = split_words(write.value);
  const bool io = write.file == "io.max" || write.file == "io.weight" ||
                  write.file == "io.bfq.weight" || write.file == "io.latency";
  const bool keyed = words.size() > 1 && (io || write.file == "rdma.max" ||
                                          write.file == "misc.max" || write.file == "dmem.max");
  const std::string key(keyed ? words[0] : io ? "default" : "");
  for (std::string_view line : split(*text, '\n')) {
    const auto now = split_words(line);
    if (now.empty()) continue;
    if (!key.empty() && now[0] != key && now.size() > 1) continue;
    write.value = line;
    return write;
  }
  if (write.file == "io.max")
    write.value = key + " rbps=max wbps=max riops=max wiops=max";
  else if (keyed)
    write.value = key + (io ? " default" : " max");
  else if (write.file.starts_with("cpuset."))
    write.value = "\n";  // an empty list
  return write;
}

/// Each value or none of them.
Status write_or_restore(const CgroupFd& cgroup, const CgroupPlan& plan) {
  if (plan.check_memory) TRY(check_memory(cgroup, plan));
  std::vector<CgroupWrite> undo;
  for (const CgroupWrite& write : plan.writes) {
    undo.push_back(TRY(opposite(cgroup, write)));
    Status written = apply_write(cgroup, write);
    if (written) continue;
    undo.pop_back();
    for (auto old = undo.rbegin(); old != undo.rend(); ++old)
      if (const Status restored = apply_write(cgroup, *old); !restored)
        written.error().detail +=
            fmt::format("; {} could not be put back to \"{}\"", old->file, old->value);
    return written;
  }
  return {};
}

Status write_values(const CgroupFd& cgroup, const CgroupPlan& plan) {
  if (plan.check_memory)
    if (Status checked = check_memory(cgroup, plan); !checked) return checked;
  for (const CgroupWrite& write : plan.writes)
    if (Status written = apply_write(cgroup, write); !written) return written;
  return {};
}

}  // namespace

/// The steps of Cgroup::create; a friend, so that they are not in the header.
struct CgroupMaker {
  Cgroup cgroup;
  std::vector<std::string> names;

  // True: made by this call. False: it was there. By its path: a cgroup2 tree has no links.
  Result<bool> make(std::size_t depth) {
    const std::string path = join(names, depth);
    if (::mkdirat(cgroup.mount_.get(), path.c_str(), kMode) == 0) {
      cgroup.made_.push_back(path);
      return true;
    }
    if (errno == EEXIST) return false;
    return os_error("/" + path, "cannot make the cgroup");
  }

  static bool missing(const Result<bool>& made) {
    return !made && (made.error().errnum == ENOENT || made.error().errnum == ENODEV);
  }

  // The leaf; what is above it only where that is missing.
  Result<bool> make_path() {
    Result<bool> leaf = make(names.size());
    if (!missing(leaf)) return leaf;
    for (std::size_t depth = 1; depth < names.size(); ++depth) TRY(make(depth));
    return make(names.size());
  }

  // The leaf below cgroups that another container may remove at any moment, because they are
  // empty. True: the leaf existed.
  Result<bool> make_leaf() {
    for (int attempt = 0;; ++attempt) {
      Result<bool> made = make_path();
      if (made) {
        cgroup.leaf_ = CgroupFd(
            open_beneath(cgroup.mount_.get(), cgroup.path_.c_str() + 1, O_RDONLY | O_DIRECTORY));
        if (cgroup.leaf_) return !*made;
        made = os_error(cgroup.path_, errno == ENOTDIR ? "is the name of a control file" : "");
      }
      constexpr int kAttempts = 100;
      if (!missing(made) || attempt == kAttempts) return made;
    }
  }

  // A new cgroup below a frozen one is frozen too: a process cloned into it would never start.
  Status check_state(bool existed) {
    const CgroupEvents events = TRY(read_cgroup_events(cgroup.leaf_));
    // Not ours to kill in, then.
    if (existed && (events.populated || events.frozen)) cgroup.kept_ = true;
    if (events.populated) {
      const auto pids = cgroup_pids(cgroup.leaf_, true);
      return plain_error(
          cgroup.path_, fmt::format("is not empty: {}", pids ? describe_pids(*pids) : "processes"));
    }
    if (events.frozen)
      return plain_error(cgroup.path_, existed ? "exists and is frozen"
                                               : "would be frozen like a cgroup above it");
    return {};
  }

  // The scope that systemd has made with our placeholder in it; it goes when that goes.
  Status adopt() {
    const std::string leaf = join(names, names.size());
    cgroup.leaf_ =
        CgroupFd(open_beneath(cgroup.mount_.get(), leaf.c_str(), O_RDONLY | O_DIRECTORY));
    if (!cgroup.leaf_) return os_error(cgroup.path_, "systemd made the scope elsewhere");
    cgroup.made_.push_back(leaf);
    if (TRY(read_cgroup_events(cgroup.leaf_)).frozen)
      return plain_error(cgroup.path_, "would be frozen like a cgroup above it");
    return {};
  }

  Status run(const CgroupPlan& plan) {
    cgroup.kept_ = false;
    if (plan.scope) {
      TRY(adopt());
    } else {
      const bool existed = TRY(make_leaf());
      if (Status checked = check_state(existed); !checked) return checked;
    }
    if (!plan.controllers.empty())
      if (Status enabled = enable_controllers(cgroup.mount_, cgroup.leaf_, names, plan.controllers);
          !enabled)
        return enabled;
    if (Status written = write_values(cgroup.leaf_, plan); !written) return written;
    if (plan.attach_devices) return attach_device_filter(cgroup.leaf_, plan.devices);
    return {};
  }
};

Result<Cgroup> Cgroup::create(const CgroupPlan& plan, const CgroupFacts& facts) {
  CgroupMaker maker{Cgroup(), TRY(path_components(plan.path))};
  maker.cgroup.path_ = "/" + join(maker.names, maker.names.size());
  maker.cgroup.mount_ = TRY(open_cgroup_mount(facts));
  if (Status done = maker.run(plan); !done)
    return std::unexpected(std::move(done).error().in(fmt::format("cgroup {}", plan.path)));
  return std::move(maker.cgroup);
}

Cgroup::Cgroup(Cgroup&& other) noexcept
    : mount_(std::move(other.mount_)),
      leaf_(std::move(other.leaf_)),
      path_(std::move(other.path_)),
      made_(std::move(other.made_)),
      kept_(std::exchange(other.kept_, true)) {}

Cgroup& Cgroup::operator=(Cgroup&& other) noexcept {
  if (this != &other) {
    [[maybe_unused]] const Status removed = remove();  // nobody left to hear of it
    mount_ = std::move(other.mount_);
    leaf_ = std::move(other.leaf_);
    path_ = std::move(other.path_);
    made_ = std::move(other.made_);
    kept_ = std::exchange(other.kept_, true);
  }
  return *this;
}

Cgroup::~Cgroup() {
  (void)remove();
}

Status Cgroup::remove() {
  if (std::exchange(kept_, true)) return {};
  Status result;
  const std::string leaf = path_.substr(1);
  const bool own_leaf = !made_.empty() && made_.back() == leaf;
  const std::size_t slash = leaf.rfind('/');
  const std::string above = slash == std::string::npos ? "." : leaf.substr(0, slash);
  if (own_leaf) {
    made_.pop_back();
    Fd parent;
    const bool gone = ::unlinkat(mount_.get(), leaf.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT;
    if (!gone) {
      leaf_.reset();  // whoever ran out of descriptors needs one for the next call
      parent = Fd(open_beneath(mount_.get(), above.c_str(), O_PATH | O_DIRECTORY));
    }
    if (parent)
      result = remove_cgroup_at(parent.get(), leaf.substr(slash == leaf.npos ? 0 : slash + 1));
    else if (!gone && errno != ENOENT)
      result = os_error(above);
  } else if (leaf_) {  // it was there before us, empty
    result = kill_cgroup(leaf_);
    if (const auto empty = wait_until_empty(leaf_); result && !empty)
      result = std::unexpected(empty.error());
  }
  // What all containers share is removed by the last one of them, if it may.
  if (own_leaf && (made_.empty() || made_.back() != above) && is_shared_parent(above))
    (void)::unlinkat(mount_.get(), above.c_str(), AT_REMOVEDIR);
  // EBUSY: another container moved in below. The kernel decides it atomically.
  while (!made_.empty()) {
    if (::unlinkat(mount_.get(), made_.back().c_str(), AT_REMOVEDIR) != 0 && errno != EBUSY &&
        errno != ENOENT && result)
      result = os_error("/" + made_.back(), "cannot remove the cgroup");
    made_.pop_back();
  }
  return result;
}

Status update_cgroup(const CgroupPlan& plan, const CgroupFacts& facts) {
  const auto names = TRY(path_components(plan.path));
  const DirFd mount = TRY(open_cgroup_mount(facts));
  const std::string below = join(names, names.size());
  const CgroupFd leaf(open_beneath(mount.get(), below.c_str(), O_RDONLY | O_DIRECTORY));
  if (!leaf) return os_error(plan.path);
  if (Status enabled = enable_controllers(mount, leaf, names, plan.controllers); !enabled)
    return enabled;
  return write_or_restore(leaf, plan);
}

Status delegate_cgroup(const CgroupFd& cgroup, uid_t uid, gid_t gid) {
  if (::fchown(cgroup.get(), uid, gid) != 0) return os_error("cgroup directory", "chown");
  std::string files = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";
  const Fd list(::open("/sys/kernel/cgroup/delegate", O_RDONLY | O_CLOEXEC));
  if (list) files = TRY(read_all(list.get(), "/sys/kernel/cgroup/delegate"));
  for (std::string_view line : split(files, '\n')) {
    const std::string name(line);
    // The list is of all controllers, also of those that are not enabled here.
    if (name.empty() || name.find('/') != std::string::npos) continue;
    if (::fchownat(cgroup.get(), name.c_str(), uid, gid, AT_SYMLINK_NOFOLLOW) != 0 &&
        errno != ENOENT)
      return os_error(name, "chown");
  }
  return {};
}

}  // namespace minirun
