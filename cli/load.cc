#include "cli/load.h"

#include <fcntl.h>
#include <strings.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstring>

#include "base/file.h"
#include "runtime/id_maps.h"
#include "runtime/update.h"
#include "security/seccomp_cache.h"

namespace minirun::cli {

void apply(const Overrides& overrides, ContainerSpec& spec) {
  if (!spec.process) return;
  if (!overrides.arguments.empty()) spec.process->args = overrides.arguments;
  auto& environment = spec.process->env;
  for (const std::string& entry : overrides.environment) {
    const std::string name = entry.substr(0, entry.find('=') + 1);
    std::erase_if(environment, [&name](const std::string& old) { return old.starts_with(name); });
    environment.push_back(entry);
  }
}

Result<ContainerSpec> original_spec(const ContainerDir& dir, const Record& record) {
  LoadedSpec loaded = parse_spec(TRY(dir.document()), record.bundle, caller_options());
  for (const Finding& finding : loaded.findings)
    if (finding.level == Finding::Level::error)
      return plain_error("the document of " + dir.id(), finding.pointer + ": " + finding.message);
  apply({record.environment, record.arguments}, loaded.spec);
  return std::move(loaded.spec);
}

Result<ContainerSpec> stored_spec(const ContainerDir& dir, const Record& record) {
  ContainerSpec spec = TRY(original_spec(dir, record));
  TRY(apply_stored_resources(dir, spec));
  return spec;
}

Result<std::optional<SeccompProgram>> seccomp_of(const ContainerSpec& spec, const StateRoot* root,
                                                 Output& output) {
  if (!spec.seccomp) return std::nullopt;
  auto program = [&]() -> Result<SeccompProgram> {
    if (root == nullptr) return compile_seccomp(*spec.seccomp);
    return cached_seccomp(*spec.seccomp, root->fd());
  }();
  if (!program) return std::unexpected(std::move(program).error());
  for (const std::string& warning : program->warnings) output.debug(warning);
  return std::move(*program);
}

CgroupManager manager_of(const GlobalOptions& options) {
  if (options.cgroup_manager == "systemd") return CgroupManager::systemd;
  return options.cgroup_manager == "disabled" ? CgroupManager::disabled : CgroupManager::cgroupfs;
}

std::optional<int> parse_signal(std::string_view text) {
  // Sizes are compared before each call that reads without one.
  // NOLINTBEGIN(bugprone-suspicious-stringview-data-usage)
  int number = 0;
  const char* end = text.data() + text.size();
  if (const auto [at, error] = std::from_chars(text.data(), end, number);
      error == std::errc() && at == end)
    return number >= 0 && number <= SIGRTMAX ? std::optional(number) : std::nullopt;
  auto take = [&text](const char* prefix) {
    const std::size_t size = std::strlen(prefix);
    if (text.size() < size || ::strncasecmp(text.data(), prefix, size) != 0) return false;
    text.remove_prefix(size);
    return true;
  };
  take("SIG");
  if (take("RTMIN") || take("RTMAX")) {
    const bool low = std::toupper(text.data()[-1]) == 'N';
    int offset = 0;
    if (!text.empty()) {
      if (text.front() != (low ? '+' : '-')) return std::nullopt;
      const auto [at, error] = std::from_chars(text.data() + 1, text.data() + text.size(), offset);
      if (error != std::errc() || at != text.data() + text.size()) return std::nullopt;
    }
    number = low ? SIGRTMIN + offset : SIGRTMAX - offset;
    return number >= SIGRTMIN && number <= SIGRTMAX ? std::optional(number) : std::nullopt;
  }
  // signal(7): other names of the same signals.
  for (const auto& [alias, name] :
       {std::pair{"IOT", "ABRT"}, {"CLD", "CHLD"}, {"IO", "POLL"}, {"UNUSED", "SYS"}})
    if (::strncasecmp(text.data(), alias, std::max(text.size(), std::strlen(alias))) == 0 &&
        text.size() == std::strlen(alias))
      text = name;
  for (number = 1; number < SIGRTMIN; ++number) {
    const char* name = ::sigabbrev_np(number);
    if (name != nullptr && std::strlen(name) == text.size() &&
        ::strncasecmp(name, text.data(), text.size()) == 0)
      return number;
  }
  return std::nullopt;
  // NOLINTEND(bugprone-suspicious-stringview-data-usage)
}

}  // namespace minirun::cli
