// Owns: what the page of `probe report --html` shows: the tables, the charts and their marks, as
// data; and the page itself around it. Pure.
// Must not: draw (probe/html/report.js does), or refer to anything outside of the page.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "probe/judge.h"

namespace minirun::probe {

struct NamedRecording {
  std::string name;  ///< of the file
  Json file;         ///< has passed check_recording()
};

/// The charts of one recording: kind, title, labels or x, series by side, marks.
[[nodiscard]] Json charts(const Json& file, const Judgement& judgement);

/// The whole page. Error: this minirun was built without the chart library.
[[nodiscard]] Result<std::string> report_page(const std::vector<NamedRecording>& recordings);

/// `data` where the template says so; nothing in it can end the element that holds it.
[[nodiscard]] std::string fill_page(std::string_view page, const Json& data);

}  // namespace minirun::probe
