#include "spec/short_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/capabilities.h"
#include "spec/default_seccomp.h"
#include "spec/finding_matchers.h"
#include "spec/mount_options.h"

namespace minirun {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::Field;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

SpecOptions test_options() {
  SpecOptions options;
  options.resolve_device = [](const std::string& path) -> Result<DeviceNumbers> {
    if (path == "/dev/vda") return DeviceNumbers{Device::Type::block, 254, 0};
    if (path == "/dev/fuse") return DeviceNumbers{Device::Type::character, 10, 229};
    return os_error(ENOENT, path);
  };
  return options;
}

LoadedSpec loaded(const std::string& members, const SpecOptions& options = test_options()) {
  return parse_spec(R"({"command": ["sh"])" + (members.empty() ? "" : ", " + members) + "}",
                    "/base", options);
}

ContainerSpec good(const std::string& members, const SpecOptions& options = test_options()) {
  LoadedSpec result = loaded(members, options);
  EXPECT_THAT(result.findings, IsEmpty()) << members;
  EXPECT_EQ(result.format, Format::short_form);
  return std::move(result.spec);
}

Findings bad(const std::string& members) {
  return loaded(members).findings;
}

TEST(ShortReader, IsClosedByDefault) {
  const ContainerSpec spec = good("");
  std::vector<NamespaceType> types;
  for (const Namespace& ns : spec.namespaces) {
    types.push_back(ns.type);
    EXPECT_EQ(ns.path, "");
  }
  EXPECT_THAT(types,
              UnorderedElementsAre(NamespaceType::pid, NamespaceType::network, NamespaceType::mount,
                                   NamespaceType::uts, NamespaceType::ipc, NamespaceType::cgroup));
  EXPECT_EQ(spec.network.mode, Network::Mode::none);
  const Process& process = *spec.process;
  EXPECT_TRUE(process.no_new_privileges);
  EXPECT_EQ(*process.capabilities,
            (Capabilities{default_capabilities, default_capabilities, 0, default_capabilities, 0}));
  EXPECT_EQ(*spec.seccomp, default_seccomp(default_capabilities));
  EXPECT_THAT(process.env, ElementsAre(kDefaultPath));
  EXPECT_EQ(process.cwd, "/");
  EXPECT_EQ(spec.root.kind, Root::Kind::overlay);
  EXPECT_THAT(spec.root.lower, ElementsAre("/"));
  EXPECT_EQ(spec.root.upper, "");
  EXPECT_FALSE(spec.root.readonly);
  EXPECT_EQ(spec.hostname, "minirun");
  EXPECT_THAT(spec.masked_paths, Contains("/proc/kcore"));
  EXPECT_THAT(spec.masked_paths, Contains("/etc/shadow"));
  EXPECT_THAT(spec.readonly_paths, Contains("/proc/sys"));
  std::vector<std::string> destinations;
  for (const Mount& mount : spec.mounts) destinations.push_back(mount.destination);
  EXPECT_THAT(destinations, ElementsAre("/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue",
                                        "/sys", "/sys/fs/cgroup"));
  EXPECT_EQ(spec.resources.devices.front(),
            (DeviceRule{false, DeviceRule::Type::all, {}, {}, true, true, true}));
  EXPECT_EQ(spec.timeout, std::nullopt);
}

TEST(ShortReader, ProcessWords) {
  const ContainerSpec spec = good(R"("name": "web_1", "env": {"A": "b", "PATH": "/x"}, "cwd": "/w",
      "user": {"uid": 5, "gid": 6, "additional_gids": [7]}, "umask": "027", "terminal": true,
      "no_new_privs": false, "oom_score_adj": 500, "timeout": "1m30s", "cgroup": "/a",
      "annotations": {"k": "v"}, "sysctl": {"net.core.somaxconn": 5},
      "rlimits": {"nofile": 10, "core": {"soft": 0, "hard": "unlimited"}, "nproc": "unlimited"})");
  const Process& process = *spec.process;
  EXPECT_EQ(spec.name, "web_1");
  EXPECT_EQ(spec.hostname, "web-1");
  EXPECT_THAT(process.env, ElementsAre("TERM=xterm", "A=b", "PATH=/x"));
  EXPECT_EQ(process.user, (User{5, 6, 027, {7}}));
  EXPECT_FALSE(process.no_new_privileges);
  EXPECT_EQ(process.oom_score_adj, 500);
  EXPECT_EQ(spec.timeout, std::chrono::seconds(90));
  EXPECT_EQ(spec.cgroups_path, "/a");
  EXPECT_EQ(spec.sysctl.at("net.core.somaxconn"), "5");
  EXPECT_THAT(process.rlimits,
              ElementsAre(Rlimit{RLIMIT_NOFILE, 10, 10}, Rlimit{RLIMIT_CORE, 0, UINT64_MAX},
                          Rlimit{RLIMIT_NPROC, UINT64_MAX, UINT64_MAX}));
}

TEST(ShortReader, CommandIsAnArray) {
  EXPECT_THAT(parse_spec(R"({"command": "sh -c x"})", "/").findings,
              ElementsAre(error_at("/command", "\"sh -c x\", expected an array such as")));
  EXPECT_THAT(parse_spec("{}", "/").findings, ElementsAre(error_at("/command", "missing")));
  EXPECT_THAT(parse_spec(R"({"command": []})", "/").findings,
              ElementsAre(error_at("/command", "empty")));
  EXPECT_THAT(parse_spec(R"({"command": ["sh", 1, null]})", "/").findings,
              ElementsAre(error_at("/command/1", "1, expected a string"),
                          error_at("/command/2", "null, expected a string")));
  for (const char* document : {"null", "[]", "5", "\"x\"", "true"})
    EXPECT_THAT(parse_spec(document, "/").findings, ElementsAre(error_at("", "expected an object")))
        << document;
}

TEST(ShortReader, UsersAreNumbers) {
  EXPECT_EQ(good(R"("user": "1000:2000")").process->user, (User{1000, 2000, {}, {}}));
  EXPECT_EQ(good(R"("user": "1000")").process->user, (User{1000, 1000, {}, {}}));
  EXPECT_EQ(good(R"("user": 0)").process->user, (User{0, 0, {}, {}}));
  for (const char* user :
       {"\"root\"", "\"1000:\"", "\":5\"", "\"0x1\"", "\" 1\"", "\"1 \"", "\"01\"", "\"\"", "-1",
        "4294967295", "\"4294967295\"", "1.5", "true", "\"1:2:3\"", "\"99999999999\""})
    EXPECT_THAT(bad(std::string("\"user\": ") + user), ElementsAre(error_at("/user", "numbers")))
        << user;
  EXPECT_THAT(bad(R"("umask": "088")"), ElementsAre(error_at("/umask", "octal")));
  EXPECT_THAT(bad(R"("umask": 18)"), ElementsAre(error_at("/umask", "octal")));
}

TEST(ShortReader, CapabilitiesOpenUpByOneWord) {
  const auto caps = [](const std::string& members) { return *good(members).process->capabilities; };
  constexpr std::uint64_t kAll = (std::uint64_t{1} << capability_names.size()) - 1;
  EXPECT_EQ(caps(R"("capabilities": "all")").bounding, kAll);
  EXPECT_EQ(caps(R"("capabilities": "none")"), Capabilities{});
  EXPECT_EQ(caps(R"("capabilities": ["net_admin"])").effective, capability_bit(12));
  EXPECT_EQ(caps(R"("capabilities": {"add": ["CAP_NET_ADMIN"], "drop": ["chown"]})").permitted,
            (default_capabilities | capability_bit(12)) & ~capability_bit(0));
  EXPECT_EQ(caps(R"("capabilities": {"add": ["CAP_KILL"], "drop": ["all"]})").permitted,
            capability_bit(5));
  EXPECT_EQ(caps(R"("capabilities": ["kill"], "user": 5)").ambient, capability_bit(5));
  EXPECT_EQ(caps(R"("user": 5)").ambient, 0U);
  EXPECT_EQ(good(R"("capabilities": "all")").seccomp, default_seccomp(kAll));
  EXPECT_THAT(bad(R"("capabilities": ["CAP_X"])"),
              ElementsAre(error_at("/capabilities/0", "expected a capability")));
  EXPECT_THAT(bad(R"("capabilities": "everything")"),
              ElementsAre(error_at("/capabilities", "expected default, all, none")));
}

TEST(ShortReader, SeccompOpensUpByOneWord) {
  EXPECT_EQ(good(R"("seccomp": "unconfined")").seccomp, std::nullopt);
  EXPECT_EQ(good(R"("seccomp": {"defaultAction": "SCMP_ACT_LOG"})").seccomp->default_action,
            "SCMP_ACT_LOG");
  EXPECT_THAT(bad(R"("seccomp": "off")"), ElementsAre(error_at("/seccomp", "expected default")));
  EXPECT_THAT(bad(R"("seccomp": {"defaultAction": "x"})"),
              ElementsAre(error_at("/seccomp/defaultAction", "expected one of")));
}

TEST(ShortReader, Namespaces) {
  ContainerSpec spec = good(R"("namespaces": {"network": "host", "ipc": "/proc/1/ns/ipc",
                                               "time": "new"})");
  EXPECT_EQ(spec.find_namespace(NamespaceType::network), nullptr);
  EXPECT_EQ(spec.network.mode, Network::Mode::host);
  EXPECT_EQ(spec.find_namespace(NamespaceType::ipc)->path, "/proc/1/ns/ipc");
  EXPECT_NE(spec.find_namespace(NamespaceType::time), nullptr);
  spec = good(R"("network": "host")");
  EXPECT_EQ(spec.find_namespace(NamespaceType::network), nullptr);
  spec = good(R"("namespaces": {"uts": "host"})");
  EXPECT_EQ(spec.hostname, std::nullopt);
  EXPECT_THAT(bad(R"("namespaces": {"net": "new", "mount": "host", "pid": "no", "user": "new"})"),
              ElementsAre(error_at("/namespaces/net", "unknown namespace"),
                          error_at("/namespaces/mount", "always has its own"),
                          error_at("/namespaces/pid", "\"no\", expected new, host"),
                          error_at("/namespaces/user", "userns")));
  EXPECT_THAT(bad(R"("namespaces": {"network": "host"}, "network": "none")"),
              ElementsAre(error_at("/network", "host's")));
  EXPECT_THAT(bad(R"("namespaces": {"uts": "host"}, "hostname": "x")"),
              ElementsAre(error_at("/hostname", "uts namespace")));
  EXPECT_THAT(bad(R"("network": "bridged")"), ElementsAre(error_at("/network", "none, host")));
}

