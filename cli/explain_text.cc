#include "cli/explain_text.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "cgroups/files.h"
#include "cli/or_null.h"
#include "runtime/report.h"
#include "runtime/update.h"

namespace minirun::cli {
namespace {

constexpr const char* bold = "\x1b[1m";
constexpr const char* dim = "\x1b[2m";
constexpr const char* red = "\x1b[31m";
constexpr const char* yellow = "\x1b[33m";
constexpr const char* cyan = "\x1b[36m";

/// A user's text must not move the cursor of whoever reads it.
std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f)
      out += fmt::format("\\x{:02x}", byte);
    else
      out += c;
  }
  return out;
}

class Text {
 public:
  Text(const Explanation& explanation, const TextStyle& style)
      : explanation_(explanation), style_(style) {}

  std::string make() {
    line(paint(bold, printable(explanation_.title)));
    for (const std::string& fact : explanation_.facts) wrapped("  ", "  ", fact, dim);
    put_glance();
    for (const ExplainedGroup& group : explanation_.groups) put_group(group);
    if (!explanation_.paths.empty()) put_paths();
    if (!explanation_.traps.empty()) put_traps();
    return std::move(text_);
  }

 private:
  std::string paint(const char* how, const std::string& words) const {
    return style_.color && !words.empty() ? how + words + "\x1b[0m" : words;
  }
  void line(const std::string& words) { text_ += words + "\n"; }

  void wrapped(const std::string& first, const std::string& rest, std::string_view words,
               const char* how = nullptr) {
    std::string current;
    bool begun = false;
    const auto flush = [&] {
      line((begun ? rest : first) + (how == nullptr ? current : paint(how, current)));
      begun = true;
      current.clear();
    };
    for (const std::string_view word : split_words(words)) {
      const std::size_t room = style_.columns - (begun ? rest : first).size();
      if (!current.empty() && current.size() + 1 + word.size() > room) flush();
      if (!current.empty()) current += ' ';
      current += printable(word);
    }
    if (!current.empty()) flush();
  }

  /// The smallest limit of a path and who sets it: "0.2" and "the container".
  template <class T>
  static std::pair<std::optional<T>, std::string> least(const EffectivePath& path,
                                                        std::optional<T> PathLevel::* member) {
    std::pair<std::optional<T>, std::string> out;
    for (const PathLevel& level : path.levels)
      if (level.*member && (!out.first || *(level.*member) < *out.first))
        out = {level.*member, printable(level.name)};
    if (out.second.size() > 15) out.second = "..." + out.second.substr(out.second.size() - 12);
    return out;
  }
  static std::string busy_share(const EffectivePath& path) {
    double product = 1;
    bool known = false;
    for (const PathLevel& level : path.levels)
      if (level.share) {
        product *= *level.share;
        known = true;
      }
    return known ? fmt::format("{:.1f} %", product * 100) : "-";
  }

  /// What all of it comes to, before the reasons: at most 80 columns.
  void put_glance() {
    if (explanation_.paths.empty()) return;
    line("");
    line(paint(bold, fmt::format("  {:<17} {:<22} {:>9}  {:<25}", "at a glance", "cpu at most",
                                 "when busy", "memory at most")));
    for (const EffectivePath& path : explanation_.paths) {
      const auto [cpus, cpu_by] = least(path, &PathLevel::cpus);
      const auto [memory, memory_by] = least(path, &PathLevel::memory_max);
      std::string who = printable(path.who);
      if (who.size() > 17) who = who.substr(0, 14) + "...";
      std::string row = fmt::format(
          "  {:<17} {} {:<15} {:>9}  {} {}", who,
          paint(cyan, fmt::format("{:<6}", cpus ? fmt::format("{:.4g}", *cpus) : "no cap")), cpu_by,
          busy_share(path), paint(cyan, fmt::format("{:<9}", memory ? human_bytes(*memory) : "-")),
          memory_by);
      row.erase(row.find_last_not_of(' ') + 1);
      line(row);
    }
    const auto warnings = std::ranges::count(explanation_.traps, kubernetes::Trap::Level::warning,
                                             &kubernetes::Trap::level);
    bool drift = false;
    for (const ExplainedGroup& group : explanation_.groups)
      for (const ExplainedValue& value : group.values) drift = drift || value.drift;
    if (warnings > 0)
      line(paint(yellow,
                 fmt::format("  ! {} trap{}, at the end", warnings, warnings == 1 ? "" : "s")));
    if (drift) line(paint(red, "  ! DRIFT: the kernel has other values than were planned, below"));
  }

