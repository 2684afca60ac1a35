// Owns: steps at which a test build can be told to fail or to die (MINIRUN_FAULT=KIND:N or
// KIND-die:N), for those floors that cannot see runtime/fault.h. In a normal build they are
// nothing. Must not: exist in a build that is shipped.
#pragma once

#include <string_view>

#include "base/result.h"

namespace minirun {

#ifdef MINIRUN_FAULTS
/// N when MINIRUN_FAULT is `kind`:N, else -1.
[[nodiscard]] int chosen_fault(std::string_view kind);
/// MINIRUN_FAULT=list: says on standard error what there is.
void tell_fault(std::string_view kind, std::size_t index, std::string_view words);
/// The next step of `kind`: fails with EIO, naming `words`, or kills this process when it is the
/// chosen one.
[[nodiscard]] Status fault_step(std::string_view kind, std::string_view words);
#else
[[nodiscard]] inline Status fault_step(std::string_view /*kind*/, std::string_view /*words*/) {
  return {};
}
#endif

}  // namespace minirun