TEST(ShortReader, Network) {
  EXPECT_EQ(good(R"("network": "bridge")").network.mode, Network::Mode::bridge);
  EXPECT_EQ(good(R"("network": "bridge:blue")").network.name, "blue");
  EXPECT_EQ(good(R"("network": {"join": "db"})").network.join, "db");
  const Network network = good(R"("network": {"mode": "bridge", "name": "minirun0",
      "subnet": "10.88.0.0/16", "ip": "10.88.0.9", "ports": ["8080:80/tcp", "127.0.0.1:5353:53/udp",
      "[fd00::1]:9000-9001:90-91"], "dns": ["10.0.0.53"], "hosts": {"db": "10.0.0.7"}, "mtu": 1400,
      "bandwidth": {"ingress": "10M", "egress": 5000}})")
                              .network;
  ASSERT_EQ(network.ports.size(), 4U);
  EXPECT_EQ(network.ports[0], (PortMapping{"", 8080, 80, false, "network.ports[0]"}));
  EXPECT_EQ(network.ports[1], (PortMapping{"127.0.0.1", 5353, 53, true, "network.ports[1]"}));
  EXPECT_EQ(network.ports[3], (PortMapping{"fd00::1", 9001, 91, false, "network.ports[2]"}));
  EXPECT_EQ(network.ingress_bits, 10'000'000U);
  EXPECT_EQ(network.egress_bits, 5000U);
  EXPECT_EQ(network.hosts.at("db"), "10.0.0.7");
}

