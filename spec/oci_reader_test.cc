#include "spec/oci_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/capabilities.h"
#include "spec/finding_matchers.h"
#include "spec/mount_options.h"

namespace minirun {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

LoadedSpec read_oci(std::string text) {
  return parse_spec(std::move(text), "/bundle");
}

/// A config.json that is complete but for the given members.
std::string config(const std::string& process, const std::string& linux_part,
                   const std::string& top = "") {
  return R"({"ociVersion": "1.3.0", "root": {"path": "rootfs"}, "process": {"cwd": "/", "args": ["sh"])" +
         (process.empty() ? "" : ", " + process) + R"(}, "linux": {)" + linux_part + "}" +
         (top.empty() ? "" : ", " + top) + "}";
}

ContainerSpec good(const std::string& process, const std::string& linux_part,
                   const std::string& top = "") {
  LoadedSpec result = read_oci(config(process, linux_part, top));
  EXPECT_THAT(result.findings, IsEmpty());
  EXPECT_EQ(result.format, Format::oci);
  return std::move(result.spec);
}

Findings bad(const std::string& process, const std::string& linux_part,
             const std::string& top = "") {
  return read_oci(config(process, linux_part, top)).findings;
}

TEST(OciReader, TopLevelAndPathsBelowTheBundle) {
  const ContainerSpec spec =
      good("", R"("namespaces": [{"type": "uts"}, {"type": "mount"}])",
           R"("hostname": "box", "domainname": "lan", "annotations": {"org.x": "1"},
              "mounts": [{"destination": "/data", "source": "./data", "options": ["rbind", "ro"]},
                         {"destination": "/proc", "type": "proc", "source": "proc"}])");
  EXPECT_EQ(spec.oci_version, "1.3.0");
  EXPECT_EQ(spec.root.path, "/bundle/rootfs");
  EXPECT_EQ(spec.hostname, "box");
  EXPECT_EQ(spec.domainname, "lan");
  EXPECT_EQ(spec.annotations.at("org.x"), "1");
  ASSERT_EQ(spec.mounts.size(), 2U);
  EXPECT_EQ(spec.mounts[0].source, "/bundle/data");
  EXPECT_EQ(spec.mounts[0].field, "mounts[0]");
  EXPECT_TRUE(spec.mounts[0].options.recursive_bind);
  EXPECT_EQ(spec.mounts[1].type, "proc");
  EXPECT_EQ(spec.process->args, std::vector<std::string>{"sh"});
  EXPECT_EQ(spec.process->capabilities, std::nullopt);
}

TEST(OciReader, Process) {
  const ContainerSpec spec = good(
      R"("terminal": true, "consoleSize": {"height": 25, "width": 80}, "env": ["A=b", "C="],
         "user": {"uid": 1, "gid": 2, "umask": 63, "additionalGids": [5, 6]},
         "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 18446744073709551615}],
         "capabilities": {"bounding": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN"],
                          "effective": ["CAP_CHOWN"]},
         "noNewPrivileges": true, "oomScoreAdj": -5, "apparmorProfile": "p", "selinuxLabel": "l",
         "scheduler": {"policy": "SCHED_DEADLINE", "runtime": 5000, "deadline": 10000,
                       "flags": ["SCHED_FLAG_RECLAIM", "SCHED_FLAG_RESET_ON_FORK"]},
         "ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 3},
         "execCPUAffinity": {"initial": "0-1", "final": "1"})",
      "");
  const Process& process = *spec.process;
  EXPECT_EQ(process.console_size, (ConsoleSize{25, 80}));
  EXPECT_EQ(process.user, (User{1, 2, 63, {5, 6}}));
  EXPECT_THAT(process.rlimits, ElementsAre(Rlimit{RLIMIT_NOFILE, 1, UINT64_MAX}));
  EXPECT_EQ(process.capabilities->permitted, 1U);
  EXPECT_EQ(process.capabilities->ambient, 0U);
  EXPECT_TRUE(process.terminal && process.no_new_privileges);
  EXPECT_EQ(process.oom_score_adj, -5);
  EXPECT_EQ(*process.scheduler, (Scheduler{6, 0, 0, 3, 5000, 10000, 0}));
  EXPECT_EQ(*process.io_priority, (IoPriority{3, 3}));
  EXPECT_EQ(process.exec_cpu_affinity->initial, "0-1");
  EXPECT_EQ(process.apparmor_profile, "p");
  EXPECT_EQ(process.selinux_label, "l");
}

