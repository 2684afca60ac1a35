// Owns: small files read and written whole, by descriptor.
// Must not: follow a link out of the directory it was given where it says so, or retry for ever.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/result.h"

namespace minirun {

/// Opens a directory by path, O_PATH | O_CLOEXEC.
[[nodiscard]] Result<DirFd> open_directory(const std::string& path);

/// The content of `name` below `directory` (or AT_FDCWD), at most `limit` bytes. Not for pipes or
/// for files of procfs that come in pieces (maps, mountinfo): a short read is taken for the end.
/// Errors: what open and read report; EFBIG when it is larger.
[[nodiscard]] Result<std::string> read_file(int directory, const std::string& name,
                                            std::size_t limit = 1 << 20);

/// All of a file of procfs that comes in pieces: read until there is nothing more.
[[nodiscard]] Result<std::string> read_pieces(const std::string& path);

/// A new file, O_EXCL: EEXIST when it is there.
[[nodiscard]] Status write_new_file(int directory, const std::string& name, std::string_view text,
                                    mode_t mode = 0600);

/// Replaces `name` in one step: temporary file, rename. A link at `name` is replaced, not followed.
[[nodiscard]] Status replace_file(int directory, const std::string& name, std::string_view text,
                                  mode_t mode = 0600);

/// Writes all of `text`; EINTR and short writes are continued.
[[nodiscard]] Status write_all(int fd, std::string_view text, const std::string& object);

/// Removes the tree at `name` below `directory` without following links or crossing mounts.
[[nodiscard]] Status remove_tree(int directory, const std::string& name);

}  // namespace minirun