TEST(ShortReader, BadNetworksNameTheField) {
  const auto bad_network = [](const char* members) {
    return bad(std::string(R"("network": {)") + members + "}");
  };
  EXPECT_THAT(bad_network(R"("name": "a-name-of-16-chr")"),
              ElementsAre(error_at("/network/name", "16 characters")));
  EXPECT_THAT(bad_network(R"("name": "a/b")"), ElementsAre(error_at("/network/name", "letters")));
  EXPECT_THAT(bad_network(R"("subnet": "10.88.0.1/16")"),
              ElementsAre(error_at("/network/subnet", "without host bits")));
  EXPECT_THAT(bad_network(R"("subnet": "10.88.0.0/16", "ip": "10.89.0.2")"),
              ElementsAre(error_at("/network/ip", "not in the subnet")));
  EXPECT_THAT(bad_network(R"("ports": ["[::1]:80:80"])"),
              ElementsAre(error_at("/network/ports/0", "forwards nothing")));
  EXPECT_THAT(
      bad_network(R"("ports": ["80", "0:80", "1.2.3:1:1", "1-2:5", "1:1/sctp", "::1:1:1"])"),
      ElementsAre(error_at("/network/ports/0", "HOST:CONTAINER"),
                  error_at("/network/ports/1", "1 to 65535"),
                  error_at("/network/ports/2", "address"), error_at("/network/ports/3", "as many"),
                  error_at("/network/ports/4", "tcp or udp"),
                  error_at("/network/ports/5", "address")));
  EXPECT_THAT(bad_network(R"("dns": ["localhost"], "hosts": {"a b": "10.0.0.1", "c": "x"})"),
              ElementsAre(error_at("/network/dns/0", "address"),
                          error_at("/network/hosts/a b", "not a host name"),
                          error_at("/network/hosts/c", "address")));
  EXPECT_THAT(bad_network(R"("mtu": 100)"), ElementsAre(error_at("/network/mtu", "1280")));
  EXPECT_THAT(bad_network(R"("bandwidth": {"ingress": "10"})"),
              ElementsAre(error_at("/network/bandwidth/ingress", "1k to 1P")));
  EXPECT_THAT(bad_network(R"("mode": "pasta", "bandwidth": {"egress": "1M"})"),
              ElementsAre(error_at("/network", "bandwidth needs a bridge")));
  EXPECT_THAT(bad_network(R"("mode": "vlan")"),
              ElementsAre(error_at("/network/mode", "bridge or pasta")));
}

