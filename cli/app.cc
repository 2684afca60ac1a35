#include "cli/app.h"

#include <CLI/CLI.hpp>

namespace minirun::cli {

Option Option::required() const {
  option_->required();
  return *this;
}

Option Option::single() const {
  option_->allow_extra_args(false);
  return *this;
}

Option Option::range(int low, int high) const {
  option_->check(CLI::Range(low, high));
  return *this;
}

Option Option::one_of(std::initializer_list<const char*> words) const {
  option_->check(CLI::IsMember(words));
  return *this;
}

std::size_t Option::count() const {
  return option_->count();
}

Option App::add_option(const char* names, std::string& value, const char* help) const {
  return Option(app_->add_option(names, value, help));
}

Option App::add_option(const char* names, std::vector<std::string>& value, const char* help) const {
  return Option(app_->add_option(names, value, help));
}

Option App::add_option(const char* names, int& value, const char* help) const {
  return Option(app_->add_option(names, value, help));
}

Option App::add_option(const char* names, unsigned& value, const char* help) const {
  return Option(app_->add_option(names, value, help));
}

Option App::add_flag(const char* names, bool& value, const char* help) const {
  return Option(app_->add_flag(names, value, help));
}

App App::add_subcommand(const char* name, const char* help) const {
  return App(app_->add_subcommand(name, help));
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
  return Option(app_->get_option(name));
}

bool App::parsed() const {
  return app_->parsed();
}

std::string App::subcommand() const {
  return app_->get_subcommands().front()->get_name();
}

}  // namespace minirun::cli
