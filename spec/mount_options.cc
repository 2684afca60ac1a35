// Owns: how the rows of mount_option_table change MountOptions.
// Must not: refuse an option: what the table does not know is for the file system to judge.
#include "spec/mount_options.h"

#include <algorithm>
#include <string>

namespace minirun {
namespace {

constexpr std::uint64_t kAtime = MOUNT_ATTR__ATIME;

const MountOptionRow* find_row(std::string_view name) {
  const auto* row =
      std::lower_bound(mount_option_table.begin(), mount_option_table.end(), name,
                       [](const MountOptionRow& a, std::string_view b) { return a.name < b; });
  return row != mount_option_table.end() && row->name == name ? row : nullptr;
}

static_assert(std::is_sorted(mount_option_table.begin(), mount_option_table.end(),
                             [](const auto& a, const auto& b) { return a.name < b.name; }));

void put(std::uint64_t bits, std::uint64_t& on, std::uint64_t& off) {
  on |= bits;
  off &= ~bits;
}

// The kernel takes a mode only if the whole field is cleared with it (mount_setattr(2)).
void atime_mode(std::uint64_t mode, std::uint64_t& set, std::uint64_t& clear) {
  set = (set & ~kAtime) | mode;
  clear |= kAtime;
}

void atime_back(std::uint64_t mode, std::uint64_t& set, std::uint64_t& clear) {
  const bool other_mode_chosen = (clear & kAtime) != 0 && (set & kAtime) != mode;
  if (!other_mode_chosen) atime_mode(MOUNT_ATTR_RELATIME, set, clear);
}

}  // namespace

void apply_mount_option(std::string_view option, MountOptions& options) {
  const MountOptionRow* row = find_row(option);
  if (!row) {
    options.data.emplace_back(option);
    return;
  }
  switch (row->kind) {
    case MountOptionKind::set:
      return put(row->bits, options.attr_set, options.attr_clear);
    case MountOptionKind::clear:
      return put(row->bits, options.attr_clear, options.attr_set);
    case MountOptionKind::recursive_set:
      return put(row->bits, options.rec_attr_set, options.rec_attr_clear);
    case MountOptionKind::recursive_clear:
      return put(row->bits, options.rec_attr_clear, options.rec_attr_set);
    case MountOptionKind::atime_mode:
      return atime_mode(row->bits, options.attr_set, options.attr_clear);
    case MountOptionKind::atime_back:
      return atime_back(row->bits, options.attr_set, options.attr_clear);
    case MountOptionKind::recursive_atime_mode:
      return atime_mode(row->bits, options.rec_attr_set, options.rec_attr_clear);
    case MountOptionKind::recursive_atime_back:
      return atime_back(row->bits, options.rec_attr_set, options.rec_attr_clear);
    case MountOptionKind::propagation:
      options.propagation.push_back(row->bits);
      return;
    case MountOptionKind::superblock:
      options.data.emplace_back(option);
      return;
    case MountOptionKind::bind:
      options.bind = true;
      return;
    case MountOptionKind::recursive_bind:
      options.recursive_bind = true;
      return;
    case MountOptionKind::remount:
      options.remount = true;
      return;
    case MountOptionKind::tmpcopyup:
      options.tmpcopyup = true;
      return;
    case MountOptionKind::idmap:
      options.idmap = true;
      return;
    case MountOptionKind::recursive_idmap:
      options.recursive_idmap = true;
      return;
    case MountOptionKind::nothing:
      return;
  }
}

void finish_mount_options(MountOptions& options) {
  if (!options.bind && !options.recursive_bind) return;
  std::erase_if(options.data, [](const std::string& option) {
    const MountOptionRow* row = find_row(option);
    return row && row->kind == MountOptionKind::superblock;
  });
}

}  // namespace minirun