TEST(ShortReader, UserNamespace) {
  EXPECT_THAT(good(R"("userns": true)").uid_mappings, ElementsAre(IdMapping{0, 100000, 65536}));
  SpecOptions options = test_options();
  options.euid = 1000;
  options.own_uids = {{0, 1000, 1}};
  options.own_gids = {{0, 1001, 1}};
  const ContainerSpec spec = good(R"("userns": true)", options);
  EXPECT_THAT(spec.uid_mappings, ElementsAre(IdMapping{0, 1000, 1}));
  EXPECT_THAT(spec.gid_mappings, ElementsAre(IdMapping{0, 1001, 1}));
  EXPECT_THAT(spec.find_namespace(NamespaceType::user), testing::NotNull());
  for (const Mount& mount : spec.mounts)
    EXPECT_THAT(mount.options.data, testing::Not(Contains("gid=5")));
  EXPECT_THAT(
      good(R"("userns": {"uid": ["0:1:2", {"container": 5, "host": 10, "size": 3}]})").gid_mappings,
      ElementsAre(IdMapping{0, 1, 2}, IdMapping{5, 10, 3}));
  EXPECT_EQ(good(R"("userns": false)").find_namespace(NamespaceType::user), nullptr);
  EXPECT_THAT(bad(R"("userns": {"uid": ["0:1", "0:0:0", "5:0:4294967295"]})"),
              UnorderedElementsAre(error_at("/userns/uid/0", "container:host:size"),
                                   error_at("/userns/uid/1", "expected at least 1"),
                                   error_at("/userns/uid/2", "smaller range")));
  EXPECT_THAT(bad(R"("userns": true, "user": 70000)"),
              UnorderedElementsAre(error_at("/user", "uid 70000"), error_at("/user", "gid 70000")));
}

