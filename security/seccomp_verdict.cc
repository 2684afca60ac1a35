#include "security/seccomp_verdict.h"

#include <linux/audit.h>
#include <linux/seccomp.h>

#include "security/bpf_vm.h"

namespace minirun {
namespace {

#if defined(__x86_64__)
constexpr std::uint32_t native = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr std::uint32_t native = AUDIT_ARCH_AARCH64;
#endif

}  // namespace

bool lets_through(const std::vector<std::uint64_t>& filter, const FilteredCall& call) {
  const auto verdict =
      run_bpf(filter, {native, static_cast<std::uint32_t>(call.number), call.args});
  if (!verdict) return false;
  const std::uint32_t kind = verdict->action & SECCOMP_RET_ACTION_FULL;
  return kind == SECCOMP_RET_ALLOW || kind == SECCOMP_RET_LOG;
}

}  // namespace minirun
