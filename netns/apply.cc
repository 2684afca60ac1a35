#include "netns/apply.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/if_addr.h>
#include <linux/if_bridge.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/tc_act/tc_mirred.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>

#include "base/fault.h"
#include "base/file.h"
#include "netns/netlink.h"
#include "netns/port_rules.h"

namespace minirun {

// ---------------------------------------------------------------- programs

namespace {

std::string content_of(int fd, std::size_t limit) {
  std::string text(limit, '\0');
  const ssize_t size = ::pread(fd, text.data(), text.size(), 0);
  text.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
  return text;
}

/// The first or the last line, without what only decorates it.
std::string line_of(std::string text, bool last) {
  while (text.ends_with('\n')) text.pop_back();
  const std::size_t end = last ? text.rfind('\n') : text.npos;
  std::string line =
      last && end != text.npos ? text.substr(end + 1) : text.substr(0, text.find('\n'));
  std::erase_if(line, [](char c) { return static_cast<unsigned char>(c) < ' ' || c == 0x7f; });
  return line.size() > 300 ? line.substr(0, 300) : line;
}

std::vector<char*> pointers(const std::vector<std::string>& words) {
  std::vector<char*> list;
  list.reserve(words.size() + 1);
  for (const std::string& word : words) list.push_back(const_cast<char*>(word.c_str()));
  list.push_back(nullptr);
  return list;
}

Result<pid_t> start_tool(const ToolCall& call, int input, int output, int errors) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  ::posix_spawn_file_actions_adddup2(&actions, input, 0);
  ::posix_spawn_file_actions_adddup2(&actions, output, 1);
  ::posix_spawn_file_actions_adddup2(&actions, errors, 2);
  if (call.lock_fd >= 0) ::posix_spawn_file_actions_adddup2(&actions, call.lock_fd, 3);
  // Our signals are blocked or ignored; a program expects neither.
  sigset_t none, all;
  ::sigemptyset(&none);
  ::sigfillset(&all);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &all);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  pid_t pid = 0;
  const int error =
      ::posix_spawn(&pid, call.arguments[0].c_str(), &actions, &attributes,
                    pointers(call.arguments).data(), pointers(call.environment).data());
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  if (error != 0) return os_error(error, call.arguments[0]);
  return pid;
}

}  // namespace

Result<std::string> run_tool(const ToolCall& call) {
  // Files and not pipes: neither side can wait for the other.
  const Fd input(::memfd_create("input", MFD_CLOEXEC));
  const Fd output(::memfd_create("output", MFD_CLOEXEC));
  const Fd errors(::memfd_create("errors", MFD_CLOEXEC));
  if (!input || !output || !errors) return os_error(call.arguments[0], "memfd_create");
  TRY(write_all(input.get(), call.input, call.arguments[0]));
  if (::lseek(input.get(), 0, SEEK_SET) != 0) return os_error(call.arguments[0], "lseek");
  const pid_t pid = TRY(start_tool(call, input.get(), output.get(), errors.get()));
  int status = 0;
  if (TEMP_FAILURE_RETRY(::waitpid(pid, &status, 0)) != pid)
    return os_error(call.arguments[0], "wait");
  std::string text = content_of(output.get(), std::size_t{1} << 20);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return text;
  if (call.output_tells_errors && !text.empty()) return plain_error(call.object, std::move(text));
  std::string why = line_of(content_of(errors.get(), 4096), call.last_line_tells);
  if (why.empty()) why = line_of(text, call.last_line_tells);
  const std::string how = WIFEXITED(status)
                              ? fmt::format("status {}", WEXITSTATUS(status))
                              : fmt::format("SIG{}", ::sigabbrev_np(WTERMSIG(status)));
  return plain_error(call.object, fmt::format("{} ended with {}{}{}", call.arguments[0], how,
                                              why.empty() ? "" : ": ", why));
}

Status apply_rules(const std::string& nft, const RuleTable& table, int lock_fd) {
  if (nft.empty())
    return plain_error("network", "the program nft is not installed (package nftables)");
  TRY(run_tool({.arguments = {nft, "-j", "-f", "-"},
                .input = nft_json(table),
                .object = "network",
                .lock_fd = lock_fd}));
  return {};
}