TEST(OciReader, LinuxPart) {
  const ContainerSpec spec =
      good("",
           R"("namespaces": [{"type": "user"}, {"type": "time"}, {"type": "ipc"},
                        {"type": "network", "path": "/run/netns/x"}],
         "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}],
         "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}],
         "timeOffsets": {"boottime": {"secs": -7, "nanosecs": 1}},
         "devices": [{"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229,
                      "fileMode": 69206454, "uid": 1, "gid": 2}, {"type": "p", "path": "/dev/f"}],
         "netDevices": {"eth0": {"name": "x"}, "eth1": {}},
         "cgroupsPath": "/a/b", "rootfsPropagation": "rslave", "sysctl": {"net.core.somaxconn": "5"},
         "maskedPaths": ["/proc/kcore"], "readonlyPaths": ["/proc/sys"], "mountLabel": "m",
         "intelRdt": {"closID": "c", "schemata": ["L3:0=f"], "enableMonitoring": true},
         "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]},
         "personality": {"domain": "LINUX32"})");
  EXPECT_EQ(spec.namespaces.size(), 4U);
  EXPECT_EQ(spec.find_namespace(NamespaceType::network)->path, "/run/netns/x");
  EXPECT_THAT(spec.uid_mappings, ElementsAre(IdMapping{0, 1000, 10}));
  EXPECT_EQ(spec.time_offsets.at("boottime"), (TimeOffset{-7, 1}));
  ASSERT_EQ(spec.devices.size(), 2U);
  EXPECT_EQ(spec.devices[0], (Device{Device::Type::character, "/dev/fuse", 10, 229, 438, 1, 2}));
  EXPECT_EQ(spec.devices[1].type, Device::Type::fifo);
  EXPECT_EQ(spec.net_devices,
            (std::map<std::string, std::string>{{"eth0", "x"}, {"eth1", "eth1"}}));
  EXPECT_EQ(spec.cgroups_path, "/a/b");
  EXPECT_EQ(spec.rootfs_propagation, MS_SLAVE | MS_REC);
  EXPECT_EQ(spec.sysctl.at("net.core.somaxconn"), "5");
  EXPECT_THAT(spec.masked_paths, ElementsAre("/proc/kcore"));
  EXPECT_THAT(spec.readonly_paths, ElementsAre("/proc/sys"));
  EXPECT_EQ(spec.mount_label, "m");
  EXPECT_EQ(spec.intel_rdt->clos_id, "c");
  EXPECT_EQ(*spec.memory_policy, (MemoryPolicy{2, "0", 1U << 15}));
  EXPECT_EQ(spec.personality->domain, 8U);
}

TEST(OciReader, ResourcesAndTheirOrigins) {
  const ContainerSpec spec = good("",
                                  R"("resources": {
        "devices": [{"allow": false, "access": "rwm"},
                    {"allow": true, "type": "c", "major": 1, "minor": -1, "access": "rw"}],
        "memory": {"limit": 1048576, "reservation": 4096, "swap": 2097152,
                   "disableOOMKiller": false, "checkBeforeUpdate": true},
        "cpu": {"shares": 512, "quota": 50000, "period": 100000, "burst": 10, "idle": 0,
                "cpus": "0-1", "mems": "0", "realtimeRuntime": 0},
        "blockIO": {"weight": 100, "weightDevice": [{"major": 8, "minor": 0, "weight": 500}],
                    "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1000}],
                    "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 7}]},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}],
        "pids": {"limit": 0}, "rdma": {"mlx5": {"hcaHandles": 3}},
        "unified": {"memory.high": "max"}})");
  const Resources& resources = spec.resources;
  ASSERT_EQ(resources.devices.size(), 2U);
  EXPECT_EQ(resources.devices[0],
            (DeviceRule{false, DeviceRule::Type::all, {}, {}, true, true, true}));
  EXPECT_EQ(resources.devices[1],
            (DeviceRule{true, DeviceRule::Type::character, 1, {}, true, true, false}));
  EXPECT_EQ(resources.memory, (MemoryResources{1048576, 4096, 2097152, true}));
  EXPECT_EQ(resources.cpu, (CpuResources{512, 50000, 100000, 10, 0, "0-1", "0"}));
  EXPECT_EQ(resources.block_io.weight, 100);
  EXPECT_THAT(resources.block_io.weight_device, ElementsAre(WeightDevice{8, 0, 500}));
  EXPECT_THAT(resources.block_io.read_bps, ElementsAre(ThrottleDevice{8, 0, 1000}));
  EXPECT_THAT(resources.block_io.write_iops, ElementsAre(ThrottleDevice{8, 16, 7}));
  EXPECT_THAT(resources.hugepage_limits, ElementsAre(HugepageLimit{"2MB", 4194304}));
  EXPECT_EQ(resources.pids_limit, 0);
  EXPECT_EQ(resources.rdma.at("mlx5").hca_handles, 3U);
  EXPECT_EQ(resources.unified.at("memory.high"), "max");
  EXPECT_EQ(spec.origins.at("cpu.quota"), (Origin{"linux.resources.cpu.quota", "50000", ""}));
  EXPECT_EQ(spec.origins.at("pids.limit"), (Origin{"linux.resources.pids.limit", "0", ""}));
  EXPECT_EQ(spec.origins.at("unified.memory.high"),
            (Origin{"linux.resources.unified.memory.high", "max", ""}));
  EXPECT_EQ(spec.origins.at("blockIO.rbps.8:0"),
            (Origin{"linux.resources.blockIO.throttleReadBpsDevice", "1000", ""}));
}

