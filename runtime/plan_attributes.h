// Owns: the steps for what linux.* and the process ask of the process itself beyond identity:
// memory policy, personality, labels, CPU affinity, and the name of the session keyring. Shared by
// the start of a container and by exec. Must not: make a system call.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/findings.h"
#include "base/host_facts.h"
#include "spec/model.h"
#include "stage/step.h"

namespace minirun {

/// "0-3,7" as the bits of a mask of `bytes` bytes, lowest first, as sched_setaffinity(2) and
/// set_mempolicy(2) take it. The list is one that spec/ accepted; what is beyond the mask is left
/// out.
[[nodiscard]] std::string mask_of_list(std::string_view list, std::size_t bytes);

/// Memory policy and personality of the container: inherited over execve(2), and needed by every
/// process that is put into it.
void add_container_attributes(const ContainerSpec& spec, Steps& steps);

/// The labels that execve(2) will give: written to the attributes of the process below `proc`.
void add_labels(const Process& process, Slot proc, Steps& steps);
[[nodiscard]] bool has_labels(const Process& process);
/// Labels that this kernel cannot give.
[[nodiscard]] Findings check_labels(const Process& process, const HostFacts& facts);

/// True when run.oci.keep_original_groups=1: the caller's supplementary groups stay.
[[nodiscard]] bool keeps_groups(const ContainerSpec& spec);

/// The name of a container's session keyring. Joining by name takes one that another user made
/// under it before: so it has a part that nobody can foresee, made of the record's nonce, which
/// itself stays secret (it is part of what seeds minirun's own stack protector).
[[nodiscard]] std::string keyring_name(std::string_view id, std::string_view nonce);

}  // namespace minirun
