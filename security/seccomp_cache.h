// Owns: compiled seccomp programs kept on disk between runs, keyed by the whole profile.
// Must not: make a start fail: whatever is wrong with the cache, the profile is compiled.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/result.h"
#include "security/seccomp.h"
#include "spec/model.h"

namespace minirun {

/// How much the cache may hold: 64 entries of about 20 kB are those of a machine with many
/// different profiles, and an entry above 256 kB is not worth its reading.
inline constexpr std::size_t seccomp_cache_max_entries = 64;
inline constexpr std::size_t seccomp_cache_max_entry_bytes = std::size_t{256} * 1024;

/// "@" is in no container id, so that the folder can stand beside the containers' own.
inline constexpr std::string_view seccomp_cache_folder = "@seccomp";

/// The program for `seccomp`, from the cache in `folder` (one name, made with mode 0700 when
/// missing) below `root`, a directory's descriptor, or compiled and then stored. A hit is four
/// system calls: openat2, fstat, read, close.
///
/// An entry is used only if it is a regular file with one link, of our effective uid, writable by
/// us alone, carries our format and checksum, and holds, byte for byte, the key: every part of the
/// profile that matters to the program, the versions of libseccomp, of minirun and of the format,
/// and the architecture. The 64-bit hash in its name is only a place to look. Anything else is
/// compiled anew and replaced. Errors: those of compile_seccomp(), none of the cache.
[[nodiscard]] Result<SeccompProgram> cached_seccomp(const Seccomp& seccomp, int root,
                                                    std::string_view folder = seccomp_cache_folder);

/// The key of a profile and the file name that follows from it; for tests and `explain`.
[[nodiscard]] std::string seccomp_cache_key(const Seccomp& seccomp);
[[nodiscard]] std::string seccomp_cache_name(std::string_view key);

}  // namespace minirun
