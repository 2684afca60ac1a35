// Owns: the differential oracle: random profiles, compiled and interpreted, against an evaluator
// that reads the profile directly. Must not: share tables or code with the compiler.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <seccomp.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <optional>
#include <random>
#include <string>
#include <string_view>

#include "security/bpf_vm.h"
#include "security/seccomp.h"

#if defined(__x86_64__)  // the numbers below

namespace minirun {
namespace {

constexpr std::uint32_t none = 0xffffffff;

/// Numbers from the kernel's system call tables: x86_64, i386, x32 without its bit.
struct Known {
  std::string_view name;
  std::uint32_t x86_64, i386, x32;
};
constexpr Known known[] = {
    {"read", 0, 3, 0},
    {"write", 1, 4, 1},
    {"open", 2, 5, 2},
    {"close", 3, 6, 3},
    {"mmap", 9, 90, 9},
    {"mprotect", 10, 125, 10},
    {"ioctl", 16, 54, 514},
    {"socket", 41, 359, 41},
    {"connect", 42, 362, 42},
    {"bind", 49, 361, 49},
    {"sendmsg", 46, 370, 518},
    {"shmget", 29, 395, 29},
    {"shmat", 30, 397, 30},
    {"semop", 65, none, 65},
    {"clone", 56, 120, 56},
    {"fork", 57, 2, 57},
    {"execve", 59, 11, 520},
    {"ptrace", 101, 26, 521},
    {"getppid", 110, 64, 110},
    {"personality", 135, 136, 135},
    {"prctl", 157, 172, 157},
    {"arch_prctl", 158, 384, 158},
    {"mount", 165, 21, 165},
    {"futex", 202, 240, 202},
    {"keyctl", 250, 288, 250},
    {"openat", 257, 295, 257},
    {"unshare", 272, 310, 272},
    {"setns", 308, 346, 308},
    {"bpf", 321, 357, 321},
    {"pidfd_open", 434, 434, 434},
    {"clone3", 435, 435, 435},
    {"set_mempolicy_home_node", 450, 450, 450},
    {"cachestat", 451, 451, 451},
    {"fchmodat2", 452, 452, 452},
    {"mseal", 462, 462, 462},
    {"waitpid", none, 7, none},
    {"_llseek", none, 140, none},
    {"socketcall", none, 102, none},
    {"ipc", none, 117, none},
};

/// socketcall and ipc of i386: (number, first argument) is another way to spell a name.
std::optional<std::string_view> multiplexed(std::uint32_t number, std::uint64_t call) {
  if (number == 102 && call == 1) return "socket";
  if (number == 102 && call == 2) return "bind";
  if (number == 102 && call == 3) return "connect";
  if (number == 102 && call == 16) return "sendmsg";
  if (number == 117) call &= 0xffff;  // the kernel takes a version from above
  if (number == 117 && call == 1) return "semop";
  if (number == 117 && call == 21) return "shmat";
  if (number == 117 && call == 23) return "shmget";
  return std::nullopt;
}

// ---------------------------------------------------------------- the evaluator

std::uint32_t action_of(const std::string& name, std::optional<std::uint32_t> value) {
  if (name == "SCMP_ACT_ALLOW") return SECCOMP_RET_ALLOW;
  if (name == "SCMP_ACT_LOG") return SECCOMP_RET_LOG;
  if (name == "SCMP_ACT_TRAP") return SECCOMP_RET_TRAP;
  if (name == "SCMP_ACT_KILL") return SECCOMP_RET_KILL_THREAD;
  if (name == "SCMP_ACT_KILL_PROCESS") return SECCOMP_RET_KILL_PROCESS;
  if (name == "SCMP_ACT_TRACE") return SECCOMP_RET_TRACE | value.value_or(EPERM);
  return SECCOMP_RET_ERRNO | value.value_or(EPERM);
}

bool permissive(std::uint32_t action) {
  const std::uint32_t kind = action & SECCOMP_RET_ACTION_FULL;
  return kind == SECCOMP_RET_ALLOW || kind == SECCOMP_RET_LOG || kind == SECCOMP_RET_TRACE;
}

bool holds(const SeccompArg& arg, const BpfCall& call) {
  const std::uint64_t actual = call.args[arg.index];
  const std::uint64_t value = arg.value;
  if (arg.op == "SCMP_CMP_NE") return actual != value;
  if (arg.op == "SCMP_CMP_LT") return actual < value;
  if (arg.op == "SCMP_CMP_LE") return actual <= value;
  if (arg.op == "SCMP_CMP_EQ") return actual == value;
  if (arg.op == "SCMP_CMP_GE") return actual >= value;
  if (arg.op == "SCMP_CMP_GT") return actual > value;
  return (actual & value) == (arg.value_two & value);
}

/// The action of the rules for `name`: the first without conditions, else the first that holds.
std::optional<std::uint32_t> decide(const Seccomp& seccomp, std::string_view name,
                                    const BpfCall& call) {
  std::optional<std::uint32_t> in_part;
  const std::uint32_t fallback = action_of(seccomp.default_action, seccomp.default_errno_ret);
  for (const SeccompSyscall& rule : seccomp.syscalls) {
    if (std::ranges::find(rule.names, name) == rule.names.end()) continue;
    const std::uint32_t action = action_of(rule.action, rule.errno_ret);
    if (action == fallback) continue;
    if (rule.args.empty()) return action;
    if (!in_part &&
        std::ranges::all_of(rule.args, [&](const SeccompArg& arg) { return holds(arg, call); }))
      in_part = action;
  }
  return in_part;
}

/// A multiplexed call: its conditions cannot be checked, so the cautious reading is taken.
std::optional<std::uint32_t> decide_blindly(const Seccomp& seccomp, std::string_view name) {
  const std::uint32_t fallback = action_of(seccomp.default_action, seccomp.default_errno_ret);
  std::optional<std::uint32_t> in_part;
  for (const SeccompSyscall& rule : seccomp.syscalls) {
    if (std::ranges::find(rule.names, name) == rule.names.end()) continue;
    const std::uint32_t action = action_of(rule.action, rule.errno_ret);
    if (action == fallback) continue;
    if (rule.args.empty()) return action;
    if (permissive(in_part.value_or(fallback)) && !permissive(action)) in_part = action;
  }
  return in_part;
}

/// Distributions patch newer system calls into libseccomp 2.5.4: 450 upstream, 456 in Debian 12.
std::uint32_t newest_of_libseccomp() {
  static const std::uint32_t newest = [] {
    for (int number = 511; number > 0; --number) {
      char* name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_X86_64, number);
      std::free(name);
      if (name != nullptr) return static_cast<std::uint32_t>(number);
    }
    return 0U;
  }();
  return newest;
}

/// A call that the profile decides under conditions exists for it, however new.
bool is_named(const Seccomp& seccomp, std::string_view name) {
  const std::uint32_t fallback = action_of(seccomp.default_action, seccomp.default_errno_ret);
  return std::ranges::any_of(seccomp.syscalls, [&](const SeccompSyscall& rule) {
    return std::ranges::find(rule.names, name) != rule.names.end() &&
           action_of(rule.action, rule.errno_ret) != fallback;
  });
}

bool has_arch(const Seccomp& seccomp, std::string_view name) {
  return std::ranges::find(seccomp.architectures, name) != seccomp.architectures.end();
}

std::uint32_t expected(const Seccomp& seccomp, const BpfCall& call) {
  const bool is_i386 = call.arch == AUDIT_ARCH_I386;
  const bool is_x32 = !is_i386 && call.number >= x32_bit && call.number != none;
  if (is_i386 && !has_arch(seccomp, "SCMP_ARCH_X86")) return SECCOMP_RET_KILL_PROCESS;
  if (is_x32 && !has_arch(seccomp, "SCMP_ARCH_X32")) return SECCOMP_RET_KILL_PROCESS;
  const std::uint32_t fallback = action_of(seccomp.default_action, seccomp.default_errno_ret);
  const std::uint32_t number = is_x32 ? call.number & ~x32_bit : call.number;

  if (is_i386 && (number == 102 || number == 117)) {
    const auto direct = decide(seccomp, number == 102 ? "socketcall" : "ipc", call);
    if (direct) return *direct;
    const auto name = multiplexed(number, call.args[0]);
    return name ? decide_blindly(seccomp, *name).value_or(fallback) : fallback;
  }
  for (const Known& entry : known)
    if (number == (is_i386 ? entry.i386 : is_x32 ? entry.x32 : entry.x86_64)) {
      if (const auto action = decide(seccomp, entry.name, call)) return *action;
      if (is_named(seccomp, entry.name)) return fallback;
    }
  const bool newer = number > newest_of_libseccomp() && number <= (is_x32 ? 511 : 0x3fffffff);
  const bool errno_default = (fallback & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_ERRNO;
  return newer && errno_default ? SECCOMP_RET_ERRNO | std::uint32_t{ENOSYS} : fallback;
}

// ---------------------------------------------------------------- random profiles and calls

class Generator {
 public:
  explicit Generator(std::uint32_t seed) : random_(seed) {}

  Seccomp profile() {
    Seccomp out;
    out.default_action = pick(actions_);
    if (out.default_action == "SCMP_ACT_ERRNO" && chance(2)) out.default_errno_ret = number(4000);
    for (const char* name : {"SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"})
      if (!chance(4)) out.architectures.emplace_back(name);
    for (const Known& entry : known)
      if (chance(2)) add_rules(out, std::string(entry.name));
    std::ranges::shuffle(out.syscalls, random_);
    return out;
  }

  BpfCall call() {
    BpfCall out;
    out.arch = chance(3) ? AUDIT_ARCH_I386 : AUDIT_ARCH_X86_64;
    const Known& entry = known[number(std::size(known))];
    const bool is_x32 = out.arch == AUDIT_ARCH_X86_64 && chance(3);
    out.number = out.arch == AUDIT_ARCH_I386 ? entry.i386 : is_x32 ? entry.x32 : entry.x86_64;
    if (out.number == none || chance(8)) out.number = number(600);
    if (is_x32) out.number |= x32_bit;
    for (std::uint64_t& arg : out.args) arg = value();
    if (out.arch == AUDIT_ARCH_I386)
      for (std::uint64_t& arg : out.args) arg &= 0xffffffff;
    return out;
  }

 private:
  std::uint32_t number(std::size_t below) {
    return static_cast<std::uint32_t>(random_() % static_cast<std::uint32_t>(below));
  }
  bool chance(std::uint32_t one_in) { return number(one_in) == 0; }
  template <class List>
  std::string pick(const List& list) {
    return list[number(std::size(list))];
  }
  std::uint64_t value() {
    constexpr std::uint64_t values[] = {0,
                                        1,
                                        2,
                                        3,
                                        16,
                                        21,
                                        23,
                                        38,
                                        40,
                                        8,
                                        0x5412,
                                        0x7e020000,
                                        0x80000000,
                                        0xffffffff,
                                        0x100000000,
                                        0x100005412,
                                        0x7fffffffffffffff,
                                        0x8000000000000000,
                                        0xffffffffffffffff};
    return values[number(std::size(values))];
  }
  /// Either one rule without conditions, or up to four with. Sometimes on a multiplexer itself.
  void add_rules(Seccomp& out, const std::string& name) {
    if (chance(5)) return add_run(out, name);
    const bool conditional = !chance(2);
    const std::uint32_t count = conditional ? 1 + number(4) : 1;
    for (std::uint32_t i = 0; i < count; ++i) {
      SeccompSyscall rule{{name}, pick(actions_), std::nullopt, {}};
      if (rule.action == "SCMP_ACT_ERRNO") rule.errno_ret = number(200);
      std::array<std::uint32_t, 6> indexes{0, 1, 2, 3, 4, 5};
      std::ranges::shuffle(indexes, random_);
      const std::uint32_t conditions = conditional ? 1 + number(6) / 2 : 0;
      for (std::uint32_t c = 0; c < conditions; ++c)
        rule.args.push_back(
            {indexes[c], value(), value(), std::string(seccomp_operators[number(7)])});
      out.syscalls.push_back(std::move(rule));
    }
  }

  /// This value, or that, or another: one argument, mostly one action.
  void add_run(Seccomp& out, const std::string& name) {
    const std::string action = pick(actions_);
    const std::uint32_t index = number(6);
    for (std::uint32_t i = 2 + number(5); i > 0; --i)
      out.syscalls.push_back({{name},
                              chance(6) ? pick(actions_) : action,
                              std::nullopt,
                              {{index, value(), 0, chance(6) ? "SCMP_CMP_GT" : "SCMP_CMP_EQ"}}});
  }

  static constexpr std::array<const char*, 7> actions_ = {
      "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS",
      "SCMP_ACT_TRAP",  "SCMP_ACT_TRACE", "SCMP_ACT_LOG"};
  std::mt19937 random_;
};

std::string show(const Seccomp& seccomp, const BpfCall& call) {
  std::string out = fmt::format("default {} arch {:x} nr {:#x}\n", seccomp.default_action,
                                call.arch, call.number);
  for (const std::uint64_t arg : call.args) out += fmt::format(" {:#x}", arg);
  for (const SeccompSyscall& rule : seccomp.syscalls) {
    out += fmt::format("\n{} {}", rule.names[0], rule.action);
    for (const SeccompArg& arg : rule.args)
      out += fmt::format(" [{} {} {:#x} {:#x}]", arg.index, arg.op, arg.value, arg.value_two);
  }
  return out;
}

TEST(SeccompOracle, RandomProfilesMeanWhatTheySay) {
  constexpr unsigned profiles = 500;
  constexpr unsigned calls = 400;
  for (std::uint32_t seed = 0; seed < profiles; ++seed) {
    Generator generator(seed);
    const Seccomp seccomp = generator.profile();
    const auto program = compile_seccomp(seccomp);
    ASSERT_TRUE(program) << to_string(program.error());
    for (unsigned i = 0; i < calls; ++i) {
      const BpfCall call = generator.call();
      const auto verdict = run_bpf(program->filter, call);
      ASSERT_TRUE(verdict) << "seed " << seed << ": not a valid program";
      ASSERT_EQ(verdict->action, expected(seccomp, call)) << "seed " << seed << "\n"
                                                          << show(seccomp, call);
    }
  }
}

}  // namespace
}  // namespace minirun

#endif
