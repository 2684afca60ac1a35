#include "runtime/no_pivot.h"

#include <algorithm>
#include <ranges>
#include <set>
#include <vector>

#include "base/file.h"
#include "base/text.h"

namespace minirun {
namespace {

/// "\\040" and its like.
std::string plain(std::string_view path) {
  std::string text;
  for (std::size_t i = 0; i < path.size(); ++i) {
    const bool escaped = path[i] == '\\' && path.size() - i > 3;
    text += escaped ? static_cast<char>((path[i + 1] - '0') * 64 + (path[i + 2] - '0') * 8 +
                                        (path[i + 3] - '0'))
                    : path[i];
    if (escaped) i += 3;
  }
  return text;
}

}  // namespace

HostMounts host_mounts(std::string_view mountinfo) {
  struct Line {
    std::string_view parent;
    std::string path;
    bool kernel;
  };
  std::vector<Line> lines;
  std::set<std::string_view> roots;
  for (const std::string_view line : split(mountinfo, '\n')) {
    const auto words = split_words(line);
    const auto dash = std::ranges::find(words, "-");
    if (words.size() < 5 || words.end() - dash < 2) continue;
    lines.push_back({words[1], plain(words[4]), dash[1] == "proc" || dash[1] == "sysfs"});
    if (words[4] == "/") roots.insert(words[0]);
  }
  std::set<std::string> below;
  for (const Line& line : lines)
    if (line.path != "/" && roots.contains(line.parent)) below.insert(line.path);
  HostMounts mounts;
  // The kernel lists a mount after the one that it covers.
  for (const Line& line : std::views::reverse(lines)) {
    if (below.contains(line.path)) mounts.on_root.push_back(line.path);
    if (line.kernel) mounts.kernel.push_back(line.path);
  }
  return mounts;
}

Status change_root_by_chroot(const ContainerSpec& spec, LaunchPlan& plan) {
  HostMounts mounts = host_mounts(TRY(read_pieces("/proc/self/mountinfo")));
  // What a user namespace has inherited is locked: it can be covered, not taken off.
  const bool userns = spec.find_namespace(NamespaceType::user) != nullptr;
  for (Step& step : plan.child) {
    // Over the host's /proc a mount may stay that nothing needed (`mask`): here the old root goes
    // on below the new one, and a procfs under such a mount would be in sight.
    if (step.op == Op::make_mount && step.n[5] == 0) step.n[3] = 0;
    if (step.op != Op::pivot_root) continue;
    step.n[2] = userns ? 2 : 1;
    step.s[0] = userns ? std::move(mounts.kernel) : std::move(mounts.on_root);
    step.field = "--no-pivot";
  }
  return {};
}

}  // namespace minirun
