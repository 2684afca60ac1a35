// Owns: what a compiled filter says to a system call that is known beforehand.
// Must not: be used for a decision that the kernel makes: it asks the filter itself.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace minirun {

/// A call of the native architecture.
struct FilteredCall {
  long number = 0;
  std::array<std::uint64_t, 6> args{};
};

/// Whether the filter allows the call, or only logs it. A program that the kernel would refuse
/// allows nothing.
[[nodiscard]] bool lets_through(const std::vector<std::uint64_t>& filter, const FilteredCall& call);

}  // namespace minirun
