#include "cli/version.h"

namespace minirun::cli {

std::string_view commit() {
#ifdef MINIRUN_COMMIT
  return MINIRUN_COMMIT;
#else
  return "unknown";
#endif
}

}  // namespace minirun::cli