TEST(ShortReader, Root) {
  EXPECT_EQ(good(R"("root": "fs", "readonly": true)").root.path, "/base/fs");
  EXPECT_TRUE(good(R"("readonly": true)").root.readonly);
  EXPECT_THAT(good(R"("root": "/fs")").masked_paths, testing::Not(Contains("/etc/shadow")));
  const ContainerSpec spec =
      good(R"("root": {"overlay": {"lower": ["a", "/b"], "upper": "tmpfs", "size": "1Gi"}})");
  EXPECT_THAT(spec.root.lower, ElementsAre("/base/a", "/b"));
  EXPECT_EQ(spec.root.tmpfs_size_bytes, std::uint64_t{1} << 30);
  EXPECT_EQ(good(R"("root": {"overlay": {"lower": "/", "upper": "up", "work": "w"}})").root.upper,
            "/base/up");
  EXPECT_THAT(bad(R"("root": {"overlay": {"lower": [], "upper": "x", "size": "1Gi"}})"),
              ElementsAre(error_at("/root/overlay/lower", "empty array"),
                          error_at("/root/overlay/size", "expected only with")));
  EXPECT_THAT(bad(R"("root": 5)"), ElementsAre(error_at("/root", "expected a directory")));
  EXPECT_THAT(bad(R"("root": {"path": "x"})"),
              UnorderedElementsAre(error_at("/root/overlay", "missing"),
                                   warning_at("/root/path", "unknown")));
}

const Mount& own_mount(const ContainerSpec& spec, std::size_t from_end = 0) {
  return spec.mounts[spec.mounts.size() - 1 - from_end];
}

TEST(ShortReader, Mounts) {
  Mount mount = own_mount(good(R"("mounts": ["data:/data:ro"])"));
  EXPECT_EQ(mount.source, "/base/data");
  EXPECT_EQ(mount.destination, "/data");
  EXPECT_TRUE(mount.options.recursive_bind);
  EXPECT_EQ(mount.options.attr_set, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
  EXPECT_EQ(mount.options.rec_attr_set, std::uint64_t{MOUNT_ATTR_RDONLY});
  EXPECT_EQ(mount.field, "mounts[0]");
  mount = own_mount(good(R"("mounts": ["/a:/b:suid,dev"])"));
  EXPECT_EQ(mount.options.attr_set, 0U);
  mount = own_mount(good(R"("mounts": ["tmpfs:/tmp:size=1m,mode=1777"])"));
  EXPECT_EQ(mount.type, "tmpfs");
  EXPECT_THAT(mount.options.data, ElementsAre("size=1m", "mode=1777"));
  mount = own_mount(good(R"("mounts": [{"type": "tmpfs", "destination": "/t", "size": "1Mi"}])"));
  EXPECT_THAT(mount.options.data, ElementsAre("size=1048576"));
  mount = own_mount(
      good(R"("mounts": [{"source": "/a:b", "destination": "/c", "options": ["bind"]}])"));
  EXPECT_EQ(mount.source, "/a:b");
  EXPECT_FALSE(mount.options.recursive_bind);
  const ContainerSpec spec = good(R"("mounts": ["tmpfs:/dev/shm"])");
  EXPECT_EQ(std::count_if(spec.mounts.begin(), spec.mounts.end(),
                          [](const Mount& m) { return m.destination == "/dev/shm"; }),
            1);
  EXPECT_THAT(
      bad(R"("mounts": ["/a", ":/a", "/a:", "/a:/b:ro:x", "/a:b", "/a:/b/../c", 5,
                                {"destination": "/x"}, "/a:/b:size=1"])"),
      UnorderedElementsAre(
          error_at("/mounts/0", "source:destination"), error_at("/mounts/1", "source:destination"),
          error_at("/mounts/2", "source:destination"), error_at("/mounts/3", "source:destination"),
          error_at("/mounts/4/destination", "absolute"),
          error_at("/mounts/5/destination", "without \"..\""), error_at("/mounts/6", "expected"),
          error_at("/mounts/7/source", "missing"), error_at("/mounts/8/options", "size=1")));
}

