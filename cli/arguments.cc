#include "cli/arguments.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <string_view>

#include "spec/suggest.h"

namespace minirun::cli {
namespace {

struct GlobalRow {
  std::string_view name;
  std::string_view value;                                  ///< how help shows it; empty: a flag
  std::string_view summary;                                ///< empty: not shown
  Status (*set)(GlobalOptions&, const std::string& text);  ///< a flag gets "true" or "false"
};

Status one_of(const char* option, const std::string& text, std::span<const std::string_view> words,
              std::string& out) {
  if (std::ranges::find(words, text) == words.end())
    return plain_error(option, fmt::format("\"{}\" is not {}", text, fmt::join(words, ", ")));
  out = text;
  return {};
}

Status set_log(GlobalOptions& options, const std::string& text) {
  for (const char* prefix : {"journald:", "syslog:"})
    if (text.starts_with(prefix))
      return plain_error("--log", fmt::format("{} is not supported, only a file", prefix));
  options.log = text.starts_with("file:") ? text.substr(5) : text;
  return {};
}

Status set_format(GlobalOptions& options, const std::string& text) {
  static constexpr std::array<std::string_view, 2> words = {"text", "json"};
  return one_of("--log-format", text, words, options.log_format);
}

Status set_level(GlobalOptions& options, const std::string& text) {
  static constexpr std::array<std::string_view, 3> words = {"error", "warning", "debug"};
  return one_of("--log-level", text, words, options.log_level);
}

Status set_manager(GlobalOptions& options, const std::string& text) {
  static constexpr std::array<std::string_view, 3> words = {"cgroupfs", "systemd", "disabled"};
  return one_of("--cgroup-manager", text, words, options.cgroup_manager);
}

Status set_rootless(GlobalOptions& options, const std::string& text) {
  static constexpr std::array<std::string_view, 3> words = {"true", "false", "auto"};
  return one_of("--rootless", text, words, options.rootless);
}

constexpr auto global_rows = std::to_array<GlobalRow>({
    {"root", "DIR", "state directory (default /run/minirun)",
     [](GlobalOptions& options, const std::string& text) -> Status {
       options.root = text;
       return {};
     }},
    {"log", "FILE", "also write errors to this file", set_log},
    {"log-format", "text|json", "of the log file", set_format},
    {"log-level", "LEVEL", "error, warning or debug", set_level},
    {"debug", "", "say what is done",
     [](GlobalOptions& options, const std::string& text) -> Status {
       options.debug = text == "true";
       return {};
     }},
    {"systemd-cgroup", "", "the same as --cgroup-manager systemd",
     [](GlobalOptions& options, const std::string& text) -> Status {
       if (text == "true") options.cgroup_manager = "systemd";
       return {};
     }},
    {"cgroup-manager", "NAME", "cgroupfs, systemd (a scope unit), or disabled (no cgroup)",
     set_manager},
    {"rootless", "true|false|auto", "where the default state directory is; auto asks the user id",
     set_rootless},
});

const GlobalRow* find_row(std::string_view name) {
  const auto* row = std::ranges::find(global_rows, name, &GlobalRow::name);
  return row == global_rows.end() ? nullptr : row;
}

/// "--name=value", "-name": the dashes, the name, and where the value begins.
struct OptionWord {
  std::size_t dashes = 0;
  std::string name;
  std::optional<std::string> value;
};
OptionWord split_option(const std::string& word) {
  OptionWord result;
  result.dashes = word.starts_with("--") ? 2 : 1;
  const std::size_t equals = word.find('=');
  result.name = word.substr(result.dashes, equals == word.npos ? equals : equals - result.dashes);
  if (equals != word.npos) result.value = word.substr(equals + 1);
  return result;
}

}  // namespace

GlobalArguments read_global_arguments(const std::vector<std::string>& argv) {
  GlobalArguments result;
  const auto fail = [&result](const std::string& word, std::string why) {
    if (!result.error) result.error = Error{0, word, std::move(why), {}};
  };
  for (std::size_t i = 1; i < argv.size(); ++i) {
    const std::string& word = argv[i];
    if (!word.starts_with('-') || word == "-") {
      result.command = i;
      return result;
    }
    if (word == "--") continue;
    OptionWord option = split_option(word);
    if (option.name == "h" || option.name == "help") {
      result.help = true;
      continue;
    }
    if (option.name == "v" || option.name == "version") {
      result.version = true;
      continue;
    }
    const GlobalRow* row = find_row(option.name);
    if (row == nullptr) {
      std::array<std::string_view, global_rows.size()> names;
      std::ranges::transform(global_rows, names.begin(), &GlobalRow::name);
      const auto close = suggest(option.name, names);
      fail(word, close ? fmt::format("is not a global option; did you mean --{}?", *close)
                       : "is not a global option, see minirun --help");
      continue;
    }
    if (row->value.empty()) {
      if (!option.value) option.value = "true";
      if (option.value != "true" && option.value != "false") fail(word, "takes true or false");
    } else if (!option.value) {
      if (i + 1 == argv.size()) {
        fail(word, "needs a value");
        continue;
      }
      option.value = argv[++i];
    }
    if (Status set = row->set(result.options, *option.value); !set && !result.error)
      result.error = std::move(set).error();
  }
  return result;
}

std::string global_options_help() {
  std::string text;
  for (const GlobalRow& row : global_rows)
    text += fmt::format("  {:<28} {}\n",
                        fmt::format("--{}{}{}", row.name, row.value.empty() ? "" : " ", row.value),
                        row.summary);
  return text;
}

namespace {

bool takes_value(const CLI::Option& option) {
  return option.get_items_expected_max() > 0;
}

/// One option with its value, in the spelling without doubt.
void put(const CLI::Option& option, const std::string& value, std::vector<std::string>& out) {
  const bool has_long = !option.get_lnames().empty();
  const std::string name =
      has_long ? "--" + option.get_lnames().front() : "-" + option.get_snames().front();
  // CLI11 reads "--name=" as one whose value is still to come.
  if (has_long && !value.empty()) {
    out.push_back(name + "=" + value);
  } else {
    out.push_back(name);
    out.push_back(value);
  }
}

class Normalizer {
 public:
  Normalizer(const CLI::App& app, std::span<const std::string> words) : app_(app), words_(words) {}

