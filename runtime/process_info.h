// Owns: what /proc says about a process: start time, state, ignored signals.
// Must not: keep anything; a pid is only as good as the pidfd that is held while reading.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/result.h"
#include "runtime/state.h"

namespace minirun {

/// Fields of proc(5) "stat".
struct ProcessStat {
  char state = '?';              ///< 3: R, S, D, Z, T, ...
  std::uint64_t start_time = 0;  ///< 22: clock ticks since boot
};

/// The name in field 2 may contain anything, also ") Z 1": parsed from its last parenthesis.
[[nodiscard]] Result<ProcessStat> parse_process_stat(std::string_view text);
[[nodiscard]] Result<ProcessStat> read_process_stat(pid_t pid);

/// Of proc(5) "status", what a child of ours inherits.
struct OwnStatus {
  std::uint64_t permitted = 0, bounding = 0;  ///< capabilities
  std::uint64_t ignored_signals = 0;          ///< bit n-1 for signal n
};
[[nodiscard]] Result<OwnStatus> read_own_status();

/// The boot of the host, as /proc/sys/kernel/random/boot_id has it.
[[nodiscard]] Result<std::string> read_boot_id();

/// A pidfd of exactly this process: opened first, verified after (SEC-59).
/// Errors: ESRCH when it is gone, a zombie, or the pid is somebody else's by now.
[[nodiscard]] Result<PidFd> open_init(const Init& init);

/// True when it is process 1 of a pid namespace, whose end ends all of it. A process that cannot be
/// read is not.
[[nodiscard]] bool heads_pid_namespace(pid_t pid);

/// What a process executes: minirun's stage, so before the container's program began; something
/// else; or nothing any more, because it is ending (it is no zombie yet, but has given up its
/// memory).
enum class Executes { stage, program, nothing };
[[nodiscard]] Executes what_executes(pid_t pid);

}  // namespace minirun