  void put_group(const ExplainedGroup& group) {
    line("");
    line(paint(bold, printable(group.title)));
    wrapped("  ", "  ", group.path, dim);
    for (const std::string& fact : group.facts) wrapped("  ", "    ", fact);
    for (const ExplainedValue& value : group.values) put_value(value);
  }

  /// What the user wrote nothing about is one line, so that the rest is seen.
  void put_default(const ExplainedValue& value) {
    const std::string left = fmt::format("{} = {}", value.file, value.value);
    // A column of its own only where a field fits into what is left of the line.
    wrapped(fmt::format("  {:<30} ", printable(left)),
            std::string(style_.columns < 100 ? 6 : 33, ' '),
            fmt::format("{} ({})", value.effect, value.field), dim);
  }

  void put_value(const ExplainedValue& value) {
    if (value.by_default && !value.drift) return put_default(value);
    const std::string left = fmt::format("{} = {}", value.file, value.value);
    std::string right = value.writer;
    if (!value.v1_file.empty())
      right = fmt::format("v1 {}{}   {}", value.v1_file,
                          value.v1_value.empty() ? "" : " = " + value.v1_value, right);
    std::string shown = "  " + paint(cyan, printable(left));
    const std::size_t used = 2 + left.size();
    const std::size_t column = std::max<std::size_t>(used + 3, 36);
    if (column + right.size() <= style_.columns) {
      shown += std::string(column - used, ' ');
      line(shown + paint(dim, right));
    } else {
      line(shown);
      wrapped("      ", "      ", right, dim);
    }
    if (value.actual) {
      if (value.drift)
        wrapped("    ", "      ", "DRIFT: the kernel has " + *value.actual, red);
      else if (*value.actual != value.value)
        wrapped("    ", "      ", "the kernel keeps it as " + *value.actual, dim);
    }
    if (!value.field.empty()) wrapped("    ", "      ", value.field);
    if (!value.formula.empty()) wrapped("    -> ", "       ", value.formula);
    if (!value.oci.empty()) wrapped("    -> ", "       ", value.oci);
    if (!value.effect.empty()) wrapped("    => ", "       ", value.effect);
  }

  static std::string cell(const std::optional<std::uint64_t>& bytes) {
    return bytes ? human_bytes(*bytes) : "-";
  }

  void put_paths() {
    line("");
    line(paint(bold, "effective, along the path"));
    for (const EffectivePath& path : explanation_.paths) {
      line("");
      line(fmt::format("  {:<30} {:>8} {:>12} {:>12} {:>7}", printable(path.who), "cpu.max",
                       "memory.max", "protected", "weight"));
      for (const PathLevel& level : path.levels) {
        const auto kept = level.memory_min.value_or(0) > 0 ? level.memory_min : level.memory_low;
        std::string name = printable(level.name);
        if (name.size() > 28) name = "..." + name.substr(name.size() - 25);
        line(paint(dim, fmt::format("    {:<28} {:>8} {:>12} {:>12} {:>7}", name,
                                    level.cpus ? fmt::format("{:g}", *level.cpus) : "-",
                                    cell(level.memory_max), cell(kept),
                                    level.weight ? std::to_string(*level.weight) : "-")));
      }
      for (const std::string& conclusion : path.conclusions)
        wrapped("    => ", "       ", conclusion);
    }
  }

  void put_traps() {
    line("");
    line(paint(bold, "traps in this manifest"));
    for (const kubernetes::Trap& trap : explanation_.traps) {
      const bool warning = trap.level == kubernetes::Trap::Level::warning;
      wrapped("  ", "      ",
              fmt::format("{} {}: {}", warning ? "!" : "-", trap.pointer, trap.message),
              warning ? yellow : nullptr);
    }
  }

  const Explanation& explanation_;
  const TextStyle& style_;
  std::string text_;
};

std::string cell_text(std::string_view words) {
  std::string out;
  for (const char c : printable(words)) {
    if (c == '|' || c == '*' || c == '_' || c == '<' || c == '`' || c == '[') out += '\\';
    out += c;
  }
  return out;
}

}  // namespace