TEST(ShortReader, Devices) {
  const ContainerSpec spec = good(R"("devices": ["/dev/fuse", {"source": "/dev/vda",
      "path": "/dev/disk", "access": "r"}, "/dev/fuse:/dev/f:rw"])");
  ASSERT_EQ(spec.devices.size(), 3U);
  EXPECT_EQ(spec.devices[0], (Device{Device::Type::character, "/dev/fuse", 10, 229, {}, 0, 0}));
  EXPECT_EQ(spec.devices[1].path, "/dev/disk");
  EXPECT_EQ(spec.resources.devices.back(),
            (DeviceRule{true, DeviceRule::Type::character, 10, 229, true, true, false}));
  EXPECT_THAT(
      bad(R"("devices": ["/dev/none", "fuse", "/dev/fuse:/dev/f:x"])"),
      ElementsAre(error_at("/devices/0", "No such file"), error_at("/devices/1", "absolute path"),
                  error_at("/devices/2", "letters r, w, m")));
}

TEST(ShortReader, CpuAndMemoryAsKubernetes) {
  const ContainerSpec spec = good(R"("resources": {
      "requests": {"cpu": "250m", "memory": "32Mi"},
      "limits": {"cpu": "500m", "memory": "64Mi", "pids": 100}})");
  EXPECT_EQ(spec.resources.cpu.shares, 256U);
  EXPECT_EQ(spec.resources.cpu.quota_us, 50000);
  EXPECT_EQ(spec.resources.cpu.period_us, 100000U);
  EXPECT_EQ(spec.resources.memory.limit_bytes, 67108864);
  EXPECT_EQ(spec.resources.memory.swap_bytes, 67108864);
  EXPECT_EQ(spec.resources.memory.reservation_bytes, std::nullopt);
  EXPECT_EQ(spec.resources.pids_limit, 100);
  EXPECT_EQ(spec.resources.unified.at("memory.oom.group"), "1");
  EXPECT_EQ(spec.origins.at("cpu.quota"),
            (Origin{"resources.limits.cpu", "500m", "500 * 100000 / 1000 = 50000 us"}));
  EXPECT_EQ(spec.origins.at("cpu.shares"),
            (Origin{"resources.requests.cpu", "250m", "250 * 1024 / 1000 = 256"}));
  EXPECT_EQ(spec.origins.at("memory.limit"),
            (Origin{"resources.limits.memory", "64Mi", "67108864 bytes"}));
  EXPECT_EQ(spec.origins.at("memory.swap").field, "resources.limits.memory");
  EXPECT_EQ(spec.origins.at("pids.limit"), (Origin{"resources.limits.pids", "100", ""}));
}

TEST(ShortReader, SharesComeFromTheLimitWithoutARequest) {
  const ContainerSpec spec = good(R"("resources": {"limits": {"cpu": 0.5}})");
  EXPECT_EQ(spec.resources.cpu.shares, 512U);
  EXPECT_EQ(spec.origins.at("cpu.shares"),
            (Origin{"resources.limits.cpu", "0.5",
                    "500 * 1024 / 1000 = 512 (no request: the limit counts)"}));
  EXPECT_EQ(spec.resources.memory, MemoryResources{});
}

TEST(ShortReader, RequestsAloneWriteNoLimit) {
  const ContainerSpec spec = good(R"("resources": {"requests": {"cpu": 1, "memory": "1Gi"}})");
  EXPECT_EQ(spec.resources.cpu.shares, 1024U);
  EXPECT_EQ(spec.resources.cpu.quota_us, std::nullopt);
  EXPECT_EQ(spec.resources.memory, MemoryResources{});
  EXPECT_TRUE(spec.origins.contains("memory.request"));
}

TEST(ShortReader, SwapAndOomGroup) {
  EXPECT_EQ(good(R"("resources": {"limits": {"memory": "1Mi", "swap": "1Mi"}})")
                .resources.memory.swap_bytes,
            2097152);
  EXPECT_EQ(good(R"("resources": {"limits": {"memory": "1Mi", "swap": "max"}})")
                .resources.memory.swap_bytes,
            -1);
  EXPECT_EQ(good(R"("resources": {"limits": {"memory": "1Mi"}, "oom_group": false})")
                .resources.unified.at("memory.oom.group"),
            "0");
  EXPECT_THAT(bad(R"("resources": {"limits": {"swap": "1Mi"}})"),
              ElementsAre(error_at("/resources/limits/swap", "limit of memory")));
}

