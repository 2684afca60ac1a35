#include "stage/freestanding/interpreter.h"

#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/openat2.h>
#include <linux/time_types.h>

#include "stage/freestanding/raw.h"

namespace minirun::wire {

std::size_t length(const char* text) noexcept {
  std::size_t n = 0;
  while (text[n] != '\0') ++n;
  return n;
}

void copy(void* to, const void* from, std::size_t size) noexcept {
  __builtin_memcpy(to, from, size);
}

void fill(void* to, int byte, std::size_t size) noexcept {
  __builtin_memset(to, byte, size);
}

char** Context::list(std::uint32_t offset) const noexcept {
  if (offset == 0) return nullptr;
  return reinterpret_cast<char**>(base + offset + sizeof(ListHeader));
}

bool Context::fail(Call call, long result) noexcept {
  failure.call = static_cast<std::uint32_t>(call);
  failure.errnum = static_cast<std::int32_t>(-result);
  return false;
}

bool Context::fail_words(Call call, long result, int context_fd) noexcept {
  // fsopen(2): a read returns one message, "e ", "w " or "i " and text. The errors say most;
  // keep the first of them.
  for (int i = 0; i < 8 && failure.detail_length == 0; ++i) {
    char line[detail_size];
    long n = raw::call(__NR_read, context_fd, line, sizeof line);
    if (n <= 0) break;
    if (n > 2 && line[0] == 'e') {
      n -= 2;
      while (n > 0 && (line[2 + n - 1] == '\n' || line[2 + n - 1] == '\0')) --n;
      copy(failure.detail, line + 2, static_cast<std::size_t>(n));
      failure.detail_length = static_cast<std::uint32_t>(n);
    }
  }
  return fail(call, result);
}

bool Context::store(std::int64_t index, Call call, long result) noexcept {
  if (result < 0) return fail(call, result);
  if (index < 0 || index >= max_slots) return fail(Call::program, -EINVAL);
  slots[index] = static_cast<int>(result);
  return true;
}

long open_in(int root, const char* path, std::uint64_t flags, std::uint64_t mode,
             std::uint64_t resolve) noexcept {
  open_how how = {};
  how.flags = flags | O_CLOEXEC;
  how.mode = mode;
  how.resolve = resolve;
  long result = -EAGAIN;
  // RESOLVE_IN_ROOT gives EAGAIN while somebody renames; bounded, so that a renamer cannot hold
  // us for ever (security reference SEC-19).
  for (int i = 0; i < 64 && (result == -EAGAIN || result == -EINTR); ++i)
    result = raw::call(__NR_openat2, root, path, &how, sizeof how);
  return result;
}

namespace {

constexpr std::uint64_t in_root = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
constexpr std::uint32_t regular_file = 0100000;  // S_IFREG; <sys/stat.h> is the C library's

long make_missing(Context& context, int parent, const char* name, bool last, std::int64_t create,
                  std::uint32_t mode) noexcept {
  const bool file = last && create == create_file;
  // Never opened for writing: the descriptor is kept, and a root with a writer cannot be made
  // read-only (mount_setattr: EBUSY).
  const long made = file ? raw::call(__NR_mknodat, parent, name, regular_file | mode, 0)
                         : raw::call(__NR_mkdirat, parent, name, last ? mode : 0755U);
  if (made < 0 && made != -EEXIST) {
    context.fail(file ? Call::mknodat : Call::mkdirat, made);
    return made;
  }
  return open_in(parent, name, O_PATH | O_NOFOLLOW | (file ? 0 : O_DIRECTORY), 0,
                 RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
}

/// Makes all that is missing of `path`, one component after the other.
long walk(Context& context, int root, const char* path, std::int64_t create, std::uint32_t mode,
          std::uint64_t how) noexcept {
  char prefix[4096];
  const std::size_t size = length(path);
  if (size >= sizeof prefix) {
    context.fail(Call::openat2, -ENAMETOOLONG);
    return -ENAMETOOLONG;
  }
  copy(prefix, path, size + 1);
  int parent = root;
  std::size_t at = 0;
  long target = -ENOENT;
  while (prefix[at] != '\0') {
    while (prefix[at] == '/') ++at;
    const std::size_t name = at;
    while (prefix[at] != '\0' && prefix[at] != '/') ++at;
    if (at == name) break;
    std::size_t rest = at;
    while (prefix[rest] == '/') ++rest;
    const bool last = prefix[rest] == '\0';
    const char held = prefix[at];
    prefix[at] = '\0';
    target = open_in(root, prefix, O_PATH, 0, how);
    if (target == -ENOENT)
      target = make_missing(context, parent, prefix + name, last, create, mode);
    prefix[at] = held;
    if (parent != root) raw::call(__NR_close, parent);
    if (target < 0) {
      if (context.failure.errnum == 0) context.fail(Call::openat2, target);
      return target;
    }
    parent = static_cast<int>(target);
  }
  return target;
}

bool same(const char* a, const char* b, std::size_t size) noexcept {
  for (std::size_t i = 0; i < size; ++i)
    if (a[i] != b[i]) return false;
  return true;
}

}  // namespace

void drop(int fd) noexcept {
  // All are close-on-exec: closing one by one is only needed before they become many.
  if (fd >= 256) raw::call(__NR_close, fd);
}

PathParts split_path(const char* path) noexcept {
  PathParts parts = {0, path, length(path)};
  while (parts.size > 1 && path[parts.size - 1] == '/') --parts.size;
  std::size_t slash = parts.size;
  while (slash > 0 && path[slash - 1] != '/') --slash;
  parts.name = path + slash;
  while (slash > 0 && path[slash - 1] == '/') --slash;
  parts.parent = slash;
  return parts;
}

namespace {

/// Whether a path says where it ends: no "." or "..", nothing doubled. Names that begin with a
/// period are taken for no.
bool is_plain(const char* path) noexcept {
  for (std::size_t i = 0; path[i] != '\0'; ++i)
    if (path[i] == '/' && (path[i + 1] == '/' || path[i + 1] == '.')) return false;
  return path[0] == '/';
}

/// Whether `path` is `above` or below it.
bool is_below(const char* path, std::size_t path_size, const char* above,
              std::size_t above_size) noexcept {
  if (above_size <= 1) return true;  // the root
  return path_size >= above_size && same(path, above, above_size) &&
         (path_size == above_size || path[above_size] == '/');
}

}  // namespace

void forget_parent(Context& context, const char* mounted_on) noexcept {
  if (context.parent < 0) return;
  const std::size_t size = split_path(mounted_on).size;
  const bool covers = !is_plain(mounted_on) || !is_plain(context.parent_path) ||
                      is_below(context.parent_path, context.parent_length, mounted_on, size);
  if (context.through_links || covers) context.parent = -1;
}

void remember_parent(Context& context, int root, const char* path, int mount) noexcept {
  context.parent = mount;
  context.parent_path = path;
  context.parent_length = split_path(path).size;
  context.parent_root = root;
}

long open_parent(Context& context, int root, const char* path, bool create) noexcept {
  const PathParts parts = split_path(path);
  if (parts.parent == 0) return root;
  if (context.parent >= 0 && context.parent_root == root && context.parent_length == parts.parent &&
      same(context.parent_path, path, parts.parent))
    return context.parent;
  char text[4096];
  if (parts.parent >= sizeof text) return -ENAMETOOLONG;
  copy(text, path, parts.parent);
  text[parts.parent] = '\0';
  long parent = open_in(root, text, O_PATH | O_DIRECTORY, 0, in_root);
  if (parent == -ENOENT && create)
    parent = walk(context, root, text, create_directory, 0755, in_root);
  if (parent < 0) return parent;
  context.parent = static_cast<int>(parent);
  context.parent_path = path;
  context.parent_length = parts.parent;
  context.parent_root = root;
  return parent;
}

long open_target(Context& context, int root, const char* path, std::int64_t create,
                 std::uint32_t mode, std::uint64_t resolve) noexcept {
  const std::uint64_t how = in_root | resolve;
  long target = open_in(root, path, O_PATH, 0, how | RESOLVE_NO_SYMLINKS);
  context.through_links = target == -ELOOP && (resolve & RESOLVE_NO_SYMLINKS) == 0;
  if (context.through_links) target = open_in(root, path, O_PATH, 0, how);
  if (target == -ENOENT && create != create_nothing) {
    const long parent = resolve == 0 ? open_parent(context, root, path, false) : -ENOENT;
    const PathParts parts = split_path(path);
    // The usual case: only the last component is missing, and has no slash behind it.
    if (parent >= 0 && parts.name[0] != '\0' && path[parts.size] == '\0')
      target = make_missing(context, static_cast<int>(parent), parts.name, true, create, mode);
    else
      target = walk(context, root, path, create, mode, how);
  }
  if (target < 0 && context.failure.errnum == 0) context.fail(Call::openat2, target);
  return target;
}

void relocate(Context& context) noexcept {
  const auto* steps = reinterpret_cast<const Step*>(context.base + context.program->steps);
  // Each list is named by the steps that use it; a flag in its header tells that it is done.
  constexpr std::uint64_t done = 1ULL << 63;
  for (std::uint32_t i = 0; i < context.program->step_count; ++i) {
    for (int k = 0; k < strings_per_step; ++k) {
      if ((steps[i].lists >> k & 1U) == 0) continue;
      auto* header = reinterpret_cast<ListHeader*>(context.base + steps[i].s[k]);
      if ((header->count & done) != 0) continue;
      auto* cell = reinterpret_cast<std::uint64_t*>(header + 1);
      for (std::uint64_t c = 0; c < header->count; ++c)
        if (cell[c] != 0) cell[c] += reinterpret_cast<std::uint64_t>(context.base);
      header->count |= done;
    }
  }
}

namespace {

std::uint64_t now() noexcept {
  __kernel_timespec time = {};
  raw::call(__NR_clock_gettime, 1 /* CLOCK_MONOTONIC */, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000U +
         static_cast<std::uint64_t>(time.tv_nsec);
}

bool dispatch(Context& context, const Step& step) noexcept {
  if (step.op == Op::copy_up) return file_operation(context, step);
  if (step.op <= Op::open_file) return mount_operation(context, step);
  if (step.op <= Op::readonly_path) return root_operation(context, step);
  if (step.op <= Op::write_file) return file_operation(context, step);
  if (step.op <= Op::seccomp) return process_operation(context, step);
  return protocol_operation(context, step);
}

}  // namespace

bool run(Context& context) noexcept {
  const auto* steps = reinterpret_cast<const Step*>(context.base + context.program->steps);
  for (std::uint32_t i = 0; i < context.program->step_count; ++i) {
    context.failure.step = steps[i].index;
    const std::uint64_t before = context.timings != nullptr ? now() : 0;
    if (!dispatch(context, steps[i])) return false;
    if (context.timings != nullptr) context.timings[i] = static_cast<std::uint32_t>(now() - before);
  }
  return true;
}

}  // namespace minirun::wire
