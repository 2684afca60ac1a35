#include "cli/app.h"

#include <CLI/CLI.hpp>
#include <algorithm>

namespace minirun::cli {
namespace {

/// `name`: "--long", "-s", or "!--no-long". `-long` and clusters of short ones are names too.
bool may_name(std::string_view word, std::string_view name) {
  if (!word.starts_with('-')) return false;
  const bool cluster = !word.starts_with("--");
  word = word.substr(0, word.find('='));
  word.remove_prefix(cluster ? 1 : 2);
  name.remove_prefix(name.find_first_not_of("!-"));
  return word == name || (cluster && name.size() == 1 && word.find(name) != word.npos);
}

}  // namespace

bool App::leaves_out(std::string_view names) const {
  if (words_ == nullptr || names.find('-') != names.find_first_not_of('!')) return false;
  while (!names.empty()) {
    const std::string_view name = names.substr(0, names.find(','));
    if (std::ranges::any_of(*words_, [&](std::string_view word) { return may_name(word, name); }))
      return false;
    names.remove_prefix(std::min(names.size(), name.size() + 1));
  }
  return true;
}

Option Option::required() const {
  option_->required();
  return *this;
}

Option Option::single() const {
  if (option_ != nullptr) option_->allow_extra_args(false);
  return *this;
}

Option Option::range(int low, int high) const {
  if (option_ != nullptr) option_->check(CLI::Range(low, high));
  return *this;
}

Option Option::one_of(std::initializer_list<const char*> words) const {
  if (option_ != nullptr) option_->check(CLI::IsMember(words));
  return *this;
}

std::size_t Option::count() const {
  return option_ != nullptr ? option_->count() : 0;
}

Option App::add_option(const char* names, std::string& value, const char* help) const {
  return leaves_out(names) ? Option() : Option(app_->add_option(names, value, help));
}

Option App::add_option(const char* names, std::vector<std::string>& value, const char* help) const {
  return leaves_out(names) ? Option() : Option(app_->add_option(names, value, help));
}

Option App::add_option(const char* names, int& value, const char* help) const {
  return leaves_out(names) ? Option() : Option(app_->add_option(names, value, help));
}

Option App::add_option(const char* names, unsigned& value, const char* help) const {
  return leaves_out(names) ? Option() : Option(app_->add_option(names, value, help));
}

Option App::add_flag(const char* names, bool& value, const char* help) const {
  return leaves_out(names) ? Option() : Option(app_->add_flag(names, value, help));
}

App App::add_subcommand(const char* name, const char* help) const {
  return App(app_->add_subcommand(name, help), words_);
}

void App::require_subcommand() const {
  app_->require_subcommand(1);
}

void App::alias(const char* name) const {
  app_->alias(name);
}

void App::footer(const char* text) const {
  app_->footer(text);
}

void App::take_anything() const {
  app_->allow_extras();
  app_->set_help_flag();
}

Option App::get_option(const char* name) const {
  return Option(app_->get_option_no_throw(name));
}

bool App::parsed() const {
  return app_->parsed();
}

std::string App::subcommand() const {
  return app_->get_subcommands().front()->get_name();
}

}  // namespace minirun::cli