TEST(ShortReader, CpuDetails) {
  const ContainerSpec spec = good(R"("resources": {"limits": {"cpu": "200m", "pids": "max"},
      "cpu": {"burst": "1ms", "period": "10ms"}, "cpuset": {"cpus": "0-1", "mems": "0"}})");
  EXPECT_EQ(spec.resources.cpu.quota_us, 2000);
  EXPECT_EQ(spec.resources.cpu.period_us, 10000U);
  EXPECT_EQ(spec.resources.cpu.burst_us, 1000U);
  EXPECT_EQ(spec.resources.cpu.cpus, "0-1");
  EXPECT_EQ(spec.resources.pids_limit, -1);
  EXPECT_EQ(spec.origins.at("cpu.period"), (Origin{"resources.cpu.period", "10ms", "10000 us"}));
  EXPECT_EQ(good(R"("resources": {"limits": {"cpu": "1m"}})").origins.at("cpu.quota").formula,
            "1 * 100000 / 1000 = 1000 us (the kernel's smallest quota)");
  EXPECT_EQ(good(R"("resources": {"cpu": {"idle": true}})").resources.cpu.idle, 1);
  EXPECT_THAT(bad(R"("resources": {"limits": {"cpu": 1}, "cpu": {"burst": "1s"}})"),
              ElementsAre(error_at("/resources/cpu/burst", "at most the quota of 100000 us")));
  EXPECT_THAT(bad(R"("resources": {"cpu": {"burst": "1ms", "period": "2s"}})"),
              UnorderedElementsAre(error_at("/resources/cpu/burst", "a CPU limit"),
                                   error_at("/resources/cpu/period", "expected 1000 to 1000000")));
  EXPECT_THAT(bad(R"("resources": {"requests": {"cpu": 1}, "cpu": {"idle": true}})"),
              ElementsAre(error_at("/resources/requests/cpu", "idle")));
  EXPECT_THAT(bad(R"("resources": {"cpuset": {"cpus": "3-1"}})"),
              ElementsAre(error_at("/resources/cpuset/cpus", "list")));
}

TEST(ShortReader, IoAndHugepagesAndUnified) {
  const ContainerSpec spec = good(R"("resources": {
      "io": [{"device": "/dev/vda", "rbps": "10Mi", "wiops": 100, "riops": "max"},
             {"device": "8:0", "wbps": 5, "weight": 200}],
      "hugepages": {"2Mi": "64Mi", "1Gi": "1Gi", "64Ki": 0}, "unified": {"memory.high": 5}})");
  const BlockIoResources& io = spec.resources.block_io;
  EXPECT_THAT(io.read_bps, ElementsAre(ThrottleDevice{254, 0, 10485760}));
  EXPECT_THAT(io.write_iops, ElementsAre(ThrottleDevice{254, 0, 100}));
  EXPECT_THAT(io.read_iops, IsEmpty());
  EXPECT_THAT(io.write_bps, ElementsAre(ThrottleDevice{8, 0, 5}));
  EXPECT_THAT(io.weight_device, ElementsAre(WeightDevice{8, 0, 200}));
  EXPECT_EQ(spec.origins.at("blockIO.rbps.254:0"),
            (Origin{"resources.io[0].rbps", "10Mi", "10485760 per second"}));
  EXPECT_THAT(spec.resources.hugepage_limits,
              ElementsAre(HugepageLimit{"2MB", 67108864}, HugepageLimit{"1GB", 1073741824},
                          HugepageLimit{"64KB", 0}));
  EXPECT_EQ(spec.resources.unified.at("memory.high"), "5");
  EXPECT_THAT(
      bad(R"("resources": {"io": [{"device": "/dev/none", "rbps": 1},
                     {"device": "/dev/fuse"}, {"device": "8"}, {"rbps": 0}, {"device": 5}],
                     "hugepages": {"3Mi": 1, "2Mi": "1Mi"},
                     "unified": {"a/b": "", "memory": "", "cgroup.procs": "1", "x.y": []}})"),
      UnorderedElementsAre(error_at("/resources/io/0/device", "No such file"),
                           error_at("/resources/io/1/device", "a block device"),
                           error_at("/resources/io/2/device", "such as /dev/vda or 8:0"),
                           error_at("/resources/io/3/device", "missing"),
                           error_at("/resources/io/3/rbps", "at least 1"),
                           error_at("/resources/io/4/device", "a block device"),
                           error_at("/resources/hugepages/3Mi", "page size"),
                           error_at("/resources/hugepages/2Mi", "multiple"),
                           error_at("/resources/unified/a~1b", "cgroup v2 file"),
                           error_at("/resources/unified/memory", "cgroup v2 file"),
                           error_at("/resources/unified/cgroup.procs", "belongs to the runtime"),
                           error_at("/resources/unified/x.y", "a string or an integer")));
}

