// Owns: PodRun, what of a Pod manifest decides how its programs run: volumes, probes, policies,
// identity. What decides about resources is PodManifest.
// Must not: know YAML, or make a system call.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/findings.h"
#include "spec/kubernetes/quantity.h"

namespace minirun::kubernetes {

struct Volume {
  enum class Kind { empty_dir, memory, host_path, config_map, secret };
  Kind kind = Kind::empty_dir;
  std::string name;
  std::optional<Quantity> size_limit;        ///< emptyDir
  std::string path;                          ///< hostPath
  std::string type;                          ///< hostPath: "", DirectoryOrCreate, File ...
  std::map<std::string, std::string> files;  ///< configMap, secret: path -> content
  std::uint32_t mode = 0644;                 ///< of the files
  bool operator==(const Volume&) const = default;
};

struct VolumeMount {
  std::string volume, path;
  std::string sub_path;  ///< a file of a configMap or a secret
  bool read_only = false;
  bool operator==(const VolumeMount&) const = default;
};

/// Absent: the pod's, else the default.
struct SecurityContext {
  std::optional<std::uint32_t> run_as_user, run_as_group, fs_group;
  std::vector<std::uint32_t> supplemental_groups;
  std::optional<bool> run_as_non_root, read_only_root, allow_escalation, privileged;
  std::vector<std::string> add, drop;  ///< capabilities
  std::string seccomp;                 ///< "", RuntimeDefault or Unconfined
  bool operator==(const SecurityContext&) const = default;
};

struct Probe {
  enum class Kind { exec, http, tcp };
  Kind kind = Kind::exec;
  std::vector<std::string> command;
  std::string path = "/";
  std::vector<std::pair<std::string, std::string>> headers;
  std::uint16_t port = 0;
  int initial_delay_seconds = 0, period_seconds = 10, timeout_seconds = 1;
  int success_threshold = 1, failure_threshold = 3;
  bool operator==(const Probe&) const = default;
};

/// A handler of `lifecycle`.
struct Hook {
  std::optional<Probe> action;  ///< absent: it sleeps
  int sleep_seconds = 0;
  bool operator==(const Hook&) const = default;
};

struct EnvRun {
  std::string name;
  std::string value;    ///< before $(NAME) is replaced
  bool pod_ip = false;  ///< the pod's address, which is known when it runs
  bool operator==(const EnvRun&) const = default;
};

struct HostPort {
  std::string host_ip;
  std::uint16_t host = 0, container = 0;
  bool udp = false;
  std::string pointer;
  int line = 0, column = 0;
  bool operator==(const HostPort&) const = default;
};

struct ContainerRun {
  std::string name;
  std::vector<EnvRun> env;
  std::vector<VolumeMount> mounts;
  SecurityContext security;
  std::optional<Probe> liveness, readiness, startup;
  std::optional<Hook> post_start, pre_stop;
  std::vector<HostPort> host_ports;
  bool operator==(const ContainerRun&) const = default;
};

struct PodRun {
  enum class Restart { always, on_failure, never };
  Restart restart = Restart::always;
  int grace_seconds = 30;
  std::optional<int> deadline_seconds;  ///< activeDeadlineSeconds
  bool host_network = false;
  std::string hostname;
  std::vector<std::pair<std::string, std::vector<std::string>>> host_aliases;
  SecurityContext security;
  std::vector<Volume> volumes;
  std::vector<ContainerRun> init_containers, containers;  ///< in step with PodManifest's
  /// Properties that minirun knows and does not do. Errors change what a program would see.
  Findings unsupported;
};

}  // namespace minirun::kubernetes
