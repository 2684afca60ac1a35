// The program reads the rules backwards: R3 holds the access bits that are not decided yet. A
// matching deny of one of them ends in 0; a matching allow removes its bits, and none left is 1.
#include "cgroups/device_filter.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <string>

namespace minirun {
namespace {

constexpr DeviceRule allow(DeviceRule::Type type, std::optional<std::uint32_t> major,
                           std::optional<std::uint32_t> minor, bool open = true) {
  return {true, type, major, minor, open, open, true};
}

constexpr auto kChar = DeviceRule::Type::character;
constexpr std::array<DeviceRule, 10> kDefaults{{
    allow(kChar, std::nullopt, std::nullopt, false),                    // mknod only
    allow(DeviceRule::Type::block, std::nullopt, std::nullopt, false),  // mknod only
    allow(kChar, 1, 3),                                                 // null
    allow(kChar, 1, 5),                                                 // zero
    allow(kChar, 1, 7),                                                 // full
    allow(kChar, 1, 8),                                                 // random
    allow(kChar, 1, 9),                                                 // urandom
    allow(kChar, 5, 0),                                                 // tty
    allow(kChar, 5, 2),                                                 // ptmx
    allow(kChar, 136, std::nullopt),                                    // pts/*
}};

constexpr std::int32_t kAllAccess = BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE | BPF_DEVCG_ACC_MKNOD;

std::int32_t access_of(const DeviceRule& rule) {
  std::int32_t access = 0;
  if (rule.read) access |= BPF_DEVCG_ACC_READ;
  if (rule.write) access |= BPF_DEVCG_ACC_WRITE;
  if (rule.mknod) access |= BPF_DEVCG_ACC_MKNOD;
  return access;
}

bool matches_all_devices(const DeviceRule& rule) {
  return rule.type == DeviceRule::Type::all && !rule.major && !rule.minor;
}

using Program = std::vector<bpf_insn>;

/// Writes the program. The kernel's time to check it grows with its length, 2 us for each
/// instruction, so a rule for one device is one comparison, and rules of one type behind each other
/// share that of the type.
class Compiler {
 public:
  Program compile(std::span<const DeviceRule> rules) {
    load_context();
    bool otherwise = false;
    for (std::size_t i = rules.size(); i-- > 0;) {
      if (matches_all_devices(rules[i]) && access_of(rules[i]) == kAllAccess) {
        otherwise = rules[i].allow;  // and nothing behind it counts
        break;
      }
      add(rules[i]);
      if (program_.size() - flushed_ > kReach) flush();
    }
    end_group();
    finish(otherwise);
    return std::move(program_);
  }

 private:
  static constexpr std::uint8_t kType = BPF_REG_2, kAccess = BPF_REG_3, kMajor = BPF_REG_4,
                                kMinor = BPF_REG_5, kDevice = BPF_REG_0;
  static constexpr int kMinorBits = 20;        ///< MINORBITS of the kernel, 12 are the major's
  static constexpr std::size_t kReach = 8000;  ///< a jump has 16 bits, a rule is short

  std::size_t put(int code, std::uint8_t dst, std::uint8_t src, std::int16_t off,
                  std::int64_t imm) {
    bpf_insn result{};
    result.code = static_cast<std::uint8_t>(code);
    result.dst_reg = dst & 0xf;
    result.src_reg = src & 0xf;
    result.off = off;
    result.imm = static_cast<std::int32_t>(imm);
    program_.push_back(result);
    return program_.size() - 1;
  }

  void land(std::size_t jump) {
    program_[jump].off = static_cast<std::int16_t>(program_.size() - jump - 1);
  }

  void load_context() {
    const auto load = [this](std::uint8_t reg, std::size_t at) {
      put(BPF_LDX | BPF_MEM | BPF_W, reg, BPF_REG_1, static_cast<std::int16_t>(at), 0);
    };
    load(kType, offsetof(bpf_cgroup_dev_ctx, access_type));
    put(BPF_ALU | BPF_MOV | BPF_X, kAccess, kType, 0, 0);
    put(BPF_ALU | BPF_RSH | BPF_K, kAccess, 0, 0, 16);
    put(BPF_ALU | BPF_AND | BPF_K, kType, 0, 0, 0xffff);
    load(kMajor, offsetof(bpf_cgroup_dev_ctx, major));
    load(kMinor, offsetof(bpf_cgroup_dev_ctx, minor));
    put(BPF_ALU | BPF_MOV | BPF_X, kDevice, kMajor, 0, 0);
    put(BPF_ALU | BPF_LSH | BPF_K, kDevice, 0, 0, kMinorBits);
    put(BPF_ALU | BPF_OR | BPF_X, kDevice, kMinor, 0, 0);
  }

