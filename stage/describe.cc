// Owns: the words for operations and calls.
#include <fmt/format.h>
#include <sched.h>

#include "stage/step.h"

namespace minirun {
namespace {

std::string namespaces(std::int64_t flags) {
  struct Row {
    std::int64_t flag;
    const char* name;
  };
  constexpr Row rows[] = {{CLONE_NEWPID, "pid"},       {CLONE_NEWNET, "network"},
                          {CLONE_NEWNS, "mount"},      {CLONE_NEWIPC, "ipc"},
                          {CLONE_NEWUTS, "uts"},       {CLONE_NEWUSER, "user"},
                          {CLONE_NEWCGROUP, "cgroup"}, {0x80 /* CLONE_NEWTIME */, "time"}};
  std::string names;
  for (const Row& row : rows)
    if ((flags & row.flag) != 0) names += fmt::format("{}{}", names.empty() ? "" : ", ", row.name);
  return names;
}

std::string options(const StringList& pairs) {
  std::string joined;
  for (std::size_t i = 0; i + 1 < pairs.size(); i += 2)
    joined += fmt::format("{}{}{}{}", joined.empty() ? " with " : ",", pairs[i],
                          pairs[i + 1].empty() ? "" : "=", pairs[i + 1]);
  return joined;
}

/// "0 100000 65536\n" of both maps as "uid 0:100000:65536, gid ...".
std::string ranges(const Step& step) {
  std::string words;
  for (const std::size_t map : {0U, 1U}) {
    std::string text(step.text(map));
    while (text.ends_with('\n')) text.pop_back();
    for (char& c : text) c = c == ' ' ? ':' : c == '\n' ? ' ' : c;
    words += fmt::format("{}{} {}", map == 0 ? "" : ", ", map == 0 ? "uid" : "gid", text);
  }
  return words;
}

std::string joined(const StringList& list, std::string_view separator) {
  return fmt::format("{}", fmt::join(list, separator));
}

}  // namespace

std::string_view name(Op op) {
  switch (op) {
#define NAME(x) \
  case Op::x:   \
    return #x;
    NAME(make_mount)
    NAME(make_overlay)
    NAME(clone_tree)
    NAME(set_attr)
    NAME(stage_mount)
    NAME(attach)
    NAME(set_attr_path)
    NAME(propagation)
    NAME(attach_root)
    NAME(pivot_root)
    NAME(mask)
    NAME(readonly_path)
    NAME(user_namespace)
    NAME(open_file)
    NAME(make_directory)
    NAME(make_node)
    NAME(bind_node)
    NAME(make_symlink)
    NAME(copy_up)
    NAME(write_file)
    NAME(set_namespace)
    NAME(unshare)
    NAME(become_root)
    NAME(fork_into)
    NAME(new_session)
    NAME(keyring)
    NAME(hostname)
    NAME(domainname)
    NAME(loopback)
    NAME(death_signal)
    NAME(rlimit)
    NAME(scheduler)
    NAME(io_priority)
    NAME(affinity)
    NAME(memory_policy)
    NAME(personality)
    NAME(lsm_label)
    NAME(dumpable)
    NAME(working_directory)
    NAME(home)
    NAME(bounding)
    NAME(groups)
    NAME(ids)
    NAME(capset)
    NAME(ambient)
    NAME(no_new_privs)
    NAME(seccomp)
    NAME(console)
    NAME(barrier)
    NAME(listen_start)
    NAME(check_executable)
    NAME(close_fds)
    NAME(reset_signals)
    NAME(execute)
    NAME(fail)
    NAME(die)
#undef NAME
    case Op::umask_:
      return "umask";
    case Op::count_:
      break;
  }
  return "?";
}

std::string_view name(wire::Call call) {
  static constexpr std::string_view names[] = {"none",          "fsopen",
                                               "fsconfig",      "fsmount",
                                               "open_tree",     "mount_setattr",
                                               "move_mount",    "openat2",
                                               "mkdirat",       "mknodat",
                                               "symlinkat",     "fchmodat",
                                               "fchownat",      "fstat",
                                               "fchdir",        "chdir",
                                               "getcwd",        "pivot_root",
                                               "umount2",       "mount",
                                               "write",         "read",
                                               "setns",         "unshare",
                                               "setresuid",     "setresgid",
                                               "clone",         "setsid",
                                               "keyctl",        "sethostname",
                                               "setdomainname", "socket",
                                               "ioctl",         "prctl",
                                               "setrlimit",     "sched_setattr",
                                               "ioprio_set",    "sched_setaffinity",
                                               "set_mempolicy", "personality",
                                               "setgroups",     "capset",
                                               "seccomp",       "accept",
                                               "sendmsg",       "close_range",
                                               "fcntl",         "execve",
                                               "open",          "dup3",
                                               "getdents64",    "program",
                                               "injected fault"};
  static_assert(std::size(names) == static_cast<std::size_t>(wire::Call::count_));
  const auto index = static_cast<std::size_t>(call);
  return index < std::size(names) ? names[index] : "unknown call";
}

std::string describe(const Step& step) {
  const auto& n = step.n;
  switch (step.op) {
    case Op::make_mount:
      return fmt::format("make a {} mount{}{}{}", step.text(0), options(step.list(1)),
                         n[5] != 0 ? fmt::format(" on {}", step.text(2)) : "",
                         n[2] > 0 ? ", or take the host's where the kernel refuses it" : "");
    case Op::make_overlay:
      return fmt::format("make an overlay of {} below {}", joined(step.list(0), ", "),
                         n[2] >= 0 ? "a throw-away tmpfs" : step.text(1));
    case Op::clone_tree:
      return fmt::format("open {}{} as a mount{}", step.text(0), n[1] != 0 ? " and all below" : "",
                         n[2] != 0 ? fmt::format(", propagation {:#x}", n[2]) : "");
    case Op::set_attr:
      return fmt::format("set mount attributes +{:#x} -{:#x} propagation {:#x}{}{}", n[1], n[2],
                         n[3], n[4] != 0 ? " recursively" : "", n[5] >= 0 ? " idmapped" : "");
    case Op::stage_mount:
      return "park the mount out of sight";
    case Op::attach:
      return fmt::format("mount on {}", step.text(0));
    case Op::set_attr_path:
      return fmt::format("set mount attributes of {} +{:#x} -{:#x}", step.text(0), n[1], n[2]);
    case Op::propagation:
      return fmt::format("set propagation of / to {:#x}{}", n[0], n[1] != 0 ? " recursively" : "");
    case Op::attach_root:
      return "attach the root file system" +
             (step.text(0).empty() ? "" : " " + std::string(step.text(0)));
    case Op::pivot_root:
      return n[2] == 0 ? "pivot into the root file system"
                       : "chroot into the root file system, above the host's (--no-pivot)";
    case Op::mask:
      return fmt::format("mask {}", step.text(0));
    case Op::readonly_path:
      return fmt::format("make {} read-only", step.text(0));
    case Op::user_namespace:
      return fmt::format("make a user namespace of the mappings {}", ranges(step));
    case Op::open_file:
      return fmt::format("open {}", step.text(0));
    case Op::make_directory:
      return fmt::format("make directory {}", step.text(0));
    case Op::make_node:
      return fmt::format("make device {} {}:{}", step.text(0), (n[2] >> 8) & 0xfff,
                         (n[2] & 0xff) | ((n[2] >> 12) & 0xfff00));
    case Op::bind_node:
      return fmt::format("bind the host's device on {}", step.text(0));
    case Op::make_symlink:
      return fmt::format("link {} to {}", step.text(1), step.text(0));
    case Op::copy_up:
      return fmt::format("copy the content of {} into the new mount", step.text(0));
    case Op::write_file:
      return fmt::format("write \"{}\" to {}", step.text(1), step.text(0));
    case Op::set_namespace:
      return fmt::format("join {} namespace", namespaces(n[1]));
    case Op::unshare:
      return fmt::format("new namespaces: {}", namespaces(n[0]));
    case Op::become_root:
      return "become root of the user namespace";
    case Op::fork_into:
      return "fork into the namespaces";
    case Op::new_session:
      return n[0] != 0 ? "start a session at the terminal" : "start a session";
    case Op::keyring:
      return fmt::format("join session keyring {}", step.text(0));
    case Op::hostname:
      return fmt::format("set hostname {}", step.text(0));
    case Op::domainname:
      return fmt::format("set domainname {}", step.text(0));
    case Op::loopback:
      return "bring the loopback interface up";
    case Op::death_signal:
      return n[0] == 0 ? "outlive the parent" : "die with the parent";
    case Op::rlimit:
      return fmt::format("set resource limit {} to {}:{}", n[0], static_cast<std::uint64_t>(n[1]),
                         static_cast<std::uint64_t>(n[2]));
    case Op::umask_:
      return fmt::format("set umask {:04o}", n[0]);
    case Op::scheduler:
      return "set the scheduling policy";
    case Op::io_priority:
      return fmt::format("set I/O priority {:#x}", n[0]);
    case Op::affinity:
      return "set CPU affinity";
    case Op::memory_policy:
      return fmt::format("set memory policy {:#x}", n[0]);
    case Op::personality:
      return fmt::format("set personality {:#x}", n[0]);
    case Op::lsm_label:
      return fmt::format("write \"{}\" to {}", step.text(1), step.text(0));
    case Op::dumpable:
      return fmt::format("set dumpable {}", n[0]);
    case Op::working_directory:
      return fmt::format("enter working directory {}", step.text(0));
    case Op::home:
      return fmt::format("find the home directory of uid {}", n[1]);
    case Op::bounding:
      return fmt::format("drop the bounding set except {:#018x}", n[0]);
    case Op::groups:
      return fmt::format("set {} supplementary groups", n[0]);
    case Op::ids:
      return fmt::format("become uid {} gid {}", n[0], n[1]);
    case Op::capset:
      return fmt::format("set capabilities effective {:#x} permitted {:#x} inheritable {:#x}", n[0],
                         n[1], n[2]);
    case Op::ambient:
      return fmt::format("set ambient capabilities {:#x}", n[0]);
    case Op::no_new_privs:
      return "set no_new_privs";
    case Op::seccomp:
      return fmt::format("load the seccomp filter of {} instructions", n[1]);
    case Op::console:
      return fmt::format("make a terminal{}", n[4] != 0 ? " and /dev/console" : "");
    case Op::barrier:
      return n[0] == static_cast<std::int64_t>(wire::MessageKind::hooks)
                 ? "wait for the hooks"
                 : "wait for the word to go";
    case Op::listen_start:
      return "wait for start";
    case Op::check_executable:
      return fmt::format("look for {}", joined(step.list(0), ", "));
    case Op::close_fds:
      return fmt::format("close descriptors from {} on{}", n[0], n[2] != 0 ? ", by the exec" : "");
    case Op::reset_signals:
      return n[0] == 0 ? "unblock all signals"
                       : fmt::format("unblock all signals, do not ignore {:#x}", n[0]);
    case Op::execute:
      return fmt::format("execute {}", joined(step.list(1), " "));
    case Op::fail:
      return "injected failure";
    case Op::die:
      return "injected death";
    case Op::count_:
      break;
  }
  return "?";
}

}  // namespace minirun
