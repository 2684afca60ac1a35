// Owns: the names and numbers of Linux capabilities (capabilities(7)) and the default set of the
// field. Must not: read or change the capabilities of a process, or ask the kernel which it has.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace minirun {

/// Position is the number (linux/capability.h). The last one came with Linux 5.9; a newer kernel
/// may know more, which is why HostFacts carries cap_last_cap.
inline constexpr std::array<std::string_view, 41> capability_names = {
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
};

/// The bit of capability `number` in the masks of `Capabilities`; 0 for a number above 63.
[[nodiscard]] constexpr std::uint64_t capability_bit(unsigned number) {
  return number < 64 ? std::uint64_t{1} << number : 0;
}

/// "CAP_CHOWN" or "chown", in any case; nullopt for a name that is not in the table.
[[nodiscard]] std::optional<unsigned> capability_from_name(std::string_view name);

/// "CAP_CHOWN" for 0; empty for a number that the table does not have.
[[nodiscard]] constexpr std::string_view capability_name(unsigned number) {
  return number < capability_names.size() ? capability_names[number] : std::string_view{};
}

/// What docker, podman of old and containerd give to a container without being asked: 14 of 41.
/// chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap, net_bind_service, net_raw,
/// sys_chroot, mknod, audit_write, setfcap.
inline constexpr std::uint64_t default_capabilities =
    capability_bit(0) | capability_bit(1) | capability_bit(3) | capability_bit(4) |
    capability_bit(5) | capability_bit(6) | capability_bit(7) | capability_bit(8) |
    capability_bit(10) | capability_bit(13) | capability_bit(18) | capability_bit(27) |
    capability_bit(29) | capability_bit(31);

}  // namespace minirun
