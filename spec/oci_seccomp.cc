// Owns: the linux.seccomp object. Must not: know libseccomp or which system calls exist.
#include <fmt/format.h>

#include "spec/oci_reader.h"
#include "spec/words.h"

namespace minirun {
namespace {

/// Keeps the word as written; false after a report.
bool read_kept_word(Json json, std::span<const Word<bool>> words, std::string& out) {
  bool ignored = false;
  if (!json.get_word(words, ignored)) return false;
  out = json.text();
  return true;
}

void read_arg(Json json, std::vector<SeccompArg>& args) {
  JsonObject object(json);
  SeccompArg arg;
  const auto index = object.require("index", "an argument from 0 to 5");
  bool good = index && index->get(arg.index, std::uint32_t{0}, std::uint32_t{5});
  const auto value = object.require("value", "a number");
  good = value && value->get(arg.value) && good;
  const auto second = object.find("valueTwo");
  good = (!second || second->get(arg.value_two)) && good;
  const auto op = object.require("op", "a comparison such as SCMP_CMP_EQ");
  good = op && read_kept_word(*op, seccomp_operator_words, arg.op) && good;
  if (good) args.push_back(std::move(arg));
}

void read_rule(Json json, std::vector<SeccompSyscall>& rules) {
  JsonObject object(json);
  SeccompSyscall& rule = rules.emplace_back();  // also a bad one: the rules count positions
  const auto names = object.require("names", "at least one system call");
  if (names && names->get(rule.names) && rule.names.empty())
    names->expected("at least one system call");
  if (const auto action = object.require("action", "an action such as SCMP_ACT_ALLOW"))
    read_kept_word(*action, seccomp_action_words, rule.action);
  object.read("errnoRet", rule.errno_ret);
  object.each("args", [&](Json item) { read_arg(item, rule.args); });
  object.ignore("comment");  // profiles of engines carry it
}

}  // namespace

void read_oci_seccomp(Json json, Seccomp& seccomp) {
  JsonObject object(json);
  if (const auto action = object.require("defaultAction", "an action such as SCMP_ACT_ERRNO"))
    read_kept_word(*action, seccomp_action_words, seccomp.default_action);
  object.read("defaultErrnoRet", seccomp.default_errno_ret);
  object.each("architectures", [&](Json item) {
    std::string name;
    if (read_kept_word(item, seccomp_architecture_words, name))
      seccomp.architectures.push_back(std::move(name));
  });
  if (const auto flags = object.find("flags")) {
    seccomp.flags.emplace();
    flags->each([&](Json item) {
      std::string name;
      if (read_kept_word(item, seccomp_flag_words, name)) seccomp.flags->push_back(std::move(name));
    });
  }
  object.read("listenerPath", seccomp.listener_path);
  object.read("listenerMetadata", seccomp.listener_metadata);
  object.each("syscalls", [&](Json item) { read_rule(item, seccomp.syscalls); });
}

}  // namespace minirun
