// Owns: BPF code for decisions about system call numbers and arguments.
// Must not: know system call names, libseccomp or the OCI model.
#include "security/seccomp_bpf.h"

#include <linux/filter.h>
#include <linux/seccomp.h>

#include <bit>
#include <cstddef>
#include <iterator>
#include <limits>
#include <span>
#include <utility>

namespace minirun::seccomp {
namespace {

using Code = std::vector<std::uint64_t>;

constexpr std::uint32_t low_half = std::endian::native == std::endian::little ? 0 : 4;
constexpr std::uint32_t high_half = 4 - low_half;

void emit(Code& code, unsigned operation, std::uint32_t k, std::size_t if_true = 0,
          std::size_t if_false = 0) {
  const sock_filter instruction{static_cast<std::uint16_t>(operation),
                                static_cast<std::uint8_t>(if_true),
                                static_cast<std::uint8_t>(if_false), k};
  code.push_back(std::bit_cast<std::uint64_t>(instruction));
}

void load(Code& code, std::size_t offset) {
  emit(code, BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offset));
}

void compare(Code& code, unsigned operation, std::uint32_t k, std::size_t if_true,
             std::size_t if_false) {
  emit(code, BPF_JMP | BPF_K | operation, k, if_true, if_false);
}

void append(Code& code, const Code& more) {
  code.insert(code.end(), more.begin(), more.end());
}

/// Jumps over `code` unless the comparison holds. Conditional jumps reach 255 instructions, JA all.
Code guarded(unsigned operation, std::uint32_t k, const Code& code) {
  Code out;
  if (code.size() <= std::numeric_limits<std::uint8_t>::max()) {
    compare(out, operation, k, 0, code.size());
  } else {
    compare(out, operation, k, 1, 0);
    emit(out, BPF_JMP | BPF_JA, static_cast<std::uint32_t>(code.size()));
  }
  append(out, code);
  return out;
}

// ---------------------------------------------------------------- conditions

struct Halves {
  explicit Halves(std::uint64_t value)
      : high(static_cast<std::uint32_t>(value >> 32)), low(static_cast<std::uint32_t>(value)) {}
  std::uint32_t high, low;
};

/// Equality under a mask: five or six instructions. A half that the mask leaves out is not loaded.
Code masked(std::size_t argument, std::uint64_t mask, std::uint64_t value, std::size_t on_failure) {
  const Halves want(value & mask);
  const Halves bits(mask);
  Code low;
  load(low, argument + low_half);
  if (bits.low != std::numeric_limits<std::uint32_t>::max())
    emit(low, BPF_ALU | BPF_AND | BPF_K, bits.low);
  compare(low, BPF_JEQ, want.low, 0, on_failure);
  if (bits.high == 0) return low;
  Code code;
  load(code, argument + high_half);
  if (bits.high != std::numeric_limits<std::uint32_t>::max())
    emit(code, BPF_ALU | BPF_AND | BPF_K, bits.high);
  compare(code, BPF_JEQ, want.high, 0, low.size() + on_failure);
  append(code, low);
  return code;
}

Code not_equal(std::size_t argument, std::uint64_t value, std::size_t on_failure) {
  const Halves want(value);
  Code code;
  load(code, argument + high_half);
  compare(code, BPF_JEQ, want.high, 0, 2);
  load(code, argument + low_half);
  compare(code, BPF_JEQ, want.low, on_failure, 0);
  return code;
}

/// argument > value, or >= with BPF_JGE.
Code greater(std::size_t argument, unsigned operation, std::uint64_t value,
             std::size_t on_failure) {
  const Halves want(value);
  Code code;
  load(code, argument + high_half);
  compare(code, BPF_JGT, want.high, 3, 0);
  compare(code, BPF_JEQ, want.high, 0, 2 + on_failure);
  load(code, argument + low_half);
  compare(code, operation, want.low, 0, on_failure);
  return code;
}

/// The contrary of greater().
Code not_greater(std::size_t argument, unsigned operation, std::uint64_t value,
                 std::size_t on_failure) {
  const Halves want(value);
  Code code;
  load(code, argument + high_half);
  compare(code, BPF_JGT, want.high, 3 + on_failure, 0);
  compare(code, BPF_JEQ, want.high, 0, 2);
  load(code, argument + low_half);
  compare(code, operation, want.low, on_failure, 0);
  return code;
}

std::size_t argument_offset(const Condition& condition) {
  return offsetof(seccomp_data, args) + condition.argument * sizeof(std::uint64_t);
}

/// Falls through when the condition holds, else jumps `on_failure` instructions beyond its end.
Code condition_code(const Condition& condition, std::size_t on_failure) {
  const std::size_t argument = argument_offset(condition);
  switch (condition.op) {
    case Operator::masked_eq:
      return masked(argument, condition.value, condition.value_two, on_failure);
    case Operator::eq:
      return masked(argument, std::numeric_limits<std::uint64_t>::max(), condition.value,
                    on_failure);
    case Operator::ne:
      return not_equal(argument, condition.value, on_failure);
    case Operator::gt:
      return greater(argument, BPF_JGT, condition.value, on_failure);
    case Operator::ge:
      return greater(argument, BPF_JGE, condition.value, on_failure);
    case Operator::lt:
      return not_greater(argument, BPF_JGE, condition.value, on_failure);
    case Operator::le:
      return not_greater(argument, BPF_JGT, condition.value, on_failure);
  }
  return {};
}

// ---------------------------------------------------------------- decisions

using Choices = std::span<const Choice>;

/// How many choices from the front ask whether one argument equals this, that or another value,
/// with the same upper half and the same action. Bounded by the reach of a conditional jump.
std::size_t equal_run(Choices choices) {
  constexpr std::size_t longest = 250;
  const auto is_like = [first = choices.front()](const Choice& choice) {
    return choice.action == first.action && choice.conditions.size() == 1 &&
           choice.conditions[0].op == Operator::eq &&
           choice.conditions[0].argument == first.conditions[0].argument &&
           Halves(choice.conditions[0].value).high == Halves(first.conditions[0].value).high;
  };
  if (choices.front().conditions.empty()) return 0;
  std::size_t length = 0;
  while (length < choices.size() && length < longest && is_like(choices[length])) ++length;
  return length;
}

/// The argument is loaded once: 26 socket families take 31 instructions instead of 130.
Code equal_run_code(Choices run) {
  const std::size_t argument = argument_offset(run.front().conditions[0]);
  Code code;
  load(code, argument + high_half);
  // Beyond: the other load, the comparisons, the action.
  compare(code, BPF_JEQ, Halves(run.front().conditions[0].value).high, 0, run.size() + 2);
  load(code, argument + low_half);
  for (std::size_t i = 0; i < run.size(); ++i) {
    const std::size_t left = run.size() - 1 - i;
    compare(code, BPF_JEQ, Halves(run[i].conditions[0].value).low, left, left == 0 ? 1 : 0);
  }
  emit(code, BPF_RET | BPF_K, run.front().action);
  return code;
}

/// At most six conditions of six instructions: within the reach of a conditional jump.
Code choice_code(const Choice& choice) {
  Code tail;
  emit(tail, BPF_RET | BPF_K, choice.action);
  for (auto condition = choice.conditions.rbegin(); condition != choice.conditions.rend();
       ++condition) {
    Code head = condition_code(*condition, tail.size());
    append(head, tail);
    tail = std::move(head);
  }
  return tail;
}

Code decision_code(const Decision& decision) {
  Code code;
  for (Choices rest = decision.choices; !rest.empty();) {
    const std::size_t run = equal_run(rest);
    append(code, run > 1 ? equal_run_code(rest.first(run)) : choice_code(rest.front()));
    if (rest.front().conditions.empty()) return code;
    rest = rest.subspan(run > 1 ? run : 1);
  }
  emit(code, BPF_RET | BPF_K, decision.otherwise);
  return code;
}

struct Segment {
  std::uint32_t start = 0;
  const Decision* decision = nullptr;
};

/// With the number in the accumulator.
Code search(std::span<const Segment> segments) {
  if (segments.size() == 1) return decision_code(*segments[0].decision);
  const std::size_t middle = segments.size() / 2;
  Code code = guarded(BPF_JGE, segments[middle].start, search(segments.subspan(middle)));
  append(code, search(segments.first(middle)));
  return code;
}

}  // namespace

void decide(std::map<std::uint32_t, Decision>& table, std::uint32_t number, Decision decision) {
  const auto above = table.upper_bound(number);
  const Decision neighbour = above == table.begin() ? Decision{} : std::prev(above)->second;
  if (number < std::numeric_limits<std::uint32_t>::max()) table.try_emplace(number + 1, neighbour);
  table.insert_or_assign(number, std::move(decision));
}

std::vector<std::uint64_t> make_program(const std::vector<Architecture>& architectures) {
  Code program;
  load(program, offsetof(seccomp_data, arch));
  for (const Architecture& architecture : architectures) {
    std::vector<Segment> segments;
    for (const auto& [start, decision] : architecture.table)
      if (segments.empty() || *segments.back().decision != decision)
        segments.push_back({start, &decision});
    Code code;
    load(code, offsetof(seccomp_data, nr));
    append(code, search(segments));
    append(program, guarded(BPF_JEQ, architecture.audit_arch, code));
  }
  emit(program, BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
  return program;
}

}  // namespace minirun::seccomp
