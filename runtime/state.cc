#include "runtime/state.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/auxv.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <climits>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/text.h"
#include "spec/validate.h"

namespace minirun {

std::string process_nonce() {
  std::array<unsigned char, 16> bytes{};
  if (const unsigned long at = ::getauxval(AT_RANDOM); at != 0)
    std::memcpy(bytes.data(), reinterpret_cast<const void*>(at), bytes.size());
  return fmt::format("{:02x}", fmt::join(bytes, ""));
}
namespace {

using json = nlohmann::ordered_json;

constexpr int record_version = 2;
constexpr const char* record_file = "record.json";
constexpr const char* init_file = "init.json";

std::string string_of(const json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

bool bool_of(const json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_boolean() && it->get<bool>();
}

std::vector<std::string> strings_of(const json& object, const char* key) {
  std::vector<std::string> strings;
  const auto it = object.find(key);
  if (it != object.end() && it->is_array())
    for (const json& item : *it)
      if (item.is_string()) strings.push_back(item.get<std::string>());
  return strings;
}

// A name may hold bytes that are not UTF-8: replaced, never thrown about.
std::string dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace

std::string to_json(const Record& record) {
  json object = {{"version", record_version},
                 {"id", record.id},
                 {"bootId", record.boot_id},
                 {"nonce", record.nonce},
                 {"cgroupMount", record.cgroup_mount},
                 {"cgroupPath", record.cgroup_path},
                 {"systemdUnit", record.systemd_unit},
                 {"created", record.created},
                 {"bundle", record.bundle},
                 {"rootfs", record.rootfs},
                 {"ociVersion", record.oci_version},
                 {"format", record.format},
                 {"startSocket", record.start_socket},
                 {"rdtGroups", record.rdt_groups},
                 {"foreground", record.foreground},
                 {"keep", record.keep},
                 {"hooks", record.hooks},
                 {"notify", record.notify},
                 {"earlyWord", record.early_word},
                 {"process", record.process},
                 {"steps", record.steps},
                 {"annotations", record.annotations},
                 {"arguments", record.arguments},
                 {"environment", record.environment}};
  return dump(object);
}

Result<Record> parse_record(std::string_view text) {
  const json object = json::parse(text, nullptr, false);
  if (!object.is_object()) return plain_error("record.json", "is not a JSON object");
  const auto version = object.find("version");
  if (version == object.end() || *version != record_version)
    return plain_error("record.json", "has another version than this minirun writes");
  Record record;
  record.id = string_of(object, "id");
  record.boot_id = string_of(object, "bootId");
  record.nonce = string_of(object, "nonce");
  record.cgroup_mount = string_of(object, "cgroupMount");
  record.cgroup_path = string_of(object, "cgroupPath");
  record.systemd_unit = string_of(object, "systemdUnit");
  record.created = string_of(object, "created");
  record.bundle = string_of(object, "bundle");
  record.rootfs = string_of(object, "rootfs");
  record.oci_version = string_of(object, "ociVersion");
  record.format = string_of(object, "format");
  record.start_socket = string_of(object, "startSocket");
  record.rdt_groups = strings_of(object, "rdtGroups");
  record.foreground = bool_of(object, "foreground");
  record.keep = bool_of(object, "keep");
  record.hooks = bool_of(object, "hooks");
  record.notify = bool_of(object, "notify");
  record.early_word = bool_of(object, "earlyWord");
  record.process = bool_of(object, "process");
  if (const auto it = object.find("steps"); it != object.end() && it->is_number_unsigned())
    record.steps = it->get<std::uint64_t>();
  record.arguments = strings_of(object, "arguments");
  record.environment = strings_of(object, "environment");
  if (const auto it = object.find("annotations"); it != object.end() && it->is_object())
    for (const auto& [key, value] : it->items())
      if (value.is_string()) record.annotations[key] = value.get<std::string>();
  if (record.id.empty()) return plain_error("record.json", "has no id");
  return record;
}

std::string to_json(const Init& init) {
  return dump({{"pid", init.pid}, {"startTime", init.start_time}, {"cgroup", init.cgroup}});
}

Result<Init> parse_init(std::string_view text) {
  const json object = json::parse(text, nullptr, false);
  if (!object.is_object()) return plain_error("init.json", "is not a JSON object");
  const auto pid = object.find("pid");
  const auto start = object.find("startTime");
  if (pid == object.end() || !pid->is_number_integer() || start == object.end() ||
      !start->is_number_unsigned())
    return plain_error("init.json", "lacks pid or startTime");
  Init init{pid->get<pid_t>(), start->get<std::uint64_t>(), string_of(object, "cgroup")};
  if (init.pid <= 0) return plain_error("init.json", "has an impossible pid");
  return init;
}

Result<StateRoot> StateRoot::open(const std::string& given, bool create) {
  StateRoot root;
  root.path_ = given;
  if (root.path_.empty()) {
    // podman clears XDG_RUNTIME_DIR to "" for root: empty is unset.
    const char* runtime = std::getenv("XDG_RUNTIME_DIR");  // NOLINT(concurrency-mt-unsafe)
    const bool own = ::getauxval(AT_EUID) != 0 && runtime != nullptr && *runtime != '\0';
    root.path_ = own ? std::string(runtime) + "/minirun" : "/run/minirun";
  }
  if (root.path_ == "/") return plain_error("--root", "\"/\" is not a state directory");
  const std::string name = (given.empty() ? "state directory " : "--root ") + root.path_;
  int fd = ::open(root.path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0 && errno == ENOENT && create) {
    for (std::size_t slash = root.path_.find('/', 1);; slash = root.path_.find('/', slash + 1)) {
      const std::string part = root.path_.substr(0, slash);
      const bool last = slash == std::string::npos;
      if (::mkdir(part.c_str(), last ? 0700 : 0755) != 0 && errno != EEXIST)
        return os_error(name, "cannot make " + part);
      if (last) break;
    }
    fd = ::open(root.path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  }
  if (fd < 0) {
    if (errno == ENOENT) return os_error(name, "no container was ever created here");
    return os_error(name);
  }
  root.fd_ = DirFd(fd);
  struct stat info{};
  if (::fstat(fd, &info) != 0) return os_error(name);
  if (info.st_uid != ::getauxval(AT_EUID) || (info.st_mode & (S_IWGRP | S_IWOTH)) != 0)
    return plain_error(name,
                       "is not ours alone: the state directory must be owned by the caller and "
                       "not writable by others");
  return root;
}

Result<std::vector<std::string>> StateRoot::ids() const {
  const int copy = ::openat(fd(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (copy < 0) return os_error(path_);
  struct CloseDir {
    void operator()(DIR* dir) const { ::closedir(dir); }
  };
  const std::unique_ptr<DIR, CloseDir> dir(::fdopendir(copy));
  if (!dir) {
    ::close(copy);
    return os_error(path_);
  }
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(dir.get())) {  // NOLINT(concurrency-mt-unsafe)
    const std::string name = entry->d_name;
    if (name.starts_with('.') || entry->d_type != DT_DIR || !validate_id(name)) continue;
    names.push_back(name);
  }
  std::ranges::sort(names);
  return names;
}

bool ContainerDir::busy() const {
  if (exclusive_) return false;
  // flock(2) belongs to the open file description, so this asks through one of its own.
  const Fd probe(::openat(fd(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  return probe && ::flock(probe.get(), LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

namespace {

/// Of proc(5) "locks", who has a flock(2) of this file:
/// "1: FLOCK  ADVISORY  WRITE 708 00:19:1234 0 EOF", and "1: -> FLOCK ..." for those that wait.
std::vector<pid_t> flock_holders(const struct stat& file, std::string_view locks) {
  const std::string wanted =
      fmt::format("{:02x}:{:02x}:{}", major(file.st_dev), minor(file.st_dev), file.st_ino);
  std::vector<pid_t> holders;
  for (const std::string_view line : split(locks, '\n')) {
    const auto words = split_words(line);
    if (words.size() < 6 || words[1] != "FLOCK" || words[5] != wanted) continue;
    pid_t pid = 0;
    std::from_chars(words[4].data(), words[4].data() + words[4].size(), pid);
    if (pid > 0) holders.push_back(pid);  // -1: in no pid namespace that we see
  }
  return holders;
}

}  // namespace

std::vector<pid_t> ContainerDir::lock_holders() const {
  struct stat info{};
  if (::fstat(fd(), &info) != 0) return {};
  const Result<std::string> locks = read_pieces("/proc/locks");
  return locks ? flock_holders(info, *locks) : std::vector<pid_t>();
}

namespace {

/// The lock of a directory that we made just now. Somebody may be removing it as a rest: waits for
/// that. EEXIST: it is another's, who made it when ours was removed before we had opened it.
int lock_new(int fd) {
  for (int round = 0; round < ContainerDir::lock_seconds * 1000; ++round) {
    if (TEMP_FAILURE_RETRY(::flock(fd, LOCK_EX | LOCK_NB)) == 0) return 0;
    if (errno != EWOULDBLOCK) return -1;
    if (::faccessat(fd, record_file, F_OK, 0) == 0) {
      errno = EEXIST;
      return -1;
    }
    ::usleep(1000);
  }
  errno = ETIMEDOUT;
  return -1;
}

}  // namespace

std::unexpected<Error> ContainerDir::exists(const std::string& id) {
  return os_error(EEXIST, id, "a container with this id exists");
}

Result<ContainerDir> ContainerDir::create(const StateRoot& root, const Record& record,
                                          std::string_view document) {
  const std::string& id = record.id;
  const std::string text = fmt::format("{}\n{}", to_json(record), document);
  // Whoever finds a directory without a record and without a lock may remove it; then the record
  // cannot be made in it. Bounded: each round means that somebody cleaned up.
  for (int round = 0; round < 100; ++round) {
    if (::mkdirat(root.fd(), id.c_str(), 0700) != 0) {
      if (errno == EEXIST) return exists(id);
      return os_error(root.path() + "/" + id);
    }
    const int fd = ::openat(root.fd(), id.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
      if (errno == ENOENT) continue;
      const int error = errno;
      ::unlinkat(root.fd(), id.c_str(), AT_REMOVEDIR);
      return os_error(error, root.path() + "/" + id);
    }
    ContainerDir dir;
    dir.id_ = id;
    dir.fd_ = Fd(fd);
    if (lock_new(dir.fd()) != 0) {
      const int error = errno;
      if (error == EEXIST) return exists(id);
      ::unlinkat(root.fd(), id.c_str(), AT_REMOVEDIR);
      return os_error(error, id, "lock");
    }
    dir.exclusive_ = true;
    Status written = write_new_file(dir.fd(), record_file, text);
    if (written) return dir;
    // Between our mkdir and our open another took the directory away and made its own: this one.
    if (written.error().errnum == EEXIST) return exists(id);
    if (written.error().errnum == ENOENT) continue;
    ::unlinkat(root.fd(), id.c_str(), AT_REMOVEDIR);
    return std::unexpected(std::move(written).error());
  }
  return os_error(EAGAIN, id, "the directory was removed each time it was made");
}

Result<ContainerDir> ContainerDir::open(const StateRoot& root, const std::string& id, Lock lock) {
  const int fd = ::openat(root.fd(), id.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) {
    if (errno == ENOENT) return plain_error(id, "container does not exist");
    return os_error(root.path() + "/" + id);
  }
  ContainerDir dir;
  dir.id_ = id;
  dir.fd_ = Fd(fd);
  if (lock == Lock::none) return dir;
  if (TEMP_FAILURE_RETRY(::flock(dir.fd(), LOCK_EX | LOCK_NB)) != 0) {
    if (errno != EWOULDBLOCK) return os_error(id, "lock");
    if (lock == Lock::try_exclusive)
      return os_error(EWOULDBLOCK, id, "another minirun is working on this container");
    TRY(dir.upgrade_lock());
  }
  dir.exclusive_ = true;
  struct stat info{};
  if (::fstat(dir.fd(), &info) != 0) return os_error(id);
  if (info.st_nlink == 0) return plain_error(id, "container does not exist");
  return dir;
}

Status ContainerDir::share_lock() {
  if (TEMP_FAILURE_RETRY(::flock(fd(), LOCK_SH)) != 0) return os_error(id_, "share the lock");
  exclusive_ = false;
  return {};
}

Status lock_patiently(int fd, const std::string& id) {
  if (TEMP_FAILURE_RETRY(::flock(fd, LOCK_EX | LOCK_NB)) == 0) return {};
  // A blocking flock(2) that an alarm ends: whoever holds the lock may be stopped or hang.
  struct sigaction quiet{}, before{};
  quiet.sa_handler = [](int) {};
  ::sigaction(SIGALRM, &quiet, &before);
  // It repeats: no race with a late flock.
  const itimerval timer{{0, 500'000}, {ContainerDir::lock_seconds, 0}};
  ::setitimer(ITIMER_REAL, &timer, nullptr);
  const int result = ::flock(fd, LOCK_EX);
  const int error = errno;
  const itimerval off{};
  ::setitimer(ITIMER_REAL, &off, nullptr);
  ::sigaction(SIGALRM, &before, nullptr);
  if (result == 0) return {};
  if (error == EINTR)
    return os_error(ETIMEDOUT, id, "another minirun has been working on this container for 5 s");
  return os_error(error, id, "lock");
}

Status ContainerDir::upgrade_lock() {
  TRY(lock_patiently(fd(), id_));
  exclusive_ = true;
  return {};
}

namespace {

/// A document of 16 MiB, and the line before it, in which its annotations stand once more, with up
/// to six characters for one.
constexpr std::size_t largest_record = 128 << 20;

}  // namespace

Result<Record> ContainerDir::record() const {
  const std::string text = TRY(read_file(fd(), record_file, largest_record));
  return parse_record(std::string_view(text).substr(0, text.find('\n')));
}

Result<std::string> ContainerDir::document() const {
  std::string text = TRY(read_file(fd(), record_file, largest_record));
  const std::size_t end = text.find('\n');
  if (end == std::string::npos) return plain_error(record_file, "has no document");
  text.erase(0, end + 1);
  return text;
}

Result<Init> ContainerDir::init() const {
  std::array<char, PATH_MAX> text;
  const ssize_t size = ::readlinkat(fd(), init_file, text.data(), text.size());
  if (size < 0 && errno == EINVAL)  // a file: of version 1
    return parse_init(TRY(read_file(fd(), init_file)));
  if (size < 0) return os_error(init_file);
  return parse_init({text.data(), static_cast<std::size_t>(size)});
}

Status ContainerDir::write_init(const Init& init) const {
  if (::symlinkat(to_json(init).c_str(), fd(), init_file) != 0) return os_error(init_file);
  return {};
}

Status ContainerDir::check_ours() const {
  struct stat info{};
  if (::fstat(fd(), &info) != 0) return os_error(id_);
  const Fd copy(::openat(fd(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!copy) return os_error(id_);
  bool record = false, others = false;
  std::string foreign = info.st_uid != ::getauxval(AT_EUID) || (info.st_mode & 077) != 0 ? "." : "";
  alignas(8) std::array<char, 4096> buffer{};
  for (long size;
       (size = ::syscall(SYS_getdents64, copy.get(), buffer.data(), buffer.size())) != 0;) {
    if (size < 0) return os_error(id_);
    for (long at = 0; at < size;) {
      // struct linux_dirent64: inode, offset, length of the entry, type, name
      std::uint16_t length = 0;
      std::memcpy(&length, buffer.data() + at + 16, sizeof length);
      const std::string_view name = buffer.data() + at + 19;
      at += length;
      if (name == "." || name == "..") continue;
      record = record || name == record_file;
      others = others || name == init_file;
      if (name != record_file && name != init_file && name != "start.sock" && name != "notify" &&
          name != "network" && name != "layer" && name != "resources.json" &&
          name != "config.json" &&  // of version 1
          !name.starts_with(".resources.json."))
        foreign = name;
    }
  }
  // `remove` takes record.json last, so that nothing else can be there without it.
  if (foreign.empty() && others && !record) foreign = "init.json without record.json";
  if (foreign.empty()) return {};
  return plain_error(
      id_, fmt::format("is not a container's directory ({}): it stays as it is", foreign));
}

Status ContainerDir::remove(const StateRoot& root) {
  // The usual files by name: reading the directory first takes twice as many system calls.
  for (const char* name : {init_file, record_file}) ::unlinkat(fd(), name, 0);
  if (::unlinkat(root.fd(), id_.c_str(), AT_REMOVEDIR) == 0) return {};
  ::unlinkat(fd(), "start.sock", 0);  // without a descriptor: there may be none left
  if (::unlinkat(root.fd(), id_.c_str(), AT_REMOVEDIR) == 0) return {};
  return remove_tree(root.fd(), id_);
}

}  // namespace minirun
