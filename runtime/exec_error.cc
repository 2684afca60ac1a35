#include "runtime/exec_error.h"

#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>

#include "base/fd.h"
#include "base/file.h"

namespace minirun {
namespace {

#if defined(__x86_64__)
constexpr unsigned own_machine = EM_X86_64, own_machine_32 = EM_386;
constexpr const char* own_name = "x86-64";
#else
constexpr unsigned own_machine = EM_AARCH64, own_machine_32 = EM_ARM;
constexpr const char* own_name = "AArch64";
#endif

std::string machine_name(unsigned machine) {
  struct Row {
    unsigned machine;
    const char* name;
  };
  static constexpr Row rows[] = {{EM_X86_64, "x86-64"},  {EM_AARCH64, "AArch64"},
                                 {EM_386, "32-bit x86"}, {EM_ARM, "32-bit ARM"},
                                 {EM_RISCV, "RISC-V"},   {EM_PPC64, "PowerPC"},
                                 {EM_S390, "S/390"},     {EM_MIPS, "MIPS"}};
  for (const Row& row : rows)
    if (row.machine == machine) return row.name;
  return fmt::format("ELF machine {}", machine);
}

Fd open_below(int root, const std::string& path, std::uint64_t flags) {
  open_how how{};
  how.flags = flags | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  return Fd(static_cast<int>(::syscall(SYS_openat2, root, path.c_str(), &how, sizeof how)));
}

std::string printable(std::string_view text) {
  std::string out(text.substr(0, 200));
  for (char& c : out)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  return out;
}

/// The beginning of a regular file; of anything else nothing, and it is not opened: that alone may
/// block, or make a device act.
std::string head_of(int root, const std::string& path, std::size_t limit) {
  const Fd place = open_below(root, path, O_PATH);
  struct stat info{};
  if (!place || ::fstat(place.get(), &info) != 0 || !S_ISREG(info.st_mode)) return {};
  const std::string same = fmt::format("/proc/self/fd/{}", place.get());
  const Fd file(::open(same.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  std::string head(limit, '\0');
  const ssize_t size = file ? ::pread(file.get(), head.data(), head.size(), 0) : 0;
  head.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
  return head;
}

/// "#!/bin/sh -e" -> "/bin/sh"
std::string interpreter_of(std::string_view head) {
  std::string_view line =
      head.substr(2, head.find('\n') == head.npos ? head.npos : head.find('\n') - 2);
  const std::size_t begin = line.find_first_not_of(" \t");
  if (begin == line.npos) return {};
  line.remove_prefix(begin);
  return std::string(line.substr(0, line.find_first_of(" \t")));
}

template <class Header, class Segment>
std::string loader_in(std::string_view head) {
  Header header{};
  if (head.size() < sizeof header) return {};
  std::memcpy(&header, head.data(), sizeof header);
  for (unsigned i = 0; i < std::min<unsigned>(header.e_phnum, 64); ++i) {
    const std::uint64_t at = header.e_phoff + std::uint64_t{i} * header.e_phentsize;
    Segment segment{};
    if (at > head.size() || head.size() - at < sizeof segment) return {};
    std::memcpy(&segment, head.data() + at, sizeof segment);
    if (segment.p_type != PT_INTERP) continue;
    const std::uint64_t from = segment.p_offset;
    if (from >= head.size()) return {};
    const std::string_view rest = head.substr(from, segment.p_filesz);
    return std::string(rest.substr(0, rest.find('\0')));
  }
  return {};
}

class Examination {
 public:
  Examination(const ProgramPlace& place, std::string path, int errnum)
      : place_(place), path_(std::move(path)), errnum_(errnum) {}

  /// nullopt: no such file.
  std::optional<std::string> cause() {
    const Fd file = open_below(place_.root, path_, O_PATH);
    if (!file) return std::nullopt;
    struct stat info{};
    if (::fstat(file.get(), &info) != 0) return std::nullopt;
    if (S_ISDIR(info.st_mode)) return path_ + " is a directory, name a program in it";
    if (!S_ISREG(info.st_mode)) return path_ + " is not a regular file";
    struct statfs system{};
    if (errnum_ == EACCES && ::fstatfs(file.get(), &system) == 0 &&
        (system.f_flags & 8 /* ST_NOEXEC */) != 0)
      return path_ +
             " is on a mount with noexec: take the option from the mount, or the program elsewhere";
    if ((info.st_mode & 0111) == 0)
      return fmt::format("{} has no execute bit (mode {:04o}): chmod +x it in the image", path_,
                         info.st_mode & 07777);
    return content(info);
  }

 private:
  [[nodiscard]] std::string content(const struct stat& info) const {
    const std::string head = head_of(place_.root, path_, 4096);
    if (head.starts_with("#!")) return script(head);
    if (head.starts_with(ELFMAG)) return program(head);
    if (errnum_ == ENOEXEC)
      return head.empty() ? path_ + " is empty"
                          : path_ + " is neither an ELF program nor a script that begins with #!";
    if (errnum_ == EACCES)
      return fmt::format("{} may not be executed by process.user (mode {:04o}, owner {}:{})", path_,
                         info.st_mode & 07777, info.st_uid, info.st_gid);
    return {};
  }

  [[nodiscard]] bool exists(const std::string& path) const {
    return static_cast<bool>(open_below(place_.root, path, O_PATH));
  }

  [[nodiscard]] std::string script(const std::string& head) const {
    const std::string name = interpreter_of(head);
    if (name.empty()) return path_ + " names no interpreter behind #!";
    if (name.ends_with('\r'))
      return fmt::format("the #! line of {} ends in a carriage return: save it with Unix line ends",
                         path_);
    const std::string place = name.starts_with('/') ? name : place_.directory + "/" + name;
    if (!exists(place))
      return fmt::format(
          "its interpreter {} (the #! line of {}) is not in the container: install it "
          "or name another",
          printable(name), path_);
    const std::string inner = head_of(place_.root, place, 4096);
    if (inner.starts_with(ELFMAG))
      if (std::string cause = Examination(place_, place, errnum_).program(inner); !cause.empty())
        return "its interpreter: " + cause;
    return errnum_ == EACCES
               ? fmt::format("its interpreter {} may not be executed", printable(name))
               : std::string();
  }

  [[nodiscard]] std::string program(const std::string& head) const {
    if (head.size() < sizeof(Elf32_Ehdr)) return path_ + " is a truncated ELF program";
    Elf32_Ehdr header{};
    std::memcpy(&header, head.data(), sizeof header);
    if (header.e_machine != own_machine && header.e_machine != own_machine_32)
      return fmt::format("{} is a program for {}, this machine is {}: use an image for it", path_,
                         machine_name(header.e_machine), own_name);
    const bool wide = header.e_ident[EI_CLASS] == ELFCLASS64;
    const std::string loader =
        wide ? loader_in<Elf64_Ehdr, Elf64_Phdr>(head) : loader_in<Elf32_Ehdr, Elf32_Phdr>(head);
    if (!loader.empty() && !exists(loader))
      return fmt::format(
          "its ELF loader {} is not in the container: the image needs the C library "
          "that {} was built with, or a static program",
          printable(loader), path_);
    return {};
  }

  const ProgramPlace& place_;
  std::string path_;
  int errnum_;
};

}  // namespace

std::string explain_program(const ProgramPlace& place, const StringList& candidates, int errnum) {
  if (errnum == E2BIG) return "arguments and environment are larger than the kernel takes";
  for (const std::string& candidate : candidates) {
    const std::string path =
        candidate.starts_with('/') ? candidate : place.directory + "/" + candidate;
    if (const auto cause = Examination(place, path, errnum).cause()) return *cause;
  }
  return {};
}

Error explain_clone(Error error, int cgroup) {
  if (error.errnum != EAGAIN) return error;
  const Result<std::string> most = read_file(cgroup, "pids.max", 64);
  const Result<std::string> used = read_file(cgroup, "pids.current", 64);
  if (!most || !used || most->starts_with("max")) return error;
  const auto number = [](const std::string& text) { return text.substr(0, text.find('\n')); };
  if (number(*most).size() > number(*used).size() ||
      (number(*most).size() == number(*used).size() && number(*most) > number(*used)))
    return error;
  error.object = "resources.pids.limit";
  error.detail =
      fmt::format("pids.max = {} is reached ({} in use): clone3", number(*most), number(*used));
  return error;
}

void explain_exec(pid_t pid, const Step& step, Error& error) {
  if (step.op != Op::execute && step.op != Op::check_executable) return;
  // What Go programs write for these, and engines look for.
  const char* words = error.errnum == ENOENT    ? "no such file or directory"
                      : error.errnum == EACCES  ? "permission denied"
                      : error.errnum == ENOEXEC ? "exec format error"
                                                : nullptr;
  if (words != nullptr && error.detail.find("executable file not found") == std::string::npos)
    error.detail += fmt::format(": {}", words);
  if (pid <= 0) return;
  const std::string directory = fmt::format("/proc/{}", pid);
  const Fd root(::open((directory + "/root").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root) return;
  std::array<char, 4096> where{};
  const ssize_t size = ::readlink((directory + "/cwd").c_str(), where.data(), where.size());
  const ProgramPlace place{
      root.get(), size > 0 ? std::string(where.data(), static_cast<std::size_t>(size)) : "/"};
  if (const std::string cause = explain_program(place, step.list(0), error.errnum); !cause.empty())
    error.detail += ": " + cause;
}

}  // namespace minirun
