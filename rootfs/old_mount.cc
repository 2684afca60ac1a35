#include "rootfs/old_mount.h"

#include <linux/mount.h>

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <utility>

namespace minirun {

std::optional<std::int64_t> old_flags(std::uint64_t attributes) {
  constexpr std::pair<std::uint64_t, std::int64_t> rows[] = {
      {MOUNT_ATTR_NOSUID, 0x2},       {MOUNT_ATTR_NODEV, 0x4},
      {MOUNT_ATTR_NOEXEC, 0x8},       {MOUNT_ATTR_NOATIME, 0x400},
      {MOUNT_ATTR_NODIRATIME, 0x800}, {MOUNT_ATTR_STRICTATIME, 1 << 24}};
  std::int64_t flags = 0;
  for (const auto& [attribute, flag] : rows)
    if ((attributes & attribute) == attribute) {
      flags |= flag;
      attributes &= ~attribute;
    }
  return attributes == 0 ? std::optional(flags) : std::nullopt;
}

bool fits_one_string(const StringList& options) {
  return std::ranges::none_of(options, [](const std::string& word) {
    return word.find_first_of(",\"\\") != std::string::npos;
  });
}

namespace {

/// Others may have mounted the same one: all of a network namespace have one sysfs.
bool has_super_block_of_its_own(std::string_view type, const ContainerSpec& spec) {
  const auto is_new = [&spec](NamespaceType kind) {
    const Namespace* ns = spec.find_namespace(kind);
    return ns != nullptr && ns->path.empty();
  };
  if (type == "sysfs") return is_new(NamespaceType::network);
  if (type == "proc") return is_new(NamespaceType::pid);
  if (type == "mqueue") return is_new(NamespaceType::ipc);
  return true;
}

}  // namespace

void allow_old_call(Step& step, const ContainerSpec& spec) {
  constexpr std::array types = {"proc", "sysfs", "tmpfs", "devpts", "mqueue"};
  const auto attributes = static_cast<std::uint64_t>(step.n[1]);
  const bool read_only = (attributes & MOUNT_ATTR_RDONLY) != 0;
  const std::optional<std::int64_t> flags =
      old_flags(attributes & ~std::uint64_t{MOUNT_ATTR_RDONLY});
  if (spec.find_namespace(NamespaceType::user) != nullptr || !flags ||
      !fits_one_string(step.list(1)) || std::ranges::find(types, step.text(0)) == types.end() ||
      (read_only && !has_super_block_of_its_own(step.text(0), spec)))
    return;
  step.n[3] = 1;
  step.n[4] = *flags | (read_only ? 1 : 0);  // MS_RDONLY
}

}  // namespace minirun
