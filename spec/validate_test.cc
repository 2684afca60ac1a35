#include "spec/validate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include "spec/finding_matchers.h"

namespace minirun {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

ContainerSpec sound() {
  ContainerSpec spec;
  spec.process.emplace().args = {"sh"};
  spec.namespaces = {{NamespaceType::mount, ""}};
  return spec;
}

TEST(Validate, IdsOfContainers) {
  for (const char* id : {"a", "web-1", "A_b+c.d", "...", "-x"}) EXPECT_TRUE(validate_id(id)) << id;
  for (const std::string& id :
       {std::string(), std::string("."), std::string(".."), std::string("a/b"), std::string("a b"),
        std::string("\n"), std::string("a\0b", 3), std::string("\xc3\xa9"), std::string(129, 'a')})
    EXPECT_FALSE(validate_id(id)) << id;
  EXPECT_TRUE(validate_id(std::string(128, 'a')));
}

TEST(Validate, SysctlPaths) {
  EXPECT_EQ(sysctl_path("net.ipv4.ip_forward"), "net/ipv4/ip_forward");
  EXPECT_EQ(sysctl_path("net/ipv4/conf/eth0.1/forwarding"), "net/ipv4/conf/eth0.1/forwarding");
  EXPECT_EQ(sysctl_path("net.ipv4.conf.eth0/1.forwarding"), "net/ipv4/conf/eth0.1/forwarding");
  for (const char* key : {"", ".", "..", "net.", ".net", "net..x", "net/../kernel/core_pattern",
                          "net/./x", "net.ipv4.../../../kernel.core_pattern", "fs.mqueue.../x"})
    EXPECT_FALSE(sysctl_path(key)) << key;
  EXPECT_FALSE(sysctl_path(std::string_view("net.a\0b", 7)));
  EXPECT_FALSE(sysctl_path(std::string(5000, 'a')));
}

TEST(Validate, SysctlsNeedTheirNamespace) {
  ContainerSpec spec = sound();
  spec.sysctl = {{"net.core.somaxconn", "1"},
                 {"kernel.shmmax", "1"},
                 {"fs.mqueue.msg_max", "1"},
                 {"kernel.domainname", "x"},
                 {"user.max_user_namespaces", "0"}};
  EXPECT_THAT(validate(spec, Format::oci),
              UnorderedElementsAre(
                  error_at("/linux/sysctl/net.core.somaxconn", "the namespace network"),
                  error_at("/linux/sysctl/kernel.shmmax", "the namespace ipc"),
                  error_at("/linux/sysctl/fs.mqueue.msg_max", "the namespace ipc"),
                  error_at("/linux/sysctl/kernel.domainname", "the namespace uts"),
                  error_at("/linux/sysctl/user.max_user_namespaces", "the namespace user")));
  spec.namespaces = {{NamespaceType::network, ""},
                     {NamespaceType::ipc, ""},
                     {NamespaceType::uts, ""},
                     {NamespaceType::user, ""}};
  spec.uid_mappings = spec.gid_mappings = {{0, 100, 1}};
  EXPECT_THAT(validate(spec, Format::oci), IsEmpty());
  spec.sysctl = {{"kernel.core_pattern", "|x"},
                 {"kernel.hostname", "x"},
                 {"vm.swappiness", "1"},
                 {"net/../kernel/core_pattern", "x"},
                 {"", "x"}};
  EXPECT_THAT(validate(spec, Format::short_form),
              UnorderedElementsAre(error_at("/sysctl/kernel.core_pattern", "the whole host"),
                                   error_at("/sysctl/kernel.hostname", "hostname instead"),
                                   error_at("/sysctl/vm.swappiness", "the whole host"),
                                   error_at("/sysctl/net~1..~1kernel~1core_pattern", "a name"),
                                   error_at("/sysctl/", "a name")));
}

TEST(Validate, UserNamespaces) {
  ContainerSpec spec = sound();
  spec.uid_mappings = {{0, 1000, 1}};
  EXPECT_THAT(validate(spec, Format::oci),
              ElementsAre(error_at("/linux/uidMappings", "a user namespace")));
  spec.namespaces.push_back({NamespaceType::user, ""});
  EXPECT_THAT(validate(spec, Format::oci), ElementsAre(error_at("/linux/gidMappings", "missing")));
  spec.gid_mappings = spec.uid_mappings = {{0, 1000, 10}, {5, 2000, 10}, {100, 1009, 1}};
  spec.process->user = {3, 200, {}, {4, 300}};
  EXPECT_THAT(validate(spec, Format::oci),
              UnorderedElementsAre(error_at("/linux/uidMappings/1/containerID", "of entry 0"),
                                   error_at("/linux/uidMappings/2/hostID", "of entry 0"),
                                   error_at("/linux/gidMappings/1/containerID", "of entry 0"),
                                   error_at("/linux/gidMappings/2/hostID", "of entry 0"),
                                   error_at("/process/user/gid", "200, expected an id that"),
                                   error_at("/process/user/additionalGids/1", "300, expected")));
  spec.uid_mappings = {{4294967290, 0, 10}};
  spec.gid_mappings = {{0, 0, 4294967295}};
  spec.process->user = {4294967290, 0, {}, {}};
  EXPECT_THAT(validate(spec, Format::oci),
              ElementsAre(error_at("/linux/uidMappings/0", "smaller range")));
  spec.namespaces.back().path = "/proc/1/ns/user";
  spec.uid_mappings = spec.gid_mappings = {{4294967290, 0, 1}, {0, 1, 1}};
  EXPECT_THAT(validate(spec, Format::oci), IsEmpty()) << "whether it has them, the launch sees";
}

TEST(Validate, NamespacesTimeAndNetDevices) {
  ContainerSpec spec = sound();
  spec.namespaces.push_back({NamespaceType::mount, "/x"});
  spec.hostname = std::string(65, 'a');
  spec.time_offsets["monotonic"] = {1, 0};
  spec.net_devices = {{"eth0", "a/b"}};
  EXPECT_THAT(
      validate(spec, Format::oci),
      ElementsAre(error_at("/linux/namespaces/1", "mount is there twice"),
                  error_at("/hostname", "uts namespace"), error_at("/hostname", "1 to 64 bytes"),
                  error_at("/linux/timeOffsets", "time namespace"),
                  error_at("/linux/netDevices", "network namespace"),
                  error_at("/linux/netDevices/eth0", "\"a/b\", expected an interface")));
}

TEST(Validate, Process) {
  ContainerSpec spec = sound();
  Process& process = *spec.process;
  process.args = {""};
  process.cwd = "";
  process.env = {"A=b", "=c", "d"};
  process.user.uid = 4294967295;
  process.rlimits = {{RLIMIT_CORE, 2, 1}, {RLIMIT_CORE, 0, 0}};
  process.oom_score_adj = 1001;
  process.capabilities = Capabilities{.effective = 1, .ambient = 2};
  process.scheduler = Scheduler{.policy = 1, .runtime_ns = 5};
  process.exec_cpu_affinity = ExecCpuAffinity{"0-", "1,"};
  EXPECT_THAT(
      validate(spec, Format::oci),
      UnorderedElementsAre(
          error_at("/process/args/0", "the name or path"), error_at("/process/cwd", "absolute"),
          error_at("/process/env/1", "\"=c\", expected NAME=value"),
          error_at("/process/env/2", "\"d\", expected NAME=value"),
          error_at("/process/user/uid", "leave unchanged"),
          error_at("/process/rlimits/0/soft", "RLIMIT_CORE: soft 2, expected at most hard 1"),
          error_at("/process/rlimits/1/type", "RLIMIT_CORE is there twice"),
          error_at("/process/oomScoreAdj", "1001, expected -1000 to 1000"),
          error_at("/process/capabilities/effective", "subset"),
          warning_at("/process/capabilities/ambient", "will not raise"),
          error_at("/process/scheduler/priority", "0, expected 1 to 99"),
          error_at("/process/scheduler", "SCHED_DEADLINE"),
          error_at("/process/execCPUAffinity/initial", "\"0-\", expected a list"),
          error_at("/process/execCPUAffinity/final", "\"1,\", expected a list")));
}

TEST(Validate, Resources) {
  ContainerSpec spec = sound();
  spec.resources.cpu = {.shares = 1,
                        .quota_us = 999,
                        .period_us = 1000001,
                        .burst_us = 1000,
                        .idle = {},
                        .cpus = "x",
                        .mems = ""};
  spec.resources.memory = {.limit_bytes = 100, .reservation_bytes = 101, .swap_bytes = 99};
  spec.resources.hugepage_limits = {{"2MB", 1}, {"2MB", 2}};
  spec.resources.unified = {{"memory.max", "5"}, {"../x", "1"}};
  EXPECT_THAT(
      validate_resources(spec, Format::oci),
      UnorderedElementsAre(
          error_at("/linux/resources/cpu/period", "1000001 us, expected 1000 to 1000000"),
          error_at("/linux/resources/cpu/quota", "999 us, expected at least 1000"),
          error_at("/linux/resources/cpu/burst", "1000 us, expected at most the quota of 999 us"),
          warning_at("/linux/resources/cpu/shares", "1, outside 2 to 262144"),
          error_at("/linux/resources/cpu/cpus", "\"x\""),
          error_at("/linux/resources/memory/swap", "at least the memory limit 100"),
          error_at("/linux/resources/memory/reservation", "at most the limit 100"),
          error_at("/linux/resources/hugepageLimits/1", "2MB is there twice"),
          warning_at("/linux/resources/unified/memory.max", "takes the place"),
          error_at("/linux/resources/unified/..~1x", "cgroup v2 file")));
  spec.resources = {};
  spec.resources.memory.swap_bytes = 5;
  EXPECT_THAT(validate_resources(spec, Format::oci),
              ElementsAre(error_at("/linux/resources/memory/swap", "a memory limit together")));
  spec.resources.memory = {.limit_bytes = -1, .reservation_bytes = 5, .swap_bytes = -1};
  EXPECT_THAT(validate_resources(spec, Format::oci), IsEmpty());
}

TEST(Validate, RdtAndMemoryPolicy) {
  ContainerSpec spec = sound();
  spec.intel_rdt = IntelRdt{"../x", {}, "", "", false};
  spec.memory_policy = MemoryPolicy{4, "0", (1U << 13) | (1U << 14) | (1U << 15)};
  EXPECT_THAT(validate(spec, Format::oci),
              ElementsAre(error_at("/linux/intelRdt/closID", "a name without"),
                          error_at("/linux/memoryPolicy/nodes", "expected none"),
                          error_at("/linux/memoryPolicy/flags", "one of them"),
                          error_at("/linux/memoryPolicy/flags", "MPOL_F_NUMA_BALANCING")));
  // config-linux.md: it begins with "MB:" and is one line.
  for (const char* schema : {"L3:0=f", "MB:0=20\nL3:0=f", "mb:0=20"}) {
    ContainerSpec other = sound();
    other.intel_rdt.emplace().mem_bw_schema = schema;
    EXPECT_THAT(validate(other, Format::oci),
                ElementsAre(error_at("/linux/intelRdt/memBwSchema", "one line that begins")));
    other.intel_rdt->mem_bw_schema = "MB:0=20;1=70";
    EXPECT_TRUE(validate(other, Format::oci).empty());
  }
  spec.intel_rdt->clos_id = "/";
  spec.memory_policy = MemoryPolicy{2, "", 0};
  EXPECT_THAT(validate(spec, Format::oci),
              ElementsAre(error_at("/linux/memoryPolicy/nodes", "missing")));
}

TEST(Validate, CpuLists) {
  for (const char* list : {"0", "0-3", "0-3,7", "1,1", "5-5"})
    EXPECT_TRUE(is_cpu_list(list)) << list;
  for (const char* list : {"", ",", "1,", "-1", "1-", "3-1", "1-2-3", "a", "1 ", "99999999999"})
    EXPECT_FALSE(is_cpu_list(list)) << list;
}

TEST(Validate, SeccompNotifyMustNotCatchWrite) {
  ContainerSpec spec = sound();
  spec.seccomp.emplace().default_action = "SCMP_ACT_ALLOW";
  spec.seccomp->syscalls = {{{"read", "write"}, "SCMP_ACT_NOTIFY", {}, {}},
                            {{"chmod"}, "SCMP_ACT_ERRNO", 4096, {}}};
  EXPECT_THAT(validate(spec, Format::oci),
              UnorderedElementsAre(error_at("/linux/seccomp/syscalls/0", "SCMP_ACT_NOTIFY"),
                                   error_at("/linux/seccomp/syscalls/1/errnoRet", "at most 4095")));
}

}  // namespace
}  // namespace minirun
