// Owns: networks that CNI plugins make (CNI specification 1.0): reading a configuration list, what
// each plugin is told, and calling them with ADD, CHECK and DEL.
// Must not: know what a plugin does.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "netns/plan.h"

namespace minirun {

/// One plugin of a list, found and ready to be called.
struct CniPlugin {
  std::string type, path;
  std::string configuration;  ///< its JSON object, with name, cniVersion and runtimeConfig
  bool operator==(const CniPlugin&) const = default;
};

struct CniList {
  std::string name, version;
  bool check = true;  ///< CHECK came with 0.4.0, and a list may switch it off
  std::string search_path;
  std::vector<CniPlugin> plugins;
  bool operator==(const CniList&) const = default;
};

/// `text` is a .conflist, or a .conf with one plugin. Ports and bandwidth of `request` become
/// runtimeConfig; that no plugin takes them is an error. `search_path` is CNI_PATH; `exists` tells
/// whether a path is a program.
[[nodiscard]] Result<CniList> plan_cni(const std::string& text, const NetworkRequest& request,
                                       const std::string& search_path,
                                       bool (*exists)(const std::string&));

/// Reads the file and plans with $CNI_PATH, or /opt/cni/bin:/usr/lib/cni.
[[nodiscard]] Result<CniList> load_cni(const NetworkRequest& request);

/// "CNI_COMMAND=ADD ... /usr/lib/cni/bridge < ..." for --dry-run.
[[nodiscard]] std::vector<std::string> describe(const CniList& list, const std::string& id);

/// What is kept in <id>/network/cni.json, before ADD and after it.
[[nodiscard]] std::string to_json(const CniList& list, const std::string& result);
struct CniRecord {
  CniList list;
  std::string result;  ///< empty: ADD did not end
};
[[nodiscard]] Result<CniRecord> parse_cni_record(const std::string& text);

/// ADD of all plugins in order, then CHECK. The last result.
[[nodiscard]] Result<std::string> cni_add(const CniList& list, const std::string& id,
                                          const std::string& netns);
/// DEL of all plugins in reverse order; all are called, the first error is returned. `netns` may
/// be empty or gone.
[[nodiscard]] Status cni_delete(const CniRecord& record, const std::string& id,
                                const std::string& netns);

/// The first address of a result, and its name servers and search domains as resolv.conf.
struct CniAnswer {
  std::string address, resolv;
};
[[nodiscard]] CniAnswer read_cni_result(const std::string& result);

}  // namespace minirun
