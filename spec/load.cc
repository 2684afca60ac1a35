// Owns: reading the bytes, telling the format, calling its reader and the validation.
// Must not: know a format's properties beyond the ones that tell it.
#include "spec/load.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

#include "base/fd.h"
#include "spec/json.h"
#include "spec/oci_reader.h"
#include "spec/short_reader.h"

namespace minirun {
namespace {

constexpr std::size_t kMostBytes = JsonLimits{}.bytes;

std::unexpected<Error> too_large(const std::string& name) {
  return plain_error(name, fmt::format("larger than {} MiB", kMostBytes >> 20));
}

/// From the beginning of a file that we have opened; from where the caller left it of one that we
/// were given (`seekable` false), which may be a pipe.
Result<std::string> read_all(int fd, const std::string& name, bool seekable) {
  std::string text;
  std::size_t used = 0;
  for (;;) {
    text.resize_and_overwrite(used + 65536, [](char*, std::size_t size) { return size; });
    const std::size_t want = text.size() - used;
    const ssize_t n = seekable ? ::pread(fd, text.data() + used, want, static_cast<off_t>(used))
                               : ::read(fd, text.data() + used, want);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == ESPIPE && seekable) {  // a pipe, a socket or a terminal
      seekable = false;
      continue;
    }
    if (n < 0) return os_error(name);
    used += static_cast<std::size_t>(n);
    if (used > kMostBytes) return too_large(name);
    // Less than asked for is the end of what can be read at an offset, without a call that says 0.
    if (n == 0 || (seekable && static_cast<std::size_t>(n) < want)) break;
  }
  text.resize(used);
  return text;
}

Result<std::string> working_directory() {
  char buffer[PATH_MAX];
  if (!::getcwd(buffer, sizeof buffer)) return os_error("the working directory");
  return std::string(buffer);
}

std::string parent_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

bool has_line(std::string_view text, std::string_view start) {
  for (std::size_t at = 0; (at = text.find(start, at)) != text.npos; at += start.size())
    if (at == 0 || text[at - 1] == '\n') return true;
  return false;
}

Format format_of(Json root) {
  // Without its version it is a bad OCI document, not one of ours: that has none of these words.
  for (const char* word : {"ociVersion", "process", "linux"})
    if (root.find(word)) return Format::oci;
  if (root.find("apiVersion") || root.find("kind")) return Format::pod;
  return Format::short_form;
}

/// What begins otherwise is not JSON that any reader here takes.
bool may_be_yaml(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  return first != text.npos && text[first] != '{' && text[first] != '[';
}

bool looks_like_yaml(std::string_view text) {
  return may_be_yaml(text) && (has_line(text, "apiVersion:") || has_line(text, "kind:"));
}

bool is_at_or_below(std::string_view pointer, std::string_view above) {
  return pointer.starts_with(above) &&
         (pointer.size() == above.size() || pointer[above.size()] == '/');
}

/// A value that could not be read is absent from the model, and a rule may complain about that at
/// the same place, which says nothing new.
bool is_consequence(const Finding& finding, const Finding& earlier) {
  return earlier.level == Finding::Level::error &&
         (is_at_or_below(finding.pointer, earlier.pointer) ||
          is_at_or_below(earlier.pointer, finding.pointer));
}

void read_pod(LoadedSpec& loaded, const SpecOptions& options) {
  loaded.format = Format::pod;
  if (options.read_pod)
    loaded.spec = options.read_pod(loaded.text, loaded.base_dir, loaded.findings);
}

LoadedSpec read_manifest(std::string text, std::string base_dir, const SpecOptions& options) {
  LoadedSpec loaded;
  loaded.text = std::move(text);
  loaded.base_dir = std::move(base_dir);
  read_pod(loaded, options);
  return loaded;
}

// Nothing of a container can be made without one by who is not root, so that a document which
// leaves it out can only mean this. The group of terminals, which it then cannot know to be
// unmapped, goes.
void add_user_namespace(ContainerSpec& spec, const SpecOptions& options) {
  spec.namespaces.insert(spec.namespaces.begin(), {NamespaceType::user, ""});
  spec.uid_mappings = options.own_uids;
  spec.gid_mappings = options.own_gids;
  constexpr std::uint32_t kTty = 5;
  const bool mapped = std::ranges::any_of(spec.gid_mappings, [](const IdMapping& map) {
    return kTty >= map.container_id && kTty - map.container_id < map.size;
  });
  if (mapped) return;
  for (Mount& mount : spec.mounts)
    if (mount.type == "devpts") std::erase(mount.options.data, "gid=5");
}

}  // namespace