TEST(ShortReader, BadQuantities) {
  for (auto [value, words] : std::initializer_list<std::pair<const char*, const char*>>{
           {"\"64mb\"", "\"64mb\", expected a quantity such as 64Mi"},
           {"\"Mi\"", "there is no digit"},
           {"\"-1\"", "not a negative"},
           {"\"400m\"", "thousandths"},
           {"\"\"", "expected a quantity"},
           {"[]", "an empty array, expected a quantity"},
           {"\" 5\"", "expected a quantity"},
           {"\"100E\"", "at most 9223372036854775807"}})
    EXPECT_THAT(bad(std::string(R"("resources": {"limits": {"memory": )") + value + "}}"),
                ElementsAre(error_at("/resources/limits/memory", words)))
        << value;
}

TEST(ShortReader, LimitsBelowRequests) {
  EXPECT_THAT(bad(R"("resources": {"requests": {"cpu": "2", "memory": "65Mi"},
                                   "limits": {"cpu": "500m", "memory": "64Mi"}})"),
              ElementsAre(error_at("/resources/requests/cpu",
                                   "\"2\", expected at most the limit \"500m\" at "
                                   "/resources/limits/cpu"),
                          error_at("/resources/requests/memory", "at most the limit \"64Mi\"")));
}

TEST(ShortReader, AZeroLimitIsNoneAsInKubernetes) {
  EXPECT_THAT(bad(R"("resources": {"limits": {"cpu": 0, "memory": 0}})"),
              ElementsAre(warning_at("/resources/limits/cpu", "no limit"),
                          warning_at("/resources/limits/memory", "no limit")));
}

TEST(ShortReader, UnknownKeysAreWarnings) {
  EXPECT_THAT(bad(R"("comand": 1, "resources": {"limit": {}, "limits": {"mem": 1}}, "zzz": 1)"),
              UnorderedElementsAre(warning_at("/comand", "did you mean \"command\"?"),
                                   warning_at("/resources/limit", "did you mean \"limits\"?"),
                                   warning_at("/resources/limits/mem", "unknown property"),
                                   warning_at("/zzz", "unknown property, ignored")));
  EXPECT_THAT(bad(R"("$schema": "x", "description": "y")"), IsEmpty());
}

TEST(ShortReader, PathsAndTimeouts) {
  EXPECT_THAT(good(R"("masked_paths": ["/a"])").masked_paths, ElementsAre("/a"));
  EXPECT_THAT(good(R"("readonly_paths": "none")").readonly_paths, IsEmpty());
  EXPECT_THAT(bad(R"("masked_paths": ["a", "/b/../c"], "readonly_paths": 1, "timeout": "soon",
                     "cgroup": "../x", "cwd": "w", "env": ["A"])"),
              UnorderedElementsAre(
                  error_at("/masked_paths/0", "absolute"), error_at("/masked_paths/1", "without"),
                  error_at("/readonly_paths", "expected an array"),
                  error_at("/timeout", "a duration"), error_at("/cgroup", "without"),
                  error_at("/cwd", "absolute"), error_at("/env", "NAME=value")));
}

}  // namespace
}  // namespace minirun