TEST(OciReader, WhatOnlyCgroupV1HasIsAnError) {
  EXPECT_THAT(
      bad("", R"("resources": {"memory": {"kernel": 5, "kernelTCP": 5, "swappiness": 60,
                                          "disableOOMKiller": true, "useHierarchy": false},
                               "cpu": {"realtimeRuntime": 1, "realtimePeriod": 2},
                               "blockIO": {"leafWeight": 10},
                               "network": {"classID": 1, "priorities": [{"name": "eth0"}]}})"),
      UnorderedElementsAre(
          error_at("/linux/resources/memory/kernel", "5: only cgroup v1 has this"),
          error_at("/linux/resources/memory/kernelTCP", "only cgroup v1"),
          error_at("/linux/resources/memory/swappiness", "60: only cgroup v1 has this; use"),
          error_at("/linux/resources/memory/disableOOMKiller", "true: only cgroup v1"),
          error_at("/linux/resources/memory/useHierarchy", "only cgroup v1"),
          error_at("/linux/resources/cpu/realtimeRuntime", "only cgroup v1"),
          error_at("/linux/resources/cpu/realtimePeriod", "only cgroup v1"),
          error_at("/linux/resources/blockIO/leafWeight", "only cgroup v1"),
          error_at("/linux/resources/network/classID", "only cgroup v1"),
          error_at("/linux/resources/network/priorities", "only cgroup v1")));
}

TEST(OciReader, WhatEnginesWriteForNothingIsAccepted) {
  const ContainerSpec spec = good("", R"("resources": {
      "memory": {"disableOOMKiller": false, "kernel": -1, "useHierarchy": true},
      "cpu": {"shares": 0, "period": 0, "cpus": "", "realtimePeriod": 0},
      "blockIO": {"weight": 0, "leafWeight": 0}, "network": {"classID": 0, "priorities": []}})");
  EXPECT_EQ(spec.resources, Resources{});
  EXPECT_THAT(spec.origins, IsEmpty());
}

TEST(OciReader, AZeroMemoryLimitIsUnsetWithAWarning) {
  EXPECT_THAT(bad("", R"("resources": {"memory": {"limit": 0}})"),
              ElementsAre(warning_at("/linux/resources/memory/limit", "not set")));
}

TEST(OciReader, Seccomp) {
  const ContainerSpec spec = good("", R"("seccomp": {
      "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
      "architectures": ["SCMP_ARCH_X86_64"], "flags": [], "listenerPath": "/run/s",
      "listenerMetadata": "m",
      "syscalls": [{"names": ["read", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1,
                    "args": [{"index": 5, "value": 18446744073709551615, "valueTwo": 2,
                              "op": "SCMP_CMP_MASKED_EQ"}]}]})");
  const Seccomp& seccomp = *spec.seccomp;
  EXPECT_EQ(seccomp.default_errno_ret, 38U);
  EXPECT_EQ(seccomp.flags, std::vector<std::string>{});
  ASSERT_EQ(seccomp.syscalls.size(), 1U);
  EXPECT_THAT(seccomp.syscalls[0].names, ElementsAre("read", "no_such_call"));
  EXPECT_EQ(seccomp.syscalls[0].args[0], (SeccompArg{5, UINT64_MAX, 2, "SCMP_CMP_MASKED_EQ"}));
}

