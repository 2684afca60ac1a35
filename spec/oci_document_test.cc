// Reads each field of docs/oci.md with the reader: a document that has it at its place must not be
// told that the property is unknown.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "spec/load.h"

namespace minirun {
namespace {

std::vector<std::string> documented_fields() {
  std::ifstream file(MINIRUN_SOURCE_DIR "/docs/oci.md");
  std::vector<std::string> fields;
  bool table = false;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("| field |")) table = true;
    if (!line.starts_with("|")) table = false;
    if (!table || !line.starts_with("| `")) continue;
    const std::size_t end = line.find('`', 3);
    fields.push_back(line.substr(3, end - 3));
  }
  return fields;
}

/// "a.b[].*.c" as nested objects and arrays around an empty object; `pointer` leads to it.
nlohmann::json around(const std::string& field, std::string& pointer) {
  const std::size_t dot = field.find('.');
  std::string name = field.substr(0, dot);
  const bool array = name.ends_with("[]");
  if (array) name.resize(name.size() - 2);
  if (name == "*") name = field.find("hooks") == 0 ? "prestart" : "x";
  pointer += "/" + name + (array ? "/0" : "");
  nlohmann::json inner = nlohmann::json::object();
  if (dot != std::string::npos) inner = around(field.substr(dot + 1), pointer);
  nlohmann::json value;
  value[name] = array ? nlohmann::json::array({inner}) : inner;
  return value;
}

TEST(OciDocument, EveryFieldIsKnownToTheReader) {
  const std::vector<std::string> fields = documented_fields();
  ASSERT_GT(fields.size(), 150U);
  for (std::string field : fields) {
    // The kind of hook and the clock are closed sets; any other key of a map is the user's.
    if (field.starts_with("hooks.*")) field.replace(0, 7, "hooks.prestart");
    if (field.starts_with("linux.timeOffsets.*"))
      field.replace(0, 19, "linux.timeOffsets.boottime");
    std::string pointer;
    nlohmann::json document = around(field, pointer);
    if (!document.contains("ociVersion")) document["ociVersion"] = "1.3.0";
    const LoadedSpec loaded = parse_spec(document.dump(), "/");
    for (const Finding& finding : loaded.findings)
      EXPECT_FALSE(finding.pointer == pointer &&
                   finding.message.find("unknown") != std::string::npos)
          << field << ": " << finding.message;
  }
  // The other way round: the same test sees a key that nobody knows.
  const LoadedSpec loaded = parse_spec(R"({"ociVersion":"1.0.0","linux":{"nobody":1}})", "/");
  bool seen = false;
  for (const Finding& finding : loaded.findings)
    seen |= finding.pointer == "/linux/nobody" && finding.message.find("unknown") == 0;
  EXPECT_TRUE(seen);
}

}  // namespace
}  // namespace minirun
