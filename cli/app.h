// Owns: the words in which a command declares its options and positionals. CLI11 reads them, but
// its headers take ten seconds to compile, so of the commands' files none sees them. Must not: know
// an option.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace minirun::cli {

/// A handle of an option or positional; App owns it. Of an option that App left out it does
/// nothing.
class Option {
 public:
  Option() = default;
  explicit Option(CLI::Option* option) : option_(option) {}

  /// Of a positional.
  Option required() const;
  /// One value each time that it is given, so that it does not take the positionals behind it.
  Option single() const;
  Option range(int low, int high) const;
  Option one_of(std::initializer_list<const char*> words) const;
  /// How often it was given.
  [[nodiscard]] std::size_t count() const;

 private:
  CLI::Option* option_ = nullptr;
};

/// A handle of a command or subcommand. Variables that are named to it must live as long as it.
/// With `words`, the command line, it leaves out the options that none of them can name: each costs
/// ten thousand instructions, and `run` has forty. Such a line that cannot be read has to be tried
/// again with all.
class App {
 public:
  App() = default;
  explicit App(CLI::App* app, const std::vector<std::string>* words = nullptr)
      : app_(app), words_(words) {}

  Option add_option(const char* names, std::string& value, const char* help = "") const;
  Option add_option(const char* names, std::vector<std::string>& value,
                    const char* help = "") const;
  Option add_option(const char* names, int& value, const char* help = "") const;
  Option add_option(const char* names, unsigned& value, const char* help = "") const;
  Option add_flag(const char* names, bool& value, const char* help) const;

  App add_subcommand(const char* name, const char* help) const;
  void require_subcommand() const;
  void alias(const char* name) const;
  void footer(const char* text) const;
  /// Every word is taken, `--help` too.
  void take_anything() const;

  [[nodiscard]] Option get_option(const char* name) const;
  /// Whether this subcommand was given.
  [[nodiscard]] bool parsed() const;
  /// The name of the subcommand that was given.
  [[nodiscard]] std::string subcommand() const;

 private:
  [[nodiscard]] bool leaves_out(std::string_view names) const;

  CLI::App* app_ = nullptr;
  const std::vector<std::string>* words_ = nullptr;
};

}  // namespace minirun::cli