TEST(OciReader, BadSeccomp) {
  EXPECT_THAT(
      bad("", R"("seccomp": {"defaultAction": "SCMP_ACT_NOTIFY", "defaultErrnoRet": 1,
          "architectures": ["x86"], "flags": ["X"], "listenerMetadata": "m",
          "syscalls": [{"names": [], "action": "SCMP_ACT_ALLOW"},
                       {"names": ["a"], "action": "ALLOW"},
                       {"names": ["write"], "action": "SCMP_ACT_ALLOW", "errnoRet": 1,
                        "args": [{"index": 6, "value": 0, "op": "EQ"}]}]})"),
      UnorderedElementsAre(
          error_at("/linux/seccomp/defaultErrnoRet", "1, expected only with SCMP_ACT_ERRNO"),
          error_at("/linux/seccomp/defaultAction", "another action"),
          error_at("/linux/seccomp/architectures/0", "\"x86\", expected one of"),
          error_at("/linux/seccomp/flags/0", "\"X\", expected one of"),
          error_at("/linux/seccomp/listenerMetadata", "listenerPath"),
          error_at("/linux/seccomp/syscalls/0/names", "at least one"),
          error_at("/linux/seccomp/syscalls/1/action", "\"ALLOW\", expected one of"),
          error_at("/linux/seccomp/syscalls/2/errnoRet", "1, expected only with SCMP_ACT_ERRNO"),
          error_at("/linux/seccomp/syscalls/2/args/0/index", "6, expected an integer from 0 to 5"),
          error_at("/linux/seccomp/syscalls/2/args/0/op", "\"EQ\", expected one of")));
}

TEST(OciReader, Hooks) {
  const ContainerSpec spec = good("", "", R"("hooks": {
      "prestart": [{"path": "/a"}], "createRuntime": [{"path": "/b", "args": ["b", "1"]}],
      "createContainer": [{"path": "/c", "env": ["K=V"]}], "startContainer": [{"path": "/d"}],
      "poststart": [{"path": "/e", "timeout": 5}], "poststop": [{"path": "/f"}, {"path": "/g"}]})");
  EXPECT_EQ(spec.hooks.create_runtime[0].args, (std::vector<std::string>{"b", "1"}));
  EXPECT_EQ(spec.hooks.poststart[0].timeout, std::chrono::seconds(5));
  EXPECT_EQ(spec.hooks.poststop.size(), 2U);
  EXPECT_EQ(spec.hooks.create_container[0].env[0], "K=V");
  EXPECT_THAT(bad("", "", R"("hooks": {"poststop": [{"path": "x", "timeout": 0}, {}]})"),
              ElementsAre(error_at("/hooks/poststop/0/path", "absolute"),
                          error_at("/hooks/poststop/0/timeout", "0, expected an integer from 1"),
                          error_at("/hooks/poststop/1/path", "missing")));
}

TEST(OciReader, VersionsOfMajorOneOnly) {
  for (const char* version : {"1.0.0", "1.0.2-dev", "1.3.0", "1.99.0", "1.2.0+build"})
    EXPECT_THAT(
        read_oci(std::string(R"({"root": {"path": "r"}, "ociVersion": ")") + version + "\"}")
            .findings,
        IsEmpty())
        << version;
  for (const char* version : {"2.0.0", "1", "1.", "1.0", "0.2.0", "1.0.0-", "1.0.0.0", "", "1.x.0"})
    EXPECT_THAT(
        read_oci(std::string(R"({"root": {"path": "r"}, "ociVersion": ")") + version + "\"}")
            .findings,
        ElementsAre(error_at("/ociVersion", "expected a version 1.x.y")))
        << version;
}

