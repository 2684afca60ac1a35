#include "cli/launch_flags.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "base/file.h"
#include "runtime/no_pivot.h"
#include "runtime/notify.h"
#include "spec/mount_options.h"

namespace minirun::cli {

std::string absolute_from_here(const std::string& path) {
  if (path.starts_with('/')) return path;
  char* here = ::get_current_dir_name();
  std::string joined = here != nullptr ? here : "";
  ::free(here);  // NOLINT: from get_current_dir_name(3)
  return path == "." ? joined : joined + "/" + path;
}

void LaunchFlags::declare(App app) {
  app.add_option("-b,--bundle", bundle_, "bundle directory (default: the working directory)");
  app.add_option("-f,--config", config_, "another file than the bundle's config.json");
  app.add_option("--console-socket", console_socket_,
                 "socket that the master of the terminal is sent to");
  app.add_option("--pidfd-socket", pidfd_socket_,
                 "socket that a pidfd of the first process is sent to");
  app.add_option("--pid-file", pid_file_, "write the pid of the first process here");
  app.add_flag("--no-pivot", no_pivot_,
               "chroot above the host's root instead of pivot_root: for an initramfs, less safe");
  app.add_flag("--no-new-keyring", no_new_keyring_, "stay in the caller's session keyring");
  app.add_flag("--no-subreaper", no_subreaper_, "accepted and without effect");
  app.add_option("--preserve-fds", preserve_fds_, "pass descriptors 3 to 2+N on").range(0, 1000);
}

Result<LoadedSpec> LaunchFlags::load(const SpecOptions& options) const {
  const std::string bundle = bundle_.empty() ? "." : bundle_;
  if (config_.empty()) return load_spec(absolute_from_here(bundle), options);
  LoadedSpec named = TRY(load_spec(config_, options));
  std::string base = absolute_from_here(bundle);
  while (base.size() > 1 && base.ends_with('/')) base.pop_back();
  if (named.base_dir == base) return named;
  return parse_spec(std::move(named.text), std::move(base), options);
}

Status LaunchFlags::change_plan(const ContainerSpec& spec, LaunchPlan& plan) const {
  return no_pivot_ ? change_root_by_chroot(spec, plan) : Status();
}

Status LaunchFlags::check(const ContainerSpec& spec, bool detached) const {
  const bool terminal = spec.process && spec.process->terminal;
  if (detached && terminal && console_socket_.empty())
    return plain_error("process.terminal",
                       "a detached container has nobody at its terminal: it needs a "
                       "--console-socket that takes it");
  if (!console_socket_.empty() && !detached)
    return plain_error(
        "--console-socket",
        "is for a detached container; in the foreground minirun serves the terminal");
  if (!console_socket_.empty() && !terminal)
    return plain_error("--console-socket", "there is nothing to send: process.terminal is false");
  return {};
}

namespace {

std::optional<std::string> variable(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe)
  return value != nullptr && *value != '\0' ? std::optional<std::string>(value) : std::nullopt;
}

std::optional<int> number_of(const std::string& text) {
  int value = 0;
  const auto [at, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || at != text.data() + text.size()) return std::nullopt;
  return value;
}

void set_variable(ContainerSpec& spec, const std::string& name, const std::string& value) {
  if (!spec.process) return;
  auto& environment = spec.process->env;
  std::erase_if(environment,
                [&name](const std::string& entry) { return entry.starts_with(name + "="); });
  environment.push_back(name + "=" + value);
}

/// sd_listen_fds(3): the descriptors from 3 on are sockets for us, unless LISTEN_PID says that they
/// are for another process. Engines leave it out, or have it wrong by a fork.
Result<int> listen_descriptors(ContainerSpec& spec) {
  const auto count_text = variable("LISTEN_FDS");
  if (!count_text) return 0;
  if (const auto pid = variable("LISTEN_PID"); pid && number_of(*pid) != ::getpid()) return 0;
  const auto count = number_of(*count_text);
  if (!count || *count < 0 || *count > 1000)
    return plain_error("LISTEN_FDS",
                       fmt::format("\"{}\" is not a number of descriptors", *count_text));
  if (*count == 0) return 0;
  set_variable(spec, "LISTEN_FDS", *count_text);
  // The program is pid 1 of its own pid namespace; in another one nobody knows its pid before it is
  // there, and a wrong one would make it ignore the sockets.
  const Namespace* own = spec.find_namespace(NamespaceType::pid);
  if (own != nullptr && own->path.empty()) set_variable(spec, "LISTEN_PID", "1");
  if (const auto names = variable("LISTEN_FDNAMES")) set_variable(spec, "LISTEN_FDNAMES", *names);
  return *count;
}

/// What a caller passes on purpose is there and survives an exec. All of our own do not.
Status expect_descriptors(int count) {
  for (int fd = 3; fd < 3 + count; ++fd) {
    const int flags = ::fcntl(fd, F_GETFD);
    if (flags < 0 || (flags & FD_CLOEXEC) != 0)
      return os_error(EBADF, "--preserve-fds", fmt::format("descriptor {} is not open", fd));
  }
  return {};
}

}  // namespace

Status LaunchFlags::adapt(ContainerSpec& spec, Record& record, LaunchOptions& options,
                          const std::string& root) const {
  options.new_keyring = !no_new_keyring_;
  options.preserve_fds = preserve_fds_ + TRY(listen_descriptors(spec));
  TRY(expect_descriptors(options.preserve_fds));
  if (!callers_notify_socket() || root.empty() || !spec.process) return {};
  record.notify = true;
  set_variable(spec, "NOTIFY_SOCKET", fmt::format("{}/{}", notify_directory, notify_name));
  Mount mount;
  mount.destination = notify_directory;
  mount.type = "bind";
  mount.source = fmt::format("{}/{}/notify", root, options.id);
  for (const char* option : {"bind", "ro", "nosuid", "nodev", "noexec"})
    apply_mount_option(option, mount.options);
  spec.mounts.push_back(std::move(mount));
  return {};
}

Record make_record(const LoadedSpec& loaded) {
  Record record;
  record.bundle = loaded.base_dir;
  record.rootfs = loaded.spec.root.kind == Root::Kind::directory ? loaded.spec.root.path : "";
  record.oci_version = loaded.spec.oci_version;
  record.format = loaded.format == Format::oci ? "oci" : "short";
  record.annotations = loaded.spec.annotations;
  return record;
}

}  // namespace minirun::cli