// ---------------------------------------------------------------- steps

namespace {

using Op = NetStep::Op;

ifinfomsg up_flag(bool up) {
  ifinfomsg info{};
  if (up) info.ifi_flags = info.ifi_change = IFF_UP;
  return info;
}

void put_address(NetlinkMessage& message, std::uint16_t type, const Address& address) {
  message.attribute(type, address.bytes.data(), address.size());
}

Result<int> index_of(Netlink& netlink, const std::string& device) {
  const unsigned index = ::if_nametoindex(device.c_str());
  if (index != 0) return static_cast<int>(index);
  return TRY(find_link(netlink, device)).index;
}

Status add_bridge(Netlink& netlink, const NetStep& step) {
  TRY(remove_link(netlink, step.device));  // the rest of a crash: nobody else has such a name
  NetlinkMessage message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  message.put(ifinfomsg{}).attribute(IFLA_IFNAME, step.device);
  message.attribute(IFLA_ADDRESS, step.mac.data(), step.mac.size()).number(IFLA_MTU, step.mtu);
  message.nest(IFLA_LINKINFO, [&] { message.attribute(IFLA_INFO_KIND, "bridge"); });
  TRY(netlink.request(std::move(message), step.device));
  NetlinkMessage mark(RTM_NEWLINK, 0);  // the kernel takes no alias with the creation
  mark.put(ifinfomsg{}).attribute(IFLA_IFNAME, step.device);
  mark.attribute(IFLA_IFALIAS, step.text.data(), step.text.size());
  return netlink.request(std::move(mark), step.device);
}

Status rename_link(Netlink& netlink, const NetStep& step) {
  ifinfomsg info{};
  info.ifi_index = TRY(index_of(netlink, step.device));
  NetlinkMessage message(RTM_NEWLINK, 0);
  message.put(info).attribute(IFLA_IFNAME, step.peer);
  return netlink.request(std::move(message), step.peer);
}

/// The bridge may send a frame out where it came in: where br_netfilter is loaded, a container's
/// own published port is translated in the bridge and does not pass through the host's stack.
Status let_back(Netlink& netlink, const std::string& device) {
  ifinfomsg info{};
  info.ifi_family = AF_BRIDGE;
  info.ifi_index = TRY(index_of(netlink, device));
  NetlinkMessage message(RTM_SETLINK, 0);
  message.put(info).nest(IFLA_PROTINFO | NLA_F_NESTED, [&] {
    const std::uint8_t on = 1;
    message.attribute(IFLA_BRPORT_MODE, &on, sizeof on);
  });
  return netlink.request(std::move(message), device);
}

/// Both ends in one request: the peer is never in the host's namespace.
Status add_veth(Netlink& netlink, const NetStep& step, int netns) {
  NetlinkMessage message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  message.put(up_flag(true)).attribute(IFLA_IFNAME, step.device);
  message.number(IFLA_MTU, step.mtu);
  message.number(IFLA_MASTER, TRY(index_of(netlink, step.bridge)));
  message.nest(IFLA_LINKINFO, [&] {
    message.attribute(IFLA_INFO_KIND, "veth");
    message.nest(IFLA_INFO_DATA, [&] {
      message.nest(VETH_INFO_PEER, [&] {
        message.put(ifinfomsg{}).attribute(IFLA_IFNAME, step.peer);
        message.attribute(IFLA_ADDRESS, step.mac.data(), step.mac.size());
        message.number(IFLA_MTU, step.mtu).number(IFLA_NET_NS_FD, netns);
      });
    });
  });
  TRY(netlink.request(std::move(message), step.device));
  return step.text == hairpin_port ? let_back(netlink, step.device) : Status();
}

Status add_ifb(Netlink& netlink, const NetStep& step) {
  NetlinkMessage message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  message.put(up_flag(true)).attribute(IFLA_IFNAME, step.device).number(IFLA_MTU, step.mtu);
  message.nest(IFLA_LINKINFO, [&] { message.attribute(IFLA_INFO_KIND, "ifb"); });
  return netlink.request(std::move(message), step.device);
}

Status set_up(Netlink& netlink, const NetStep& step) {
  NetlinkMessage message(RTM_NEWLINK, 0);
  message.put(up_flag(true)).attribute(IFLA_IFNAME, step.device);
  return netlink.request(std::move(message), step.device);
}

Status add_address(Netlink& netlink, const NetStep& step) {
  ifaddrmsg info{};
  info.ifa_family = step.address.v6 ? AF_INET6 : AF_INET;
  info.ifa_prefixlen = static_cast<std::uint8_t>(step.prefix);
  // The lease says that nobody else has it: detection of duplicates would cost a second.
  if (step.address.v6) info.ifa_flags = IFA_F_NODAD;
  info.ifa_index = static_cast<unsigned>(TRY(index_of(netlink, step.device)));
  NetlinkMessage message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
  message.put(info);
  put_address(message, IFA_LOCAL, step.address);
  put_address(message, IFA_ADDRESS, step.address);
  if (!step.address.v6) {
    Address broadcast = step.address;
    for (std::size_t i = 0; i < 4; ++i) {
      const unsigned from = static_cast<unsigned>(i) * 8;
      const unsigned bits = step.prefix > from ? std::min(step.prefix - from, 8U) : 0;
      broadcast.bytes[i] = static_cast<std::uint8_t>(broadcast.bytes[i] | (0xffU >> bits));
    }
    put_address(message, IFA_BROADCAST, broadcast);
  }
  return netlink.request(std::move(message), step.address.text());
}

Status default_route(Netlink& netlink, const NetStep& step) {
  rtmsg route{};
  route.rtm_family = step.address.v6 ? AF_INET6 : AF_INET;
  route.rtm_table = RT_TABLE_MAIN;
  route.rtm_protocol = RTPROT_STATIC;
  route.rtm_scope = RT_SCOPE_UNIVERSE;
  route.rtm_type = RTN_UNICAST;
  NetlinkMessage message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL);
  message.put(route);
  put_address(message, RTA_GATEWAY, step.address);
  message.number(RTA_OIF, TRY(index_of(netlink, step.device)));
  return netlink.request(std::move(message), "default route");
}

