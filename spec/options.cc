// Owns: the one system call of the readers. Must not: be called but through SpecOptions.
#include "spec/options.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace minirun {

Result<DeviceNumbers> resolve_host_device(const std::string& path) {
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0) return os_error(path);
  if (!S_ISBLK(info.st_mode) && !S_ISCHR(info.st_mode)) return plain_error(path, "not a device");
  return DeviceNumbers{S_ISBLK(info.st_mode) ? Device::Type::block : Device::Type::character,
                       major(info.st_rdev), minor(info.st_rdev)};
}

}  // namespace minirun
