#include "runtime/id_maps.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/auxv.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <string>

#include "base/fd.h"
#include "base/file.h"

namespace minirun {
namespace {

constexpr const char* kUidHelper = "/usr/bin/newuidmap";
constexpr const char* kGidHelper = "/usr/bin/newgidmap";

std::vector<std::string_view> fields_of(std::string_view line) {
  std::vector<std::string_view> fields;
  for (;;) {
    const std::size_t colon = line.find(':');
    fields.push_back(line.substr(0, colon));
    if (colon == line.npos) return fields;
    line.remove_prefix(colon + 1);
  }
}

bool number(std::string_view text, std::uint32_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

template <typename Visit>
void each_line(std::string_view text, Visit visit) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    if (visit(text.substr(0, end))) return;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

/// user_namespaces(7): lines of three numbers, the second as this process sees it.
std::vector<IdMapping> map_of(std::string_view text) {
  std::vector<IdMapping> map;
  std::size_t at = 0;
  const auto next = [&](std::uint32_t& value) {
    at = text.find_first_not_of(" \n", at);
    if (at == text.npos) return false;
    const std::size_t end = std::min(text.find_first_of(" \n", at), text.size());
    const bool good = number(text.substr(at, end - at), value);
    at = end;
    return good;
  };
  for (IdMapping one{}; next(one.container_id) && next(one.host_id) && next(one.size);)
    map.push_back(one);
  return map;
}

/// Without the name service: a static program cannot load its modules, and subuid(5) is a file.
std::string login_of(uid_t uid) {
  const Result<std::string> passwd = read_file(AT_FDCWD, "/etc/passwd", 4 << 20);
  std::string login;
  if (passwd)
    each_line(*passwd, [&](std::string_view line) {
      const auto fields = fields_of(line);
      std::uint32_t id = 0;
      if (fields.size() < 3 || !number(fields[2], id) || id != uid) return false;
      login = fields[0];
      return true;
    });
  return login;
}

IdMapping range_in(const char* path, const std::string& login, uid_t uid) {
  const Result<std::string> text = read_file(AT_FDCWD, path, 4 << 20);
  return text ? subordinate_range(*text, login, uid) : IdMapping{};
}

Status write_directly(pid_t pid, const char* name, const std::vector<IdMapping>& map) {
  std::string text;
  for (const IdMapping& one : map)
    text += fmt::format("{} {} {}\n", one.container_id, one.host_id, one.size);
  const std::string path = fmt::format("/proc/{}/{}_map", pid, name);
  const Fd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) return os_error(path);
  // user_namespaces(7): one write of the whole map.
  if (TEMP_FAILURE_RETRY(::write(fd.get(), text.data(), text.size())) !=
      static_cast<ssize_t>(text.size()))
    return os_error(fmt::format("linux.{}Mappings", name), path);
  return {};
}

Status deny_setgroups(pid_t pid) {
  const std::string path = fmt::format("/proc/{}/setgroups", pid);
  const Fd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) return os_error(path);
  return write_all(fd.get(), "deny", path);
}

/// What the helper wrote before it ended; its end of the pipe closes with it.
std::string drain(int fd) {
  std::string text;
  std::array<char, 512> part{};
  for (;;) {
    const ssize_t size = TEMP_FAILURE_RETRY(::read(fd, part.data(), part.size()));
    if (size <= 0) break;
    if (text.size() < 4096) text.append(part.data(), static_cast<std::size_t>(size));
  }
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

Status run_helper(const char* helper, pid_t pid, const char* name,
                  const std::vector<IdMapping>& map) {
  const std::string field = fmt::format("linux.{}Mappings", name);
  std::vector<std::string> words{helper, std::to_string(pid)};
  for (const IdMapping& one : map)
    for (const std::uint32_t part : {one.container_id, one.host_id, one.size})
      words.push_back(std::to_string(part));
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return os_error(field, "pipe");
  const Fd reader(ends[0]);
  Fd writer(ends[1]);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, writer.get(), STDERR_FILENO);
  pid_t child = 0;
  const int error = ::posix_spawn(&child, helper, &actions, nullptr, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  writer = Fd();
  if (error == ENOENT)
    return os_error(error, field,
                    fmt::format("{} is not installed (package uidmap): without it only your own id "
                                "can be mapped, one of size 1",
                                helper));
  if (error != 0) return os_error(error, field, helper);
  const std::string words_of_it = drain(reader.get());
  int status = 0;
  if (TEMP_FAILURE_RETRY(::waitpid(child, &status, 0)) != child) return os_error(field, helper);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  return plain_error(field, words_of_it.empty() ? std::string(helper) + " failed" : words_of_it);
}

}  // namespace

IdMapping subordinate_range(std::string_view file, std::string_view login, uid_t uid) {
  IdMapping found{};
  each_line(file, [&](std::string_view line) {
    const auto fields = fields_of(line);
    IdMapping range{};
    std::uint32_t owner = 0;
    if (fields.size() != 3) return false;
    const bool mine =
        (!login.empty() && fields[0] == login) || (number(fields[0], owner) && owner == uid);
    if (!mine || !number(fields[1], range.host_id) || !number(fields[2], range.size) ||
        range.size == 0)
      return false;
    range.container_id = 1;
    found = range;
    return true;
  });
  return found;
}

IdMaps own_id_maps(uid_t uid, gid_t gid) {
  IdMaps maps{{{0, uid, 1}}, {{0, gid, 1}}};
  if (::access(kUidHelper, X_OK) != 0 || ::access(kGidHelper, X_OK) != 0) return maps;
  const std::string login = login_of(uid);
  const IdMapping uids = range_in("/etc/subuid", login, uid);
  const IdMapping gids = range_in("/etc/subgid", login, uid);
  if (uids.size == 0 || gids.size == 0) return maps;
  maps.uid.push_back(uids);
  maps.gid.push_back(gids);
  return maps;
}

SpecOptions caller_options() {
  SpecOptions options{.euid = static_cast<uid_t>(::getauxval(AT_EUID))};
  if (options.euid == 0) return options;
  IdMaps own = own_id_maps(options.euid, static_cast<gid_t>(::getauxval(AT_EGID)));
  options.own_uids = std::move(own.uid);
  options.own_gids = std::move(own.gid);
  return options;
}

bool is_self_map(const IdMaps& maps, uid_t uid, gid_t gid) {
  auto self = [](const std::vector<IdMapping>& map, std::uint32_t id) {
    return map.size() == 1 && map[0].host_id == id && map[0].size == 1;
  };
  return self(maps.uid, uid) && self(maps.gid, gid);
}

Status write_id_maps(pid_t pid, const IdMaps& maps, uid_t euid) {
  if (euid != 0) {
    if (!is_self_map(maps, euid, static_cast<gid_t>(::getauxval(AT_EGID)))) {
      TRY(run_helper(kGidHelper, pid, "gid", maps.gid));
      return run_helper(kUidHelper, pid, "uid", maps.uid);
    }
    TRY(deny_setgroups(pid));
  }
  TRY(write_directly(pid, "gid", maps.gid));
  return write_directly(pid, "uid", maps.uid);
}

Status expect_id_maps(pid_t pid, const IdMaps& maps) {
  for (const auto& [kind, map] : {std::pair{"uid", &maps.uid}, std::pair{"gid", &maps.gid}}) {
    if (map->empty()) continue;
    std::vector<IdMapping> given = *map;
    std::vector<IdMapping> real =
        map_of(TRY(read_file(AT_FDCWD, fmt::format("/proc/{}/{}_map", pid, kind))));
    std::ranges::sort(real, {}, &IdMapping::container_id);
    std::ranges::sort(given, {}, &IdMapping::container_id);
    if (real == given) continue;
    std::string shown;
    for (const IdMapping& one : real)
      shown += fmt::format("{}{} {} {}", shown.empty() ? "" : ", ", one.container_id, one.host_id,
                           one.size);
    return plain_error(fmt::format("linux.{}Mappings", kind),
                       fmt::format("the joined user namespace has others: {}", shown));
  }
  return {};
}

}  // namespace minirun
