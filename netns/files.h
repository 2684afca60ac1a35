// Owns: the texts of /etc/hosts, /etc/hostname and /etc/resolv.conf of a container, and their
// files, in <root>/<id>/network/; they are bound into the container, read-only: their content is
// minirun's, which writes it anew when a container on the same bridge comes or goes.
// Must not: let a name with a space or a newline into them.
#pragma once

#include <string>

#include "base/result.h"
#include "netns/plan.h"
#include "netns/state.h"

namespace minirun {

/// The lines of container `id`: itself, its own entries, and everybody on the network by name.
[[nodiscard]] std::string hosts_text(const NetworkEntry& entry, const std::string& id);
/// For a container without neighbours that minirun knows (pasta, CNI).
[[nodiscard]] std::string hosts_text(const std::map<std::string, std::string>& hosts,
                                     const std::string& address,
                                     const std::vector<std::string>& names);

/// `dns` when it is not empty, else what of the host's file holds inside a container: a name
/// server on a loopback address does not.
[[nodiscard]] std::string resolv_text(const std::vector<std::string>& dns,
                                      const std::string& of_host);
/// The host's resolv.conf; that of systemd-resolved itself when the usual one names its stub.
[[nodiscard]] std::string read_host_resolv();

/// Makes the directory and the three files.
[[nodiscard]] Status make_network_files(int container_fd, const std::string& hosts,
                                        const std::string& hostname, const std::string& resolv);
/// Writes a file of that directory in place: it is bound into a container.
[[nodiscard]] Status rewrite_network_file(int root_fd, const std::string& id, const char* name,
                                          const std::string& text);
/// The hosts files of all containers of a network.
[[nodiscard]] Status rewrite_hosts(int root_fd, const NetworkEntry& entry);

}  // namespace minirun
