// Owns: from a path, a directory or standard input to a validated ContainerSpec.
// Must not: print, or decide what to do about findings.
#pragma once

#include <string>
#include <string_view>

#include "base/findings.h"
#include "base/result.h"
#include "spec/model.h"
#include "spec/options.h"
#include "spec/validate.h"

namespace minirun {

struct LoadedSpec {
  ContainerSpec spec;
  Findings findings;  ///< of reading and of validate(); the spec is usable only without errors
  Format format = Format::short_form;
  std::string text;                   ///< the bytes as read, for the copy in the state directory
  std::string base_dir;               ///< absolute; relative paths of the document are below it
  std::string name = "the document";  ///< of the file, as it was asked for
};

/// `path`: a directory is a bundle with config.json in it; a file is told apart by its content, but
/// one whose name ends in ".yaml" or ".yml" and that does not begin with "{" is a Pod manifest. Its
/// directory is the base; "-" is standard input with the working directory as the base. Error: it
/// cannot be read, or is larger than 16 MiB (known before it is read; of a pipe no more than that
/// is read).
[[nodiscard]] Result<LoadedSpec> load_spec(const std::string& path,
                                           const SpecOptions& options = {});

/// The same for text that is there already: the stored copy of a config.json.
[[nodiscard]] LoadedSpec parse_spec(std::string text, std::string base_dir,
                                    const SpecOptions& options = {});

/// By content: "ociVersion" at the top level is OCI, "apiVersion" and "kind" a Pod (which may be
/// YAML: anything that does not begin with "{" and has such lines), everything else the short form.
[[nodiscard]] Format detect_format(std::string_view text);

/// One line: `error: /mounts/2/source: VALUE, expected WHAT`.
[[nodiscard]] std::string to_string(const Finding& finding);

}  // namespace minirun