  std::vector<std::string> run(bool in_order) {
    while (at_ < words_.size()) {
      const std::string& word = words_[at_++];
      const bool positional = !word.starts_with('-') || word == "-";
      if (word == "--" || (positional && in_order)) {
        out_.emplace_back("--");
        if (positional) out_.push_back(word);
        out_.insert(out_.end(), words_.begin() + static_cast<std::ptrdiff_t>(at_), words_.end());
        break;
      }
      if (positional)
        out_.push_back(word);
      else
        option(word);
    }
    return std::move(out_);
  }

 private:
  void option(const std::string& word) {
    const OptionWord parts = split_option(word);
    if (const CLI::Option* found = app_.get_option_no_throw("--" + parts.name);
        found != nullptr && !parts.name.empty() && (parts.dashes == 2 || parts.name.size() > 1)) {
      if (!takes_value(*found))
        out_.push_back("--" + parts.name + (parts.value ? "=" + *parts.value : ""));
      else
        with_value(*found, word, parts.value);
      return;
    }
    if (parts.dashes == 2)
      out_.push_back(word);  // unknown: CLI11 says so
    else
      cluster(word);
  }

  /// "-dt", "-eK=V", "-u=0", "-d=false": short options; the last one may take a value.
  void cluster(const std::string& word) {
    for (std::size_t i = 1; i < word.size(); ++i) {
      const CLI::Option* found = app_.get_option_no_throw(std::string("-") + word[i]);
      if (found == nullptr) {
        out_.push_back("-" + word.substr(i));
        return;
      }
      const bool equals = i + 1 < word.size() && word[i + 1] == '=';
      if (!takes_value(*found)) {
        const auto& names = found->get_lnames();
        if (equals && !names.empty()) {
          out_.push_back("--" + names.front() + word.substr(i + 1));
          return;
        }
        out_.push_back(std::string("-") + word[i]);
        continue;
      }
      std::optional<std::string> value;
      if (i + 1 < word.size()) value = word.substr(i + (equals ? 2 : 1));
      with_value(*found, std::string("-") + word[i], value);
      return;
    }
  }

  void with_value(const CLI::Option& option, const std::string& shown,
                  const std::optional<std::string>& value) {
    if (value)
      put(option, *value, out_);
    else if (at_ < words_.size())
      put(option, words_[at_++], out_);
    else
      out_.push_back(shown);  // CLI11 says that the value is missing
  }

  const CLI::App& app_;
  std::span<const std::string> words_;
  std::size_t at_ = 0;
  std::vector<std::string> out_;
};

}  // namespace

std::vector<std::string> normalize(const CLI::App& app, std::span<const std::string> words,
                                   bool in_order) {
  return Normalizer(app, words).run(in_order);
}

}  // namespace minirun::cli
