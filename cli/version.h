// Owns: which minirun this is.
#pragma once

#include <string_view>

namespace minirun::cli {

/// The commit that was built, "unknown" when the build was not made in a repository.
[[nodiscard]] std::string_view commit();

}  // namespace minirun::cli
