#include "netns/netlink.h"

#include <linux/if_link.h>
#include <net/if.h>
#include <sched.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>

namespace minirun {

NetlinkMessage::NetlinkMessage(std::uint16_t type, std::uint16_t flags) {
  nlmsghdr header{};
  header.nlmsg_type = type;
  header.nlmsg_flags = static_cast<std::uint16_t>(flags | NLM_F_REQUEST | NLM_F_ACK);
  append(&header, sizeof header);
}

void NetlinkMessage::append(const void* data, std::size_t size) {
  const char* bytes = static_cast<const char*>(data);
  bytes_.insert(bytes_.end(), bytes, bytes + size);
  bytes_.resize(NLMSG_ALIGN(bytes_.size()));
}

NetlinkMessage& NetlinkMessage::attribute(std::uint16_t type, const void* data, std::size_t size) {
  const rtattr header{static_cast<std::uint16_t>(RTA_LENGTH(size)), type};
  append(&header, sizeof header);
  append(data, size);
  return *this;
}

NetlinkMessage& NetlinkMessage::attribute(std::uint16_t type, std::string_view text) {
  const std::string with_end(text);
  return attribute(type, with_end.c_str(), with_end.size() + 1);
}

NetlinkMessage& NetlinkMessage::nest(std::uint16_t type, const std::function<void()>& inside) {
  const std::size_t at = bytes_.size();
  const rtattr header{0, type};
  append(&header, sizeof header);
  inside();
  const auto length = static_cast<std::uint16_t>(bytes_.size() - at);
  std::memcpy(bytes_.data() + at, &length, sizeof length);
  return *this;
}

std::span<const char> NetlinkMessage::finish(std::uint32_t sequence) {
  nlmsghdr header{};
  std::memcpy(&header, bytes_.data(), sizeof header);
  header.nlmsg_len = static_cast<std::uint32_t>(bytes_.size());
  header.nlmsg_seq = sequence;
  std::memcpy(bytes_.data(), &header, sizeof header);
  return bytes_;
}

std::span<const char> find_attribute(std::span<const char> attributes, std::uint16_t type) {
  while (attributes.size() >= sizeof(rtattr)) {
    rtattr header{};
    std::memcpy(&header, attributes.data(), sizeof header);
    if (header.rta_len < sizeof header || header.rta_len > attributes.size()) return {};
    if ((header.rta_type & NLA_TYPE_MASK) == type)
      return attributes.subspan(sizeof header, header.rta_len - sizeof header);
    attributes =
        attributes.subspan(std::min<std::size_t>(RTA_ALIGN(header.rta_len), attributes.size()));
  }
  return {};
}

std::string read_text(std::span<const char> bytes) {
  return {bytes.data(), ::strnlen(bytes.data(), bytes.size())};
}

Result<Netlink> Netlink::open() {
  Netlink netlink;
  netlink.fd_ = Fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!netlink.fd_) return os_error("rtnetlink", "socket");
  const int on = 1;
  // Both are for the quality of errors only; the kernel has them since 4.12 and 4.20.
  ::setsockopt(netlink.fd_.get(), SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
  ::setsockopt(netlink.fd_.get(), SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
  return netlink;
}

namespace {

/// The kernel's sentence in an extended acknowledgement.
std::string words_of(const nlmsghdr& header, std::span<const char> payload) {
  if ((header.nlmsg_flags & NLM_F_ACK_TLVS) == 0 || payload.size() < sizeof(nlmsgerr)) return "";
  const auto words = find_attribute(payload.subspan(sizeof(nlmsgerr)), NLMSGERR_ATTR_MSG);
  return words.empty() ? "" : "kernel: " + read_text(words);
}

}  // namespace

Result<std::vector<std::vector<char>>> Netlink::exchange(NetlinkMessage& message,
                                                         const std::string& object) {
  const std::uint32_t sequence = ++sequence_;
  const std::span<const char> bytes = message.finish(sequence);
  if (TEMP_FAILURE_RETRY(::send(fd_.get(), bytes.data(), bytes.size(), 0)) < 0)
    return os_error(object, "rtnetlink send");
  std::vector<std::vector<char>> answers;
  std::vector<char> buffer(std::size_t{32} << 10);  // the kernel's dumps come in pieces below it
  for (;;) {
    const ssize_t size = TEMP_FAILURE_RETRY(::recv(fd_.get(), buffer.data(), buffer.size(), 0));
    if (size < 0) return os_error(object, "rtnetlink receive");
    std::span<const char> rest(buffer.data(), static_cast<std::size_t>(size));
    while (rest.size() >= sizeof(nlmsghdr)) {
      nlmsghdr header{};
      std::memcpy(&header, rest.data(), sizeof header);
      if (header.nlmsg_len < sizeof header || header.nlmsg_len > rest.size())
        return plain_error(object, "rtnetlink sent a malformed message");
      const auto payload = rest.subspan(NLMSG_HDRLEN, header.nlmsg_len - NLMSG_HDRLEN);
      rest = rest.subspan(std::min<std::size_t>(NLMSG_ALIGN(header.nlmsg_len), rest.size()));
      if (header.nlmsg_seq != sequence) continue;
      if (header.nlmsg_type == NLMSG_ERROR || header.nlmsg_type == NLMSG_DONE) {
        const int error = read_number<int>(payload);
        if (error < 0) return os_error(-error, object, words_of(header, payload));
        return answers;
      }
      answers.emplace_back(payload.begin(), payload.end());
    }
  }
}

Status Netlink::request(NetlinkMessage message, const std::string& object) {
  TRY(exchange(message, object));
  return {};
}

Result<std::vector<std::vector<char>>> Netlink::ask(NetlinkMessage message,
                                                    const std::string& object) {
  return exchange(message, object);
}

void return_to_network(const Fd& own) {
  if (::setns(own.get(), CLONE_NEWNET) != 0 && ::setns(own.get(), CLONE_NEWNET) != 0) std::abort();
}

Result<Link> find_link(Netlink& netlink, const std::string& name) {
  ifinfomsg info{};
  NetlinkMessage message(RTM_GETLINK, 0);
  message.put(info).attribute(IFLA_IFNAME, name);
  const auto answers = TRY(netlink.ask(std::move(message), name));
  if (answers.empty() || answers[0].size() < sizeof info) return os_error(ENODEV, name);
  const std::span<const char> answer = answers[0];
  const auto attributes = answer.subspan(sizeof info);
  Link link;
  link.index = read_number<ifinfomsg>(answer).ifi_index;
  link.up = (read_number<ifinfomsg>(answer).ifi_flags & IFF_UP) != 0;
  link.name = name;
  link.alias = read_text(find_attribute(attributes, IFLA_IFALIAS));
  link.kind = read_text(find_attribute(find_attribute(attributes, IFLA_LINKINFO), IFLA_INFO_KIND));
  link.mtu = read_number<std::uint32_t>(find_attribute(attributes, IFLA_MTU));
  return link;
}

Status remove_link(Netlink& netlink, const std::string& name) {
  NetlinkMessage message(RTM_DELLINK, 0);
  message.put(ifinfomsg{}).attribute(IFLA_IFNAME, name);
  const Status removed = netlink.request(std::move(message), name);
  return !removed && removed.error().errnum == ENODEV ? Status() : removed;
}

}  // namespace minirun
