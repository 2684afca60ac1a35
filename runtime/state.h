// Owns: what is on disk about containers: <root>/<id>/ with record.json (immutable, written before
// the first resource exists: a line of ours, and behind it the user's document as it was given),
// init.json (once the container is committed: a symbolic link whose target is the text, since that
// is one system call and there whole or not at all) and start.sock. The directory is the lock.
// Must not: touch processes or cgroups, or store a status: that is derived (runtime/status.h).
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

namespace minirun {

/// Everything that is needed to find and remove a container; written once, O_EXCL.
struct Record {
  std::string id;
  std::string boot_id;       ///< /proc/sys/kernel/random/boot_id
  std::string nonce;         ///< tells two containers of one id apart
  std::string cgroup_mount;  ///< where cgroup2 is mounted
  std::string cgroup_path;   ///< below it; empty: no cgroup of its own
  std::string systemd_unit;  ///< the scope that systemd made at it; empty: we made it
  std::string created;       ///< RFC 3339, UTC, nanoseconds
  std::string bundle;        ///< absolute; the directory of the document
  std::string rootfs;        ///< what `state` shows
  std::string oci_version;
  std::string format;                   ///< "oci" or "short": how to read the document again
  std::string start_socket;             ///< empty: the container was started by `run`
  std::vector<std::string> rdt_groups;  ///< of resctrl, made for it: removed with it
  bool foreground = false;  ///< it dies with its `minirun run`; `gc` may remove the rest
  bool keep = false;        ///< `run --keep`: not removed at the end
  bool hooks = false;       ///< the document has hooks: read again where they are due
  bool notify = false;      ///< has a directory for a NOTIFY_SOCKET
  bool early_word = false;  ///< committed before the first process was ready (LaunchPlan)
  bool process = true;      ///< the document has what `start` needs
  std::uint64_t steps = 0;  ///< of the child's plan; with it `start` names the one that failed
  std::map<std::string, std::string> annotations;
  std::vector<std::string> arguments;    ///< `run SPEC -- COMMAND`: replaces the document's
  std::vector<std::string> environment;  ///< `run --env`: added to the document's
  bool operator==(const Record&) const = default;
};

/// 32 hexadecimal digits that the kernel drew for this process (getauxval(3), AT_RANDOM): the nonce
/// of the one container that it creates. No system call.
[[nodiscard]] std::string process_nonce();

/// The first process, by pid and start time (clock ticks since boot, proc(5) stat field 22).
struct Init {
  pid_t pid = 0;
  std::uint64_t start_time = 0;
  std::string
      cgroup;  ///< as in the record: one unreadable file must not hide what is to be removed
  bool operator==(const Init&) const = default;
};

[[nodiscard]] std::string to_json(const Record& record);
/// Of the first line of record.json.
[[nodiscard]] Result<Record> parse_record(std::string_view text);
[[nodiscard]] std::string to_json(const Init& init);
[[nodiscard]] Result<Init> parse_init(std::string_view text);

/// The directory of all containers. Refuses one that others could write to (SEC-49).
class StateRoot {
 public:
  /// `path` empty: /run/minirun for root, $XDG_RUNTIME_DIR/minirun for others.
  static Result<StateRoot> open(const std::string& path, bool create);

  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] const std::string& path() const { return path_; }
  /// Names in it that are ids, sorted.
  [[nodiscard]] Result<std::vector<std::string>> ids() const;

 private:
  DirFd fd_;
  std::string path_;
};

enum class Lock { none, try_exclusive, exclusive };

/// An exclusive flock(2) of `fd`, waiting for at most ContainerDir::lock_seconds.
/// Error ETIMEDOUT: another minirun has had it all that time.
[[nodiscard]] Status lock_patiently(int fd, const std::string& id);

/// The open directory of one container and, while it lives, its lock.
class ContainerDir {
 public:
  /// Makes the directory, locks it and writes its record. Error: exists(), also when ours was
  /// removed before it was open and another made his in its place.
  static Result<ContainerDir> create(const StateRoot& root, const Record& record,
                                     std::string_view document);

  /// Opens an existing one. Errors: ENOENT "container does not exist"; EWOULDBLOCK when another
  /// minirun works on it (try_exclusive); ETIMEDOUT after `lock_seconds` (exclusive).
  static Result<ContainerDir> open(const StateRoot& root, const std::string& id, Lock lock);
  /// EEXIST: the id is in use, or a crashed create is in the way.
  static std::unexpected<Error> exists(const std::string& id);
  static constexpr int lock_seconds = 5;

  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] const std::string& id() const { return id_; }

  /// True while another minirun has the exclusive lock: a create or delete is going on.
  [[nodiscard]] bool busy() const;

  /// The processes that have the lock, exclusive or shared; without those that /proc/locks does not
  /// show (of another pid namespace, or on btrfs).
  [[nodiscard]] std::vector<pid_t> lock_holders() const;

  /// Who serves a container that others may look at keeps a shared lock for its life.
  [[nodiscard]] Status share_lock();
  [[nodiscard]] Status upgrade_lock();

  [[nodiscard]] Result<Record> record() const;
  [[nodiscard]] Result<std::string> document() const;
  [[nodiscard]] Result<Init> init() const;
  /// Commits the container. Errors: EEXIST; ENAMETOOLONG for a cgroup path that is longer than a
  /// link's target may be (4 KiB, on XFS 1 KiB).
  [[nodiscard]] Status write_init(const Init& init) const;

  /// Fails unless there is nothing here but what a create makes: a wrong --root must not cost
  /// anybody their files. For a directory whose record cannot be read.
  [[nodiscard]] Status check_ours() const;

  /// Removes the directory with all that is in it.
  [[nodiscard]] Status remove(const StateRoot& root);

 private:
  Fd fd_;
  std::string id_;
  bool exclusive_ = false;
};

}  // namespace minirun