Format detect_format(std::string_view text) {
  if (looks_like_yaml(text)) return Format::pod;
  Findings ignored;
  const auto document = JsonDocument::parse(text, ignored);
  return document ? format_of(document->root(ignored)) : Format::short_form;
}

LoadedSpec parse_spec(std::string text, std::string base_dir, const SpecOptions& options) {
  if (looks_like_yaml(text)) return read_manifest(std::move(text), std::move(base_dir), options);
  LoadedSpec loaded;
  loaded.text = std::move(text);
  loaded.base_dir = std::move(base_dir);
  const auto document = JsonDocument::parse(loaded.text, loaded.findings);
  if (!document) return loaded;
  const std::size_t of_parsing = loaded.findings.size();
  const Json root = document->root(loaded.findings);
  loaded.format = format_of(root);
  switch (loaded.format) {
    case Format::oci:
      loaded.spec = read_oci(root, loaded.base_dir);
      break;
    case Format::short_form:
      loaded.spec = read_short(root, loaded.base_dir, options);
      break;
    case Format::pod:
      read_pod(loaded, options);
      return loaded;
  }
  if (options.euid != 0 && loaded.spec.find_namespace(NamespaceType::user) == nullptr)
    add_user_namespace(loaded.spec, options);
  const std::size_t of_reading = loaded.findings.size();
  for (Finding& finding : validate(loaded.spec, loaded.format)) {
    bool known = false;
    for (std::size_t i = of_parsing; i < of_reading; ++i)
      known = known || is_consequence(finding, loaded.findings[i]);
    if (!known) add_finding(loaded.findings, std::move(finding));
  }
  return loaded;
}

Result<LoadedSpec> load_spec(const std::string& path, const SpecOptions& options) {
  if (path.empty()) return os_error(ENOENT, path);
  if (path == "-") {
    std::string text = TRY(read_all(STDIN_FILENO, "standard input", false));
    LoadedSpec loaded = parse_spec(std::move(text), TRY(working_directory()), options);
    loaded.name = "standard input";
    return loaded;
  }
  const auto absolute = [&](const std::string& directory) -> Result<std::string> {
    if (directory.starts_with('/')) return directory;
    return absolute_path(TRY(working_directory()), directory);
  };
  std::string name = absolute_path(path, "config.json"), base = path;
  while (base.size() > 1 && base.ends_with('/')) base.pop_back();
  Fd file(::open(name.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
  if (!file) {
    const int errnum = errno;
    file = Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
    if (!file) return os_error(path);
    struct stat info{};
    if (::fstat(file.get(), &info) != 0) return os_error(path);
    if (S_ISDIR(info.st_mode)) return os_error(errnum, name);
    name = path;
    base = parent_of(path);
  }
  std::string text = TRY(read_all(file.get(), name, true));
  base = TRY(absolute(base));
  const bool manifest = (name.ends_with(".yaml") || name.ends_with(".yml")) && may_be_yaml(text);
  LoadedSpec loaded =
      (manifest ? read_manifest : parse_spec)(std::move(text), std::move(base), options);
  loaded.name = std::move(name);
  return loaded;
}

std::string to_string(const Finding& finding) {
  return fmt::format("{}: {}: {}", finding.level == Finding::Level::error ? "error" : "warning",
                     finding.pointer.empty() ? "(document)" : finding.pointer, finding.message);
}

}  // namespace minirun
