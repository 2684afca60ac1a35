#include "runtime/spec_facts.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/mount.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/fd.h"
#include "base/file.h"
#include "runtime/rdt.h"
#include "stage/freestanding/interpreter.h"
#include "stage/step.h"

namespace minirun {
namespace {

bool apparmor_is_on() {
  const Result<std::string> text =
      read_file(AT_FDCWD, "/sys/module/apparmor/parameters/enabled", 16);
  return text && text->starts_with('Y');
}

/// Runs steps in this process; false when one failed. What they opened is closed again.
bool try_steps(const Steps& steps) {
  Result<std::string> program = encode(steps, {}, false);
  if (!program) return false;
  std::vector<int> slots(wire::max_slots, -1);
  wire::Context context;
  context.base = program->data();
  context.program = reinterpret_cast<const wire::Program*>(program->data());
  context.slots = slots.data();
  wire::relocate(context);
  const bool good = wire::run(context);
  for (const int fd : slots)
    if (fd >= 0) ::close(fd);
  return good;
}

/// The kernel tells only by trying, on a clone of the mount that nobody sees.
bool can_idmap(const std::string& directory) {
  constexpr std::int64_t userns = 1, tree = 2;
  return try_steps({{.op = Op::user_namespace, .n = {userns}, .s = {"0 0 1\n", "0 0 1\n"}},
                    {.op = Op::clone_tree, .n = {tree, 0}, .s = {directory}},
                    {.op = Op::set_attr, .n = {tree, MOUNT_ATTR_IDMAP, 0, 0, 0, userns}}});
}

}  // namespace

std::string resctrl_mount() {
  const Fd file(::open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC));
  std::string text;
  std::array<char, 16384> part{};
  for (ssize_t size = 0;
       file && (size = TEMP_FAILURE_RETRY(::read(file.get(), part.data(), part.size()))) > 0;)
    text.append(part.data(), static_cast<std::size_t>(size));
  return find_resctrl(text);
}

void discover_for(const ContainerSpec& spec, std::string_view id, HostFacts& facts) {
  if (spec.intel_rdt) facts.rdt = read_rdt_facts(resctrl_mount(), *spec.intel_rdt, id);
  if (spec.process && !spec.process->apparmor_profile.empty()) facts.apparmor = apparmor_is_on();
  if ((spec.process && !spec.process->selinux_label.empty()) || !spec.mount_label.empty())
    facts.selinux = ::access("/sys/fs/selinux/enforce", F_OK) == 0;
  // Overlay takes idmapped layers since Linux 5.19.
  if (spec.root.kind == Root::Kind::overlay && facts.kernel_at_least(5, 19) &&
      spec.find_namespace(NamespaceType::user) != nullptr)
    for (const std::string& layer : spec.root.lower)
      if (can_idmap(layer)) facts.idmappable.push_back(layer);
}

}  // namespace minirun
