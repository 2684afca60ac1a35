#include "rootfs/devices.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>

namespace minirun {
namespace {

struct DefaultDevice {
  const char* path;
  std::uint32_t major, minor;
};

// config-linux.md "Default Devices"; console and ptmx are made elsewhere.
constexpr DefaultDevice default_devices[] = {{"/dev/null", 1, 3},    {"/dev/zero", 1, 5},
                                             {"/dev/full", 1, 7},    {"/dev/random", 1, 8},
                                             {"/dev/urandom", 1, 9}, {"/dev/tty", 5, 0}};

struct Link {
  const char* target;
  const char* path;
};

// config-linux.md "Dev symbolic links", and ptmx of "Default Devices".
constexpr Link links[] = {{"/proc/self/fd", "/dev/fd"},
                          {"/proc/self/fd/0", "/dev/stdin"},
                          {"/proc/self/fd/1", "/dev/stdout"},
                          {"/proc/self/fd/2", "/dev/stderr"},
                          {"pts/ptmx", "/dev/ptmx"}};

mode_t type_bits(Device::Type type) {
  switch (type) {
    case Device::Type::character:
      return S_IFCHR;
    case Device::Type::block:
      return S_IFBLK;
    case Device::Type::fifo:
      return S_IFIFO;
  }
  return 0;
}

}  // namespace

void plan_devices(const ContainerSpec& spec, bool userns, Slot root, Slots& slots, Steps& parent,
                  Steps& build) {
  // A /dev of the host that the user bound into the container is left as it is, like in runc.
  const bool bound = std::ranges::any_of(spec.mounts, [](const Mount& mount) {
    return mount.destination == "/dev" && mount.options.bind;
  });
  if (bound) return;
  auto add = [&](const Device& device, const std::string& field) {
    const auto mode =
        static_cast<std::int64_t>(type_bits(device.type) | (device.file_mode.value_or(0666)));
    const auto number_of = device.type == Device::Type::fifo
                               ? 0
                               : static_cast<std::int64_t>(makedev(device.major, device.minor));
    if (userns && device.type != Device::Type::fifo) {
      const Slot slot = slots.from_parent();
      parent.push_back(
          {.op = Op::clone_tree, .n = {number(slot), 0}, .s = {device.path}, .field = field});
      build.push_back({.op = Op::bind_node,
                       .n = {number(root), number(slot), type_bits(device.type), number_of},
                       .s = {device.path},
                       .field = field});
      return;
    }
    build.push_back({.op = Op::make_node,
                     .n = {number(root), mode, number_of, device.uid, device.gid},
                     .s = {device.path},
                     .field = field});
  };
  for (const DefaultDevice& row : default_devices) {
    const bool given = std::ranges::any_of(
        spec.devices, [&row](const Device& device) { return device.path == row.path; });
    if (!given) add(Device{Device::Type::character, row.path, row.major, row.minor, {}, 0, 0}, "");
  }
  for (std::size_t i = 0; i < spec.devices.size(); ++i)
    add(spec.devices[i], fmt::format("linux.devices[{}]", i));
  for (const Link& link : links)
    build.push_back(
        {.op = Op::make_symlink, .n = {number(root)}, .s = {link.target, link.path}, .field = {}});
}

}  // namespace minirun