  /// A comparison, which jumps. The verifier follows what does not jump first: it then knows the
  /// rest of the program for any device when it comes to this one. The other way round 1000 rules
  /// took 1,000,000 steps and were refused; now each is seen once. JMP32: a 64-bit compare would
  /// extend the sign of the immediate.
  std::size_t jump_if(int condition, std::uint8_t reg, std::int64_t value) {
    return put(BPF_JMP32 | condition | BPF_K, reg, 0, 0, value);
  }

  void begin_group(DeviceRule::Type type) {
    if (group_ == type) return;
    end_group();
    if (type == DeviceRule::Type::all) return;
    group_ = type;
    const std::size_t same = jump_if(
        BPF_JEQ, kType, type == DeviceRule::Type::block ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR);
    leave_group_ = put(BPF_JMP | BPF_JA, 0, 0, 0, 0);
    land(same);
  }

  void end_group() {
    if (group_ != DeviceRule::Type::all) land(leave_group_);
    group_ = DeviceRule::Type::all;
  }

  void add(const DeviceRule& rule) {
    const std::int32_t access = access_of(rule);
    const bool exists = rule.major.value_or(0) <= UINT32_MAX >> kMinorBits &&
                        rule.minor.value_or(0) < 1U << kMinorBits;
    if (access == 0 || !exists || std::ranges::find(ended_, rule.type) != ended_.end()) return;
    begin_group(rule.type);
    std::optional<std::size_t> match, next;
    if (rule.major && rule.minor)
      match = jump_if(BPF_JEQ, kDevice, *rule.major << kMinorBits | *rule.minor);
    else if (rule.major)
      match = jump_if(BPF_JEQ, kMajor, *rule.major);
    else if (rule.minor)
      match = jump_if(BPF_JEQ, kMinor, *rule.minor);
    std::vector<std::size_t>& decided = rule.allow ? allow_ : deny_;
    if (access == kAllAccess) {
      decided.push_back(match ? *match : put(BPF_JMP | BPF_JA, 0, 0, 0, 0));
      if (!match) {  // what follows for this type could not be reached, which the kernel refuses
        ended_.push_back(rule.type);
        end_group();
      }
      return;
    }
    if (match) {
      next = put(BPF_JMP | BPF_JA, 0, 0, 0, 0);
      land(*match);
    }
    if (rule.allow) {
      put(BPF_ALU | BPF_AND | BPF_K, kAccess, 0, 0, kAllAccess & ~access);
      decided.push_back(jump_if(BPF_JEQ, kAccess, 0));
    } else {
      decided.push_back(jump_if(BPF_JSET, kAccess, access));
    }
    if (next) land(*next);
  }

