#include "runtime/node_facts.h"

#include <dirent.h>
#include <fmt/format.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <string>
#include <string_view>

namespace minirun {
namespace {

/// "hugepages-2048kB" is "2MB"; empty for other names.
std::string page_size_name(std::string_view entry) {
  constexpr std::string_view prefix = "hugepages-";
  if (!entry.starts_with(prefix) || !entry.ends_with("kB")) return "";
  entry.remove_prefix(prefix.size());
  std::uint64_t kilobytes = 0;
  std::from_chars(entry.data(), entry.data() + entry.size() - 2, kilobytes);
  if (kilobytes >= 1 << 20) return fmt::format("{}GB", kilobytes >> 20);
  if (kilobytes >= 1 << 10) return fmt::format("{}MB", kilobytes >> 10);
  return fmt::format("{}KB", kilobytes);
}

std::vector<std::string> huge_page_sizes() {
  std::vector<std::string> sizes;
  DIR* list = ::opendir("/sys/kernel/mm/hugepages");
  if (list == nullptr) return sizes;  // a kernel without huge pages
  while (const dirent* entry = ::readdir(list))
    if (std::string size = page_size_name(entry->d_name); !size.empty())
      sizes.push_back(std::move(size));
  ::closedir(list);
  std::ranges::sort(sizes);
  return sizes;
}

}  // namespace

kubernetes::NodeFacts read_node_facts(const HostFacts& facts) {
  kubernetes::NodeFacts node;
  struct sysinfo info{};
  if (::sysinfo(&info) == 0) {
    node.memory_capacity_bytes = static_cast<std::int64_t>(info.totalram * info.mem_unit);
    node.swap_capacity_bytes = static_cast<std::int64_t>(info.totalswap * info.mem_unit);
  }
  node.allocatable_memory_bytes = node.memory_capacity_bytes;
  node.page_size_bytes = static_cast<std::int64_t>(facts.page_size_bytes);
  node.huge_page_sizes = huge_page_sizes();
  const auto& controllers = facts.cgroup.controllers;
  node.hugetlb_controller =
      std::find(controllers.begin(), controllers.end(), "hugetlb") != controllers.end();
  node.swap_controller = ::access("/proc/swaps", F_OK) == 0;  // CONFIG_SWAP
  return node;
}

}  // namespace minirun