TextStyle style_for(int fd) {
  TextStyle style;
  if (::isatty(fd) != 1) return style;
  style.color = true;
  winsize size{};
  if (::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
    style.columns = std::clamp<std::size_t>(size.ws_col, 80, 120);
  return style;
}

std::string explanation_text(const Explanation& explanation, const TextStyle& style) {
  return Text(explanation, style).make();
}

std::string explanation_markdown(const Explanation& explanation) {
  std::string text = fmt::format("# {}\n\n", cell_text(explanation.title));
  for (const std::string& fact : explanation.facts) text += fmt::format("* {}\n", cell_text(fact));
  for (const ExplainedGroup& group : explanation.groups) {
    text += fmt::format("\n## {}\n\n`{}`\n\n", cell_text(group.title), printable(group.path));
    for (const std::string& fact : group.facts) text += fmt::format("* {}\n", cell_text(fact));
    if (group.values.empty()) continue;
    text +=
        "\n| field | computed | OCI | cgroup v2 | v1 | written by | effect |\n"
        "| --- | --- | --- | --- | --- | --- | --- |\n";
    for (const ExplainedValue& value : group.values) {
      std::string file = fmt::format("`{} = {}`", value.file, printable(value.value));
      if (value.actual)
        file +=
            value.drift ? fmt::format(" **the kernel has {}**", cell_text(*value.actual)) : " ok";
      text += fmt::format("| {} | {} | {} | {} | {}{} | {} | {} |\n", cell_text(value.field),
                          cell_text(value.formula), cell_text(value.oci), file,
                          cell_text(value.v1_file),
                          value.v1_value.empty() ? "" : " = " + cell_text(value.v1_value),
                          value.writer, cell_text(value.effect));
    }
  }
  if (!explanation.paths.empty()) text += "\n## effective, along the path\n";
  for (const EffectivePath& path : explanation.paths) {
    text += fmt::format("\n{}:\n\n", cell_text(path.who));
    for (const std::string& conclusion : path.conclusions)
      text += fmt::format("* {}\n", cell_text(conclusion));
  }
  if (!explanation.traps.empty()) text += "\n## traps in this manifest\n\n";
  for (const kubernetes::Trap& trap : explanation.traps)
    text += fmt::format("* {} `{}`: {}\n",
                        trap.level == kubernetes::Trap::Level::warning ? "**warning**" : "note",
                        printable(trap.pointer), cell_text(trap.message));
  return text;
}

namespace {

using json = nlohmann::ordered_json;

json levels_json(const EffectivePath& path) {
  json levels = json::array();
  for (const PathLevel& level : path.levels)
    levels.push_back({{"path", level.path},
                      {"cpus", or_null(level.cpus)},
                      {"memoryMax", or_null(level.memory_max)},
                      {"memoryMin", or_null(level.memory_min)},
                      {"memoryLow", or_null(level.memory_low)},
                      {"pidsMax", or_null(level.pids_max)},
                      {"cpuWeight", or_null(level.weight)},
                      {"share", or_null(level.share)}});
  return {{"levels", std::move(levels)}, {"conclusions", path.conclusions}};
}

}  // namespace

std::string explanation_json(const Explanation& explanation, const ContainerSpec& spec,
                             const std::string& name) {
  json container = {{"oci", json::parse(resources_json(spec.resources))},
                    {"oomScoreAdj", nullptr},
                    {"cgroup2", json::object()},
                    {"cgroup1", json::object()}};
  if (spec.process && spec.process->oom_score_adj)
    container["oomScoreAdj"] = *spec.process->oom_score_adj;
  json values = json::array();
  json root = {{"name", name}, {"cgroup", json::object()}};
  for (const ExplainedGroup& group : explanation.groups) {
    const bool of_cgroup = !group.path.empty();  // the network's values are in no file
    if (of_cgroup) root["cgroup"]["container"] = group.path;
    for (const ExplainedValue& value : group.values) {
      if (of_cgroup) container["cgroup2"][value.file] = value.value;
      if (!value.v1_file.empty()) container["cgroup1"][value.v1_file] = value.value;
      values.push_back({{"file", value.file},
                        {"value", value.value},
                        {"v1", value.v1_file},
                        {"field", value.field},
                        {"formula", value.formula},
                        {"writer", value.writer},
                        {"effect", value.effect},
                        {"actual", or_null(value.actual)},
                        {"drift", value.drift}});
    }
  }
  // The values of v2 files under v1 names would be wrong where the units differ.
  container["cgroup1"].erase("cpu.shares");
  container["cgroup1"].erase("cpu.cfs_quota_us");
  root["containers"][name] = std::move(container);
  root["values"] = std::move(values);
  for (const EffectivePath& path : explanation.paths) root["effectivePath"] = levels_json(path);
  return root.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace minirun::cli