TEST(OciReader, EverythingWrongIsReportedAtOnce) {
  const LoadedSpec result = read_oci(R"({"ociVersion": 1, "process": {"args": "sh", "cwd": "tmp",
      "user": {"uid": 4294967295, "gid": 1.5}, "rlimits": [{"type": "RLIMIT_NOFILES"}]},
      "root": {}, "hostnam": "x", "mounts": [{"type": 5}, null],
      "linux": {"namespaces": [{"type": "net"}, {"type": "pid"}, {"type": "pid"}]}})");
  EXPECT_THAT(
      result.findings,
      UnorderedElementsAre(
          error_at("/ociVersion", "1, expected a string"),
          error_at("/process/args", "\"sh\", expected an array of strings"),
          error_at("/process/cwd", "\"tmp\", expected an absolute path"),
          error_at("/process/user/uid", "4294967295, expected an integer from 0 to 4294967294"),
          error_at("/process/user/gid", "1.5, expected an integer"),
          error_at("/process/rlimits/0/type", "did you mean \"RLIMIT_NOFILE\"?"),
          error_at("/process/rlimits/0/soft", "missing"),
          error_at("/process/rlimits/0/hard", "missing"), error_at("/root/path", "missing"),
          warning_at("/hostnam", "did you mean \"hostname\"?"),
          error_at("/mounts/0/destination", "missing"),
          error_at("/mounts/0/type", "5, expected a string"),
          error_at("/mounts/1", "null, expected an object"),
          error_at("/linux/namespaces/0/type", "\"net\", expected one of pid, network, mount"),
          error_at("/linux/namespaces/2", "pid is there twice")));
}

TEST(OciReader, IdsThatAreAbsentAreZero) {
  const ContainerSpec spec = good(R"("user": {"gid": 7})", "");
  EXPECT_EQ(spec.process->user.uid, 0U);
  EXPECT_EQ(spec.process->user.gid, 7U);
}

TEST(OciReader, IdsThatAreNotIds) {
  for (const char* id : {"-1", "4294967295", "4294967296", "1e20", "1.5", "\"0\"", "true"})
    EXPECT_THAT(bad(std::string(R"("user": {"uid": 0, "gid": )") + id + "}", ""),
                ElementsAre(error_at("/process/user/gid", "expected an integer from 0 to")))
        << id;
  EXPECT_EQ(good(R"("user": {"uid": 2147483648, "gid": 4294967294})", "").process->user.gid,
            4294967294U);
}

TEST(OciReader, UnknownCapabilitiesAreLeftOutWithAWarning) {
  const LoadedSpec result =
      read_oci(config(R"("capabilities": {"bounding": ["CAP_NEW", "CAP_KILL", "CHOWN"]})", ""));
  EXPECT_THAT(result.findings,
              ElementsAre(warning_at("/process/capabilities/bounding/0", "left out"),
                          warning_at("/process/capabilities/bounding/2", "left out")));
  EXPECT_EQ(result.spec.process->capabilities->bounding, capability_bit(5));
}

TEST(OciReader, MountsOfOldAndOddShapes) {
  const LoadedSpec result = read_oci(config("", "", R"("mounts": [
      {"destination": "data", "type": "tmpfs"},
      {"destination": "/b", "type": "bind", "source": "x"},
      {"destination": "/c", "source": ""},
      {"destination": "/d", "options": ["bind"]},
      {"destination": "/e/../etc", "type": "tmpfs"},
      {"destination": "", "type": "tmpfs"},
      {"destination": "/f", "source": "/", "options": ["bind", "size=1"]},
      {"destination": "/g", "source": "/", "options": ["bind", "idmap"]}])"));
  EXPECT_THAT(result.findings,
              UnorderedElementsAre(warning_at("/mounts/0/destination", "taken as \"/data\""),
                                   warning_at("/mounts/1", "taken as bind"),
                                   error_at("/mounts/2/type", "missing"),
                                   error_at("/mounts/3/source", "missing"),
                                   error_at("/mounts/4/destination", "without \"..\""),
                                   error_at("/mounts/5/destination", "expected an absolute path"),
                                   error_at("/mounts/6/options", "\"size=1\""),
                                   error_at("/mounts/7/options", "idmap")));
  EXPECT_EQ(result.spec.mounts[1].source, "/bundle/x");
}

TEST(OciReader, ProcessIsOptional) {
  const LoadedSpec result = read_oci(R"({"ociVersion": "1.0.0", "root": {"path": "/r"}})");
  EXPECT_THAT(result.findings, IsEmpty());
  EXPECT_EQ(result.spec.process, std::nullopt);
  EXPECT_EQ(result.spec.root.path, "/r");
}

TEST(OciReader, OtherPlatformsAndPersonalityFlags) {
  EXPECT_THAT(bad("", R"("personality": {"domain": "LINUX", "flags": ["X"]})", R"("windows": {})"),
              UnorderedElementsAre(error_at("/linux/personality/flags/0", "expected no flag"),
                                   warning_at("/windows", "another platform")));
}

}  // namespace
}  // namespace minirun