tcmsg traffic_control(int index) {
  tcmsg message{};
  message.tcm_ifindex = index;
  return message;
}

Status limit_rate(Netlink& netlink, const NetStep& step) {
  tcmsg info = traffic_control(TRY(index_of(netlink, step.device)));
  info.tcm_parent = TC_H_ROOT;
  info.tcm_handle = TC_H_MAKE(1U << 16, 0U);
  tc_tbf_qopt options{};
  options.rate.rate =
      static_cast<std::uint32_t>(std::min<std::uint64_t>(step.rate_bytes, ~std::uint32_t{0}));
  options.rate.linklayer = TC_LINKLAYER_ETHERNET;  // else the kernel wants a table of the rate
  options.limit = step.limit_bytes;
  NetlinkMessage message(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL);
  message.put(info).attribute(TCA_KIND, "tbf");
  message.nest(TCA_OPTIONS, [&] {
    message.attribute(TCA_TBF_PARMS, &options, sizeof options);
    message.number(TCA_TBF_BURST, step.burst_bytes);
    if (step.rate_bytes >> 32 != 0) message.number(TCA_TBF_RATE64, step.rate_bytes);
  });
  return netlink.request(std::move(message), step.device);
}

Status take_ingress(Netlink& netlink, const NetStep& step) {
  tcmsg info = traffic_control(TRY(index_of(netlink, step.device)));
  info.tcm_parent = TC_H_INGRESS;
  info.tcm_handle = TC_H_MAKE(0xffffU << 16, 0U);
  NetlinkMessage message(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL);
  message.put(info).attribute(TCA_KIND, "ingress");
  return netlink.request(std::move(message), step.device);
}

