// Owns: the rules across fields that every format obeys, and the rules of container ids and sysctl
// keys. Must not: make a system call; what depends on the host is the planners' to refuse.
#pragma once

#include <string>
#include <string_view>

#include "base/findings.h"
#include "base/result.h"
#include "spec/model.h"

namespace minirun {

enum class Format { oci, short_form, pod };

/// Everything that is wrong with `spec`, at pointers of the format that it was written in.
[[nodiscard]] Findings validate(const ContainerSpec& spec, Format format);

/// The rules of linux.resources alone, as `update` needs them.
[[nodiscard]] Findings validate_resources(const ContainerSpec& spec, Format format);

/// A container id: 1 to 128 of [A-Za-z0-9_+.-], not "." or "..": it becomes the name of a
/// directory and of a cgroup.
[[nodiscard]] Status validate_id(std::string_view id);

/// "net.ipv4.ip_forward" or "net/ipv4/ip_forward" -> "net/ipv4/ip_forward", the path below
/// /proc/sys. As sysctl(8) has it: the first separator is the separator, the other character is
/// then part of a name ("net/ipv4/conf/eth0.1/forwarding"). Error: an empty, "." or ".." component.
[[nodiscard]] Result<std::string> sysctl_path(std::string_view key);

/// A list such as "0-3,8" of cpuset(7); empty is not one.
[[nodiscard]] bool is_cpu_list(std::string_view text);

}  // namespace minirun
