// Owns: Step, one entry of a plan, as the planners write it: an operation of stage/wire.h, its
// arguments, and the user's field that asked for it; the words for it, the rules of order, and the
// encoding into the flat program.
// Must not: make a system call or know a format. Every switch over Op is without `default`, so
// that a new operation does not compile until the words and the rules know it.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "stage/wire.h"

namespace minirun {

using Op = wire::Op;

/// Index into the table of descriptors of a launch; -1 is none. Slot 0 is the stage itself.
enum class Slot : int { none = -1 };

/// The list of strings that a step carries (argv, options as key, value, key, ...).
using StringList = std::vector<std::string>;
using StepText = std::variant<std::monostate, std::string, StringList>;

/// One operation with its arguments as stage/wire.h lists them.
struct Step {
  Op op;
  std::array<std::int64_t, wire::ints_per_step> n{};
  std::array<StepText, wire::strings_per_step> s{};
  std::string field{};  ///< "mounts[4]", "process.rlimits"; empty: minirun's own need

  bool operator==(const Step&) const = default;

  [[nodiscard]] std::string_view text(std::size_t index) const;
  [[nodiscard]] const StringList& list(std::size_t index) const;
};

using Steps = std::vector<Step>;

/// Hands out slots. Those that the parent fills come first, those of the child from the end, so
/// that both can be planned together.
class Slots {
 public:
  /// `alone`: the child opens all by itself, because the parent may not (opened()).
  explicit Slots(bool alone = false) : alone_(alone) {}
  [[nodiscard]] Slot from_parent() { return static_cast<Slot>(parent_++); }
  /// For what a step opens on the host: filled by the parent's steps, unless the child is alone.
  [[nodiscard]] Slot opened() { return alone_ ? in_child() : from_parent(); }
  [[nodiscard]] bool alone() const { return alone_; }
  [[nodiscard]] Slot in_child() { return static_cast<Slot>(--child_); }
  /// How many the parent passes, slot 0 included.
  [[nodiscard]] int passed() const { return parent_; }
  [[nodiscard]] bool exhausted() const { return parent_ >= child_; }

 private:
  bool alone_ = false;
  int parent_ = 1;
  int child_ = wire::max_slots;
};

[[nodiscard]] inline std::int64_t number(Slot slot) {
  return static_cast<std::int64_t>(slot);
}

/// The bits of flags and limits, as a step carries them.
[[nodiscard]] constexpr std::int64_t as_int(std::uint64_t value) {
  return static_cast<std::int64_t>(value);
}

/// "mount proc on /proc", "drop capabilities except 00000000a80425fb": for --dry-run and errors.
[[nodiscard]] std::string describe(const Step& step);

/// "make_mount": the name of an operation, for --timing and the fault loop.
[[nodiscard]] std::string_view name(Op op);

/// "fsconfig": the name of a call.
[[nodiscard]] std::string_view name(wire::Call call);

/// What is wrong with the order of a child's steps; empty when nothing is. The rules are those of
/// docs/architecture.md: ids before capabilities, no_new_privs before seccomp, ...
[[nodiscard]] std::vector<std::string> order_violations(const Steps& steps);

/// The flat program (stage/wire.h) of `steps`. Errors: more than 4 GiB, an empty list of
/// candidates.
[[nodiscard]] Result<std::string> encode(const Steps& steps, std::span<const int> slots,
                                         bool timing);

/// The rule of the kernel that a step broke, and the remedy, where they can be told from the call
/// and its errno; empty otherwise.
[[nodiscard]] std::string failure_rule(const Step& step, wire::Call call, int errnum);

/// The sentence for a failure inside a program made of `steps`:
/// object = the field or the step, detail = call and the kernel's words, errnum.
[[nodiscard]] Error describe_failure(const Steps& steps, const wire::Failure& failure);

}  // namespace minirun
