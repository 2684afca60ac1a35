// Owns: what the plan of a root has mounted where, and where mounts may go, by the text of the
// paths. Must not: make a system call.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "spec/model.h"
#include "stage/step.h"

namespace minirun {

/// "//proc/./sys/" -> "/proc/sys"
[[nodiscard]] std::string normal_path(std::string_view path);

/// Why nothing may be mounted at the destination of `mount`; nothing when it may. CVE-2019-16884:
/// below /proc only the files that tools like lxcfs replace.
[[nodiscard]] std::optional<std::string> refused_destination(const Mount& mount);

struct Cover {
  std::string destination;  ///< as of normal_path()
  Slot mount = Slot::none;  ///< it is a procfs or sysfs of the container
  Slot fresh = Slot::none;  ///< it is a new tmpfs, with nothing in it but what we made
};

/// A place on a procfs or sysfs, and the path below it.
struct Known {
  Slot mount = Slot::none;
  std::string path;
};

/// The mounts in their order.
class Covers {
 public:
  void add(Cover cover) { covers_.push_back(std::move(cover)); }
  [[nodiscard]] Cover& last() { return covers_.back(); }
  /// The last mount that the normal `path` is on or below; null when it is on the root.
  [[nodiscard]] const Cover* of(const std::string& path) const;
  /// The procfs or sysfs that a path is on, and what is left of the path below it: the kernel has
  /// no links there that leave it, but for those of processes (then Slot::none), so no walk from
  /// the root is needed.
  [[nodiscard]] Known known(const std::string& path) const;

 private:
  std::vector<Cover> covers_;
};

}  // namespace minirun