Status redirect(Netlink& netlink, const NetStep& step) {
  tcmsg info = traffic_control(TRY(index_of(netlink, step.device)));
  info.tcm_parent = TC_H_MAKE(0xffffU << 16, 0U);
  info.tcm_info = TC_H_MAKE(1U << 16, htons(ETH_P_ALL));
  // One key with mask 0: everything.
  std::array<char, sizeof(tc_u32_sel) + sizeof(tc_u32_key)> all{};
  tc_u32_sel selector{};
  selector.flags = TC_U32_TERMINAL;
  selector.nkeys = 1;
  std::memcpy(all.data(), &selector, sizeof selector);
  tc_mirred mirror{};
  mirror.action = TC_ACT_STOLEN;
  mirror.eaction = TCA_EGRESS_REDIR;
  mirror.ifindex = static_cast<std::uint32_t>(TRY(index_of(netlink, step.peer)));
  NetlinkMessage message(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL);
  message.put(info).attribute(TCA_KIND, "u32");
  message.nest(TCA_OPTIONS, [&] {
    message.attribute(TCA_U32_SEL, all.data(), all.size());
    message.nest(TCA_U32_ACT, [&] {
      message.nest(1, [&] {
        message.attribute(TCA_ACT_KIND, "mirred");
        message.nest(TCA_ACT_OPTIONS,
                     [&] { message.attribute(TCA_MIRRED_PARMS, &mirror, sizeof mirror); });
      });
    });
  });
  return netlink.request(std::move(message), step.device);
}

Status set_sysctl(const NetStep& step) {
  const std::string path = "/proc/sys/" + step.text;
  const Fd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file) return os_error(path);
  return write_all(file.get(), step.peer, path);
}

/// Steps inside: this thread is in the container's network namespace for as long as they last.
class Applier {
 public:
  explicit Applier(const ApplyContext& context) : context_(context) {}
  ~Applier() { leave(); }
  Applier(const Applier&) = delete;
  Applier& operator=(const Applier&) = delete;

  Status run(const std::vector<NetStep>& steps) {
    host_ = TRY(Netlink::open());
    if (context_.pid != 0) {
      own_ = Fd(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
      const std::string path = fmt::format("/proc/{}/ns/net", context_.pid);
      container_ = Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
      if (!own_ || !container_) return os_error(path);
    }
    for (const NetStep& step : steps) {
      TRY(fault_step("net", step.field));
      if (Status done = run_one(step); !done)
        return std::unexpected(std::move(done).error().in(step.field));
    }
    return {};
  }

 private:
  Status run_one(const NetStep& step) {
    if (step.inside)
      TRY(enter());
    else
      leave();
    Netlink& netlink = step.inside ? inside_ : host_;
    switch (step.op) {
      case Op::rules:
        return apply_rules(context_.nft, step.rules, context_.lock_fd);
      case Op::add_bridge:
        return add_bridge(netlink, step);
      case Op::rename:
        return rename_link(netlink, step);
      case Op::add_veth:
        return add_veth(netlink, step, container_.get());
      case Op::add_ifb:
        return add_ifb(netlink, step);
      case Op::set_sysctl:
        return set_sysctl(step);
      case Op::add_address:
        return add_address(netlink, step);
      case Op::set_up:
        return set_up(netlink, step);
      case Op::default_route:
        return default_route(netlink, step);
      case Op::limit_rate:
        return limit_rate(netlink, step);
      case Op::take_ingress:
        return take_ingress(netlink, step);
      case Op::redirect:
        return redirect(netlink, step);
    }
    return {};
  }

  Status enter() {
    if (is_inside_) return {};
    if (::setns(container_.get(), CLONE_NEWNET) != 0) return os_error("network namespace", "setns");
    is_inside_ = true;
    inside_ = TRY(Netlink::open());
    return {};
  }

  void leave() {
    if (!is_inside_) return;
    return_to_network(own_);
    is_inside_ = false;
  }

  const ApplyContext& context_;
  Netlink host_, inside_;
  Fd own_, container_;
  bool is_inside_ = false;
};

}  // namespace

Status apply_steps(const std::vector<NetStep>& steps, const ApplyContext& context) {
  return Applier(context).run(steps);
}

}  // namespace minirun
