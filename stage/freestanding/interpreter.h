// Owns: the interpreter of step lists. Compiled twice: freestanding, as the stage that becomes a
// container's first process, and into minirun, where the parent runs its own part of a plan.
// Must not: allocate, lock, throw, use libc, or decide anything: every choice is in the program.
#pragma once

#include "stage/wire.h"

namespace minirun::wire {

/// One run over a program. `base` is the writable mapping of it, `slots` the descriptors.
struct Context {
  const Program* program = nullptr;
  char* base = nullptr;
  int* slots = nullptr;              ///< max_slots entries, -1 where empty
  int channel = -1;                  ///< the socket to the parent, -1 in the parent itself
  std::uint32_t* timings = nullptr;  ///< nanoseconds for each wire step, when measured
  /// The directory that the last open_target walked to: most of what is made is in /dev.
  int parent = -1;
  const char* parent_path = nullptr;
  std::size_t parent_length = 0;
  int parent_root = -1;
  bool through_links = false;   ///< the last open_target followed a link
  bool links_followed = false;  ///< any attach did
  int here = -1;                ///< the working directory, if `mount_inside` has chosen it
  bool two_calls = false;       ///< the kernel has no open_tree_attr(2)
  // See the operation `mask`.
  bool mask_attached = false;
  int null_cover = -1;   ///< the first copy of /dev/null
  int spare_cover = -1;  ///< the same as long as it is not attached
  bool linger = false;   ///< after a failure wait until the parent has looked at our files
  Failure failure = {};

  [[nodiscard]] const char* text(std::uint32_t offset) const noexcept {
    return offset == 0 ? nullptr : base + offset;
  }
  /// The cells of a list as pointers, ended by nullptr.
  [[nodiscard]] char** list(std::uint32_t offset) const noexcept;
  [[nodiscard]] int slot(std::int64_t index) const noexcept {
    return index < 0 ? -1 : slots[index];
  }
  /// Notes the failure of `call`; `result` is the kernel's -errno. Always false.
  bool fail(Call call, long result) noexcept;
  /// As fail, with the kernel's own words read from a file system context.
  bool fail_words(Call call, long result, int context_fd) noexcept;
  bool store(std::int64_t index, Call call, long result) noexcept;
};

/// Turns the offsets of every list into pointers. Once per mapping.
void relocate(Context& context) noexcept;

/// Runs all steps. False: `context.failure` says which one failed.
bool run(Context& context) noexcept;

/// Sends one message, with a descriptor unless `fd` is -1. Returns 0 or -errno.
long send_message(int channel, const Message& message, std::size_t size, int fd) noexcept;

// The operations, by file. Each returns false after Context::fail.
using Operation = bool (*)(Context&, const Step&) noexcept;
bool mount_operation(Context& context, const Step& step) noexcept;
bool root_operation(Context& context, const Step& step) noexcept;
bool file_operation(Context& context, const Step& step) noexcept;
bool process_operation(Context& context, const Step& step) noexcept;
bool protocol_operation(Context& context, const Step& step) noexcept;
bool user_namespace(Context& context, const Step& step) noexcept;

// Helpers that the operations share.

/// openat2 below `root`, absolute paths and links included; retries EAGAIN (a rename raced).
long open_in(int root, const char* path, std::uint64_t flags, std::uint64_t mode,
             std::uint64_t resolve) noexcept;
/// As open_in with O_PATH; makes what is missing (`create`), by walking descriptors.
long open_target(Context& context, int root, const char* path, std::int64_t create,
                 std::uint32_t mode, std::uint64_t resolve) noexcept;
/// "/dev/pts" -> 4, "pts": the length of the parent's part (0: the root itself) and the name.
struct PathParts {
  std::size_t parent;
  const char* name;
  std::size_t size;  ///< of the path without slashes at its end
};
PathParts split_path(const char* path) noexcept;
/// The directory that `path` is in, from the last time where that was the same one.
long open_parent(Context& context, int root, const char* path, bool create) noexcept;
/// After a mount on `path`: a remembered directory that it may cover is looked up again.
void forget_parent(Context& context, const char* mounted_on) noexcept;
/// The directory at `path` is the root of this mount: for what follows in it.
void remember_parent(Context& context, int root, const char* path, int mount) noexcept;
/// open_tree(2) of a copy, and what its mounts become: one call since Linux 6.15, two before. A
/// refusal of the one is asked again as two, so that it is known whose it is.
/// `which` is the call that failed.
long clone_with(Context& context, Call& which, int from, const char* path, unsigned flags,
                std::uint64_t set, std::uint64_t propagation) noexcept;
/// Words of ours for the failure that follows.
void say(Context& context, const char* words) noexcept;
/// "ext4" for the file system that a descriptor is on, "this file system" when it has no name here.
const char* file_system_name(int fd) noexcept;
/// Decimal digits of a number of at most 10; returns the end.
char* append_number(char* to, int number) noexcept;
/// Closes a descriptor when there are many.
void drop(int fd) noexcept;
std::size_t length(const char* text) noexcept;
void copy(void* to, const void* from, std::size_t size) noexcept;
void fill(void* to, int byte, std::size_t size) noexcept;

}  // namespace minirun::wire