  void emit_return(bool allowed, std::vector<std::size_t>& from) {
    for (const std::size_t jump : from) land(jump);
    from.clear();
    put(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, allowed ? 1 : 0);
    put(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
  }

  /// The ends of all jumps so far, before they are too far away.
  void flush() {
    end_group();
    const std::size_t over = put(BPF_JMP | BPF_JA, 0, 0, 0, 0);
    if (!allow_.empty()) emit_return(true, allow_);
    if (!deny_.empty()) emit_return(false, deny_);
    land(over);
    flushed_ = program_.size();
  }

  void finish(bool otherwise) {
    emit_return(otherwise, otherwise ? allow_ : deny_);
    std::vector<std::size_t>& others = otherwise ? deny_ : allow_;
    if (!others.empty()) emit_return(!otherwise, others);
  }

  Program program_;
  std::vector<std::size_t> allow_, deny_;  ///< jumps that have decided
  DeviceRule::Type group_ = DeviceRule::Type::all;
  std::size_t leave_group_ = 0, flushed_ = 0;
  std::vector<DeviceRule::Type> ended_;  ///< those of which nothing is open any more
};

int bpf(bpf_cmd command, bpf_attr& attr) {
  return static_cast<int>(::syscall(SYS_bpf, command, &attr, sizeof attr));
}

std::uint64_t address(const void* pointer) {
  return reinterpret_cast<std::uintptr_t>(pointer);
}

constexpr const char* kObject = "BPF device filter";

std::unexpected<Error> load_error(int errnum, std::string log) {
  if (errnum == EPERM)
    return os_error(
        errnum, kObject,
        "needs CAP_SYS_ADMIN, or CAP_BPF and CAP_NET_ADMIN, in the first user namespace");
  if (errnum == E2BIG) return os_error(errnum, kObject, "too many device rules for the verifier");
  while (!log.empty() && (log.back() == '\n' || log.back() == '\0')) log.pop_back();
  const std::size_t line = log.rfind('\n', log.rfind("\nprocessed ") - 1);
  return os_error(
      errnum, kObject,
      log.empty() ? "" : "verifier: " + (line == log.npos ? log : log.substr(line + 1)));
}

Result<Fd> load_program(const Program& program) {
  bpf_attr attr{};
  attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
  attr.insns = address(program.data());
  attr.insn_cnt = static_cast<std::uint32_t>(program.size());
  attr.license = address("GPL");
  Fd fd(bpf(BPF_PROG_LOAD, attr));
  if (fd) return fd;
  const int errnum = errno;
  if (errnum == EPERM || errnum == E2BIG) return load_error(errnum, "");
  std::string log(65536, '\0');  // asked for only now: with a log the load takes twice as long
  attr.log_level = 1;
  attr.log_size = static_cast<std::uint32_t>(log.size());
  attr.log_buf = address(log.data());
  fd = Fd(bpf(BPF_PROG_LOAD, attr));
  if (fd) return fd;
  log.resize(log.find('\0'));
  return load_error(errnum, std::move(log));
}

Result<std::vector<std::uint32_t>> attached_programs(const CgroupFd& cgroup) {
  std::vector<std::uint32_t> ids(64);  // the kernel's limit, BPF_CGROUP_MAX_PROGS
  bpf_attr attr{};
  attr.query.target_fd = static_cast<std::uint32_t>(cgroup.get());
  attr.query.attach_type = BPF_CGROUP_DEVICE;
  attr.query.prog_ids = address(ids.data());
  attr.query.prog_cnt = static_cast<std::uint32_t>(ids.size());
  if (bpf(BPF_PROG_QUERY, attr) != 0) return os_error(kObject, "BPF_PROG_QUERY");
  ids.resize(attr.query.prog_cnt);
  return ids;
}

Status detach_program(const CgroupFd& cgroup, std::uint32_t id) {
  bpf_attr by_id{};
  by_id.prog_id = id;
  const Fd fd(bpf(BPF_PROG_GET_FD_BY_ID, by_id));
  if (!fd) return os_error(kObject, "BPF_PROG_GET_FD_BY_ID");
  bpf_attr attr{};
  attr.target_fd = static_cast<std::uint32_t>(cgroup.get());
  attr.attach_bpf_fd = static_cast<std::uint32_t>(fd.get());
  attr.attach_type = BPF_CGROUP_DEVICE;
  if (bpf(BPF_PROG_DETACH, attr) != 0) return os_error(kObject, "BPF_PROG_DETACH");
  return {};
}

}  // namespace

std::span<const DeviceRule> default_device_rules() {
  return kDefaults;
}

bool allows_everything(std::span<const DeviceRule> rules) {
  std::int32_t open = kAllAccess;  // access bits that a later rule has not granted yet
  for (std::size_t i = rules.size(); i-- > 0;) {
    if (!rules[i].allow && (access_of(rules[i]) & open) != 0) return false;
    if (rules[i].allow && matches_all_devices(rules[i])) open &= ~access_of(rules[i]);
    if (open == 0) return true;
  }
  return false;
}

std::vector<bpf_insn> compile_device_rules(std::span<const DeviceRule> rules) {
  return Compiler().compile(rules);
}

Status attach_device_filter(const CgroupFd& cgroup, std::span<const DeviceRule> rules) {
  const Fd program = TRY(load_program(compile_device_rules(rules)));
  bpf_attr attr{};
  attr.target_fd = static_cast<std::uint32_t>(cgroup.get());
  attr.attach_bpf_fd = static_cast<std::uint32_t>(program.get());
  attr.attach_type = BPF_CGROUP_DEVICE;
  attr.attach_flags = BPF_F_ALLOW_MULTI;
  if (bpf(BPF_PROG_ATTACH, attr) != 0) {
    const bool exclusive = errno == EPERM;
    return os_error(kObject, exclusive ? "BPF_PROG_ATTACH: a parent's program may allow no other, "
                                         "or CAP_NET_ADMIN is missing"
                                       : "BPF_PROG_ATTACH");
  }
  return {};
}

Status replace_device_filter(const CgroupFd& cgroup, std::span<const DeviceRule> rules) {
  const auto old = TRY(attached_programs(cgroup));
  if (Status attached = attach_device_filter(cgroup, rules); !attached) return attached;
  for (const std::uint32_t id : old)
    if (Status detached = detach_program(cgroup, id); !detached) return detached;
  return {};
}

Result<unsigned> count_device_filters(const CgroupFd& cgroup) {
  return static_cast<unsigned>(TRY(attached_programs(cgroup)).size());
}

}  // namespace minirun
