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
constexpr std::uint8_t kType = BPF_REG_2, kAccess = BPF_REG_3, kMajor = BPF_REG_4,
                       kMinor = BPF_REG_5;

bpf_insn insn(int code, std::uint8_t dst, std::uint8_t src, std::int16_t off, std::int32_t imm) {
  bpf_insn result{};
  result.code = static_cast<std::uint8_t>(code);
  result.dst_reg = dst & 0xf;
  result.src_reg = src & 0xf;
  result.off = off;
  result.imm = imm;
  return result;
}

void emit_return(Program& program, bool allowed) {
  program.push_back(insn(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, allowed ? 1 : 0));
  program.push_back(insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0));
}

void emit_prologue(Program& program) {
  const auto load = [&](std::uint8_t reg, std::size_t at) {
    program.push_back(
        insn(BPF_LDX | BPF_MEM | BPF_W, reg, BPF_REG_1, static_cast<std::int16_t>(at), 0));
  };
  load(kType, offsetof(bpf_cgroup_dev_ctx, access_type));
  program.push_back(insn(BPF_ALU | BPF_MOV | BPF_X, kAccess, kType, 0, 0));
  program.push_back(insn(BPF_ALU | BPF_RSH | BPF_K, kAccess, 0, 0, 16));
  program.push_back(insn(BPF_ALU | BPF_AND | BPF_K, kType, 0, 0, 0xffff));
  load(kMajor, offsetof(bpf_cgroup_dev_ctx, major));
  load(kMinor, offsetof(bpf_cgroup_dev_ctx, minor));
}

// Appends the rule; false when nothing behind it could be reached (the verifier rejects that).
bool emit_rule(Program& program, const DeviceRule& rule) {
  const std::int32_t access = access_of(rule);
  if (access == 0) return true;
  std::vector<std::size_t> to_next;  // jumps to the end of this rule
  const auto leave = [&] {
    to_next.push_back(program.size());
    program.push_back(insn(BPF_JMP | BPF_JA, 0, 0, 0, 0));
  };
  // "Equal" jumps and "not equal" falls through, because the verifier follows the latter first:
  // it then knows the rest of the program for any device when it comes to this one. The other
  // way round 1000 rules took 1,000,000 steps and were refused; now each is seen once.
  const auto require = [&](std::uint8_t reg, std::uint32_t value) {
    // JMP32: a 64-bit compare would extend the sign of the immediate.
    program.push_back(
        insn(BPF_JMP32 | BPF_JEQ | BPF_K, reg, 0, 1, static_cast<std::int32_t>(value)));
    leave();
  };
  if (rule.type != DeviceRule::Type::all)
    require(kType, rule.type == DeviceRule::Type::block ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR);
  if (rule.major) require(kMajor, *rule.major);
  if (rule.minor) require(kMinor, *rule.minor);
  if (access != kAllAccess && rule.allow) {
    program.push_back(insn(BPF_ALU | BPF_AND | BPF_K, kAccess, 0, 0, kAllAccess & ~access));
    require(kAccess, 0);
  } else if (access != kAllAccess) {
    program.push_back(insn(BPF_JMP32 | BPF_JSET | BPF_K, kAccess, 0, 1, access));
    leave();
  }
  emit_return(program, rule.allow);
  for (const std::size_t from : to_next)
    program[from].off = static_cast<std::int16_t>(program.size() - from - 1);
  return !(matches_all_devices(rule) && access == kAllAccess);
}

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
  Program program;
  program.reserve(8 + rules.size() * 8);
  emit_prologue(program);
  for (std::size_t i = rules.size(); i-- > 0;)
    if (!emit_rule(program, rules[i])) return program;
  emit_return(program, false);
  return program;
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
