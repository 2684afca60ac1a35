// Owns: the file format of the cache, and its reading, writing and bounding.
// Must not: trust a file because of its name, or fail a start.
#include "security/seccomp_cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/filter.h>
#include <linux/openat2.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

namespace minirun {
namespace {

/// Raise it whenever compile_seccomp() or the layout of a file changes.
constexpr std::uint32_t format_version = 1;
constexpr std::uint64_t magic = 0x70636573'6e75726d;  // "mrunsecp"

/// A file is this header, the key, the filter, the warnings (each a 32-bit length and its text).
struct Header {
  std::uint64_t magic = 0;
  std::uint64_t checksum = 0;  ///< of all that follows this field
  std::uint32_t format = 0;
  std::uint32_t flags = 0;
  std::uint32_t notify = 0;
  std::uint32_t key_bytes = 0;
  std::uint32_t instructions = 0;
  std::uint32_t warning_bytes = 0;
};
static_assert(sizeof(Header) == 40 && std::is_trivially_copyable_v<Header>);
constexpr std::size_t checksum_from = offsetof(Header, format);

/// A hash to find files and notice damage, not to resist anyone: who could write the file may do
/// what we may. One multiplication for 8 bytes: 1 us for a default profile of 6 kB.
std::uint64_t hash64(std::string_view bytes) {
  std::uint64_t hash = 0x9e3779b97f4a7c15 ^ bytes.size();
  while (!bytes.empty()) {
    std::uint64_t word = 0;
    const std::size_t taken = std::min(bytes.size(), sizeof word);
    std::memcpy(&word, bytes.data(), taken);
    bytes.remove_prefix(taken);
    hash = (hash ^ word) * 0xff51afd7ed558ccd;
    hash ^= hash >> 32;
  }
  return hash;
}

// ---------------------------------------------------------------- the key

void put(std::string& out, std::uint64_t value) {
  char bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  out.append(bytes, sizeof bytes);
}

void put(std::string& out, std::string_view text) {
  put(out, std::uint64_t{text.size()});
  out.append(text);
}

void put(std::string& out, const std::vector<std::string>& list) {
  put(out, std::uint64_t{list.size()});
  for (const std::string& text : list) put(out, std::string_view(text));
}

void put(std::string& out, std::optional<std::uint32_t> value) {
  put(out, value ? std::uint64_t{*value} : ~std::uint64_t{0});
}

// ---------------------------------------------------------------- reading

/// Takes the next part of a file; none when it is shorter than it says.
std::optional<std::string_view> take(std::string_view& rest, std::size_t bytes) {
  if (rest.size() < bytes) return std::nullopt;
  const std::string_view part = rest.substr(0, bytes);
  rest.remove_prefix(bytes);
  return part;
}

std::optional<std::vector<std::string>> read_warnings(std::string_view rest) {
  std::vector<std::string> warnings;
  while (!rest.empty()) {
    const auto length_bytes = take(rest, sizeof(std::uint32_t));
    if (!length_bytes) return std::nullopt;
    std::uint32_t length = 0;
    std::memcpy(&length, length_bytes->data(), sizeof length);
    const auto text = take(rest, length);
    if (!text) return std::nullopt;
    warnings.emplace_back(*text);
  }
  return warnings;
}

std::optional<SeccompProgram> parse_entry(std::string_view file, std::string_view key) {
  std::string_view rest = file;
  const auto header_bytes = take(rest, sizeof(Header));
  if (!header_bytes) return std::nullopt;
  Header header;
  std::memcpy(&header, header_bytes->data(), sizeof header);
  if (header.magic != magic || header.format != format_version) return std::nullopt;
  if (header.instructions == 0 || header.instructions > BPF_MAXINSNS) return std::nullopt;
  if (header.checksum != hash64(file.substr(checksum_from))) return std::nullopt;

  const auto stored_key = take(rest, header.key_bytes);
  if (!stored_key || *stored_key != key) return std::nullopt;
  const auto filter = take(rest, header.instructions * sizeof(std::uint64_t));
  if (!filter || rest.size() != header.warning_bytes) return std::nullopt;
  auto warnings = read_warnings(rest);
  if (!warnings) return std::nullopt;

  SeccompProgram program;
  program.filter.resize(header.instructions);
  std::memcpy(program.filter.data(), filter->data(), filter->size());
  program.flags = header.flags;
  program.notify = header.notify != 0;
  program.warnings = std::move(*warnings);
  return program;
}

/// No symlink on the way, and nothing outside of `root`: an entry that points elsewhere is no
/// entry.
Fd open_below(int root, const std::string& path, unsigned flags) {
  open_how how{};
  how.flags = flags | O_CLOEXEC | O_NOFOLLOW;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
  return Fd{static_cast<int>(::syscall(SYS_openat2, root, path.c_str(), &how, sizeof how))};
}

bool is_ours_alone(const struct stat& facts) {
  return facts.st_uid == ::getauxval(AT_EUID) && (facts.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

std::optional<SeccompProgram> load(int root, const std::string& path, std::string_view key) {
  // O_NONBLOCK: a FIFO in its place must not hang us.
  const Fd file = open_below(root, path, O_RDONLY | O_NONBLOCK);
  if (!file) return std::nullopt;
  struct stat facts{};
  if (::fstat(file.get(), &facts) != 0 || !S_ISREG(facts.st_mode) || facts.st_nlink != 1 ||
      !is_ours_alone(facts) || facts.st_size < 0 ||
      static_cast<std::size_t>(facts.st_size) > seccomp_cache_max_entry_bytes)
    return std::nullopt;
  std::string content(static_cast<std::size_t>(facts.st_size), '\0');
  const ssize_t got = ::read(file.get(), content.data(), content.size());
  // An interrupted or short read is a miss like any other.
  if (got != facts.st_size) return std::nullopt;
  return parse_entry(content, key);
}

// ---------------------------------------------------------------- writing

std::string make_entry(const SeccompProgram& program, std::string_view key) {
  std::string warnings;
  for (const std::string& warning : program.warnings) {
    const auto length = static_cast<std::uint32_t>(warning.size());
    char bytes[sizeof length];
    std::memcpy(bytes, &length, sizeof length);
    warnings.append(bytes, sizeof bytes).append(warning);
  }
  Header header;
  header.magic = magic;
  header.format = format_version;
  header.flags = program.flags;
  header.notify = program.notify ? 1 : 0;
  header.key_bytes = static_cast<std::uint32_t>(key.size());
  header.instructions = static_cast<std::uint32_t>(program.filter.size());
  header.warning_bytes = static_cast<std::uint32_t>(warnings.size());

  std::string file(sizeof header, '\0');
  std::memcpy(file.data(), &header, sizeof header);
  file.append(key);
  const std::size_t filter_at = file.size();
  file.resize(filter_at + program.filter.size() * sizeof(std::uint64_t));
  std::memcpy(&file[filter_at], program.filter.data(),
              program.filter.size() * sizeof(std::uint64_t));
  file.append(warnings);
  header.checksum = hash64(std::string_view(file).substr(checksum_from));
  std::memcpy(file.data(), &header, sizeof header);
  return file;
}

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

/// Makes room for one more: the oldest go, and what a killed minirun left half written counts too.
void evict(const Fd& folder) {
  const int copy = ::openat(folder.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (copy < 0) return;
  const std::unique_ptr<DIR, CloseDirectory> directory(::fdopendir(copy));
  if (!directory) {
    ::close(copy);
    return;
  }
  std::vector<std::pair<std::int64_t, std::string>> entries;
  while (const dirent* entry = ::readdir(directory.get())) {
    const std::string_view name = entry->d_name;
    struct stat facts{};
    if (name == "." || name == ".." ||
        ::fstatat(folder.get(), entry->d_name, &facts, AT_SYMLINK_NOFOLLOW) != 0)
      continue;
    entries.emplace_back(std::int64_t{facts.st_mtim.tv_sec} * 1'000'000'000 + facts.st_mtim.tv_nsec,
                         name);
  }
  if (entries.size() < seccomp_cache_max_entries) return;
  std::ranges::sort(entries);
  entries.resize(entries.size() - seccomp_cache_max_entries + 1);
  for (const auto& [time, name] : entries) ::unlinkat(folder.get(), name.c_str(), 0);
}

bool write_all(const Fd& file, std::string_view content) {
  while (!content.empty()) {
    const ssize_t written = ::write(file.get(), content.data(), content.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    content.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

/// Best effort: a full or read-only file system leaves no entry and no trace.
void store(int root, const std::string& folder_name, const std::string& name,
           std::string_view content) {
  if (content.size() > seccomp_cache_max_entry_bytes) return;
  if (::mkdirat(root, folder_name.c_str(), 0700) != 0 && errno != EEXIST) return;
  const Fd folder = open_below(root, folder_name, O_RDONLY | O_DIRECTORY);
  struct stat facts{};
  if (!folder || ::fstat(folder.get(), &facts) != 0 || !is_ours_alone(facts)) return;
  evict(folder);
  // One name for each process: O_EXCL keeps two threads or a leftover of our pid from mixing.
  const std::string temporary = fmt::format("{}.{}", name, ::getpid());
  const Fd file{::openat(folder.get(), temporary.c_str(),
                         O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)};
  if (!file) {
    if (errno == EEXIST) ::unlinkat(folder.get(), temporary.c_str(), 0);
    return;
  }
  // No fsync: the checksum finds what a crash left behind.
  if (!write_all(file, content) ||
      ::renameat(folder.get(), temporary.c_str(), folder.get(), name.c_str()) != 0)
    ::unlinkat(folder.get(), temporary.c_str(), 0);
}

}  // namespace

std::string seccomp_cache_key(const Seccomp& seccomp) {
  std::string key;
  key.reserve(16 * 1024);
  put(key, std::string_view(MINIRUN_VERSION));
  put(key, std::string_view(libseccomp_version()));
  put(key, std::uint64_t{format_version});
#if defined(__x86_64__)
  put(key, std::string_view("x86_64"));
#elif defined(__aarch64__)
  put(key, std::string_view("aarch64"));
#else
#error "name the architecture here"
#endif
  put(key, std::string_view(seccomp.default_action));
  put(key, seccomp.default_errno_ret);
  put(key, seccomp.architectures);
  put(key, std::uint64_t{seccomp.flags.has_value()});
  if (seccomp.flags) put(key, *seccomp.flags);
  put(key, std::uint64_t{seccomp.syscalls.size()});
  for (const SeccompSyscall& syscall : seccomp.syscalls) {
    put(key, syscall.names);
    put(key, std::string_view(syscall.action));
    put(key, syscall.errno_ret);
    put(key, std::uint64_t{syscall.args.size()});
    for (const SeccompArg& arg : syscall.args) {
      put(key, std::uint64_t{arg.index});
      put(key, arg.value);
      put(key, arg.value_two);
      put(key, std::string_view(arg.op));
    }
  }
  return key;  // listenerPath and listenerMetadata do not reach the program
}

std::string seccomp_cache_name(std::string_view key) {
  return fmt::format("{:016x}", hash64(key));
}

Result<SeccompProgram> cached_seccomp(const Seccomp& seccomp, int root, std::string_view folder) {
  const std::string key = seccomp_cache_key(seccomp);
  const std::string name = seccomp_cache_name(key);
  const std::string folder_name{folder};
  if (auto program = load(root, folder_name + "/" + name, key)) return std::move(*program);
  SeccompProgram program = TRY(compile_seccomp(seccomp));
  store(root, folder_name, name, make_entry(program, key));
  return program;
}

}  // namespace minirun
