// Owns: the table of section 6 of the reference, one function per controller.
// Must not: treat the runtimes alike where they differ; 0 and absent are two things for crun.
#include "spec/kubernetes/oci_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace minirun::kubernetes {

namespace {

std::string max_or(std::int64_t value) {
  return value < 0 ? "max" : std::to_string(value);
}

class Converter {
 public:
  Converter(const Resources& resources, const LegacyResources& legacy, const FileOptions& options)
      : resources_(resources),
        legacy_(legacy),
        options_(options),
        crun_(options.runtime == OciRuntime::crun) {}

  OciConversion run() {
    legacy();
    // runc: pids, memory, io, cpu, cpuset, hugetlb, rdma; crun: memory, pids, cpu, cpuset, io.
    if (!crun_) pids();
    memory();
    if (crun_) pids();
    if (!crun_) block_io();
    cpu();
    cpuset();
    if (crun_) block_io();
    hugetlb();
    rdma();
    unified();
    return std::move(result_);
  }

 private:
  void put(std::string name, std::string line, std::string source, std::string formula = {}) {
    result_.files.push_back(
        {std::move(name), {std::move(line)}, std::move(source), std::move(formula)});
  }

  void no_file(bool present, const std::string& field, bool warn = false) {
    if (!present) return;
    if (crun_)
      result_.errors.push_back(field + " is not supported on cgroup v2");
    else
      (warn ? result_.warnings : result_.ignored).push_back(field);
  }

  void legacy() {
    no_file(legacy_.kernel_memory_bytes.has_value(), "memory.kernel", true);
    no_file(legacy_.kernel_tcp_bytes.has_value(), "memory.kernelTCP", true);
    no_file(legacy_.swappiness.has_value(), "memory.swappiness");
    no_file(legacy_.disable_oom_killer.value_or(false), "memory.disableOOMKiller");
    no_file(legacy_.realtime_runtime_us.has_value(), "cpu.realtimeRuntime");
    no_file(legacy_.realtime_period_us.has_value(), "cpu.realtimePeriod");
    no_file(legacy_.leaf_weight.has_value(), "blockIO.leafWeight");
    no_file(legacy_.network_class_id.has_value(), "network.classID");
    no_file(legacy_.network_priorities, "network.priorities");
  }

  void pids() {
    if (!resources_.pids_limit) return;
    const std::int64_t limit = *resources_.pids_limit;
    if (limit == 0 && crun_) return;
    if (limit == 0)
      put("pids.max", "1", "pids.limit", "runc 1.4 writes 1 for 0");
    else
      put("pids.max", max_or(limit), "pids.limit");
  }

  void memory() {
    const MemoryResources& memory = resources_.memory;
    if (swap()) {
      if (memory.limit_bytes && (crun_ || *memory.limit_bytes != 0))
        put("memory.max", max_or(*memory.limit_bytes), "memory.limit");
      if (memory.reservation_bytes && (crun_ || *memory.reservation_bytes != 0))
        put("memory.low", max_or(*memory.reservation_bytes), "memory.reservation");
    }
  }

  /// memory.swap of OCI is memory + swap. False when the runtime refuses.
  bool swap() {
    const std::int64_t limit = resources_.memory.limit_bytes.value_or(0);
    const std::optional<std::int64_t>& both = resources_.memory.swap_bytes;
    if (!both || (*both == 0 && !crun_)) {
      if (limit == -1 && !crun_)
        put("memory.swap.max", "max", "memory.limit", "runc lifts swap with an unlimited memory");
      return true;
    }
    if (*both == 0) {
      put("memory.swap.max", "0", "memory.swap");
      return true;
    }
    if (*both < 0) {
      put("memory.swap.max", "max", "memory.swap");
      return true;
    }
    if (limit <= 0 || *both < limit) {
      result_.errors.push_back(
          limit <= 0 ? "memory.swap needs memory.limit, it is the sum of memory and swap"
                     : fmt::format("memory.swap {} is below memory.limit {}", *both, limit));
      return false;
    }
    put("memory.swap.max", std::to_string(*both - limit), "memory.swap",
        fmt::format("swap - limit = {} - {} = {}", *both, limit, *both - limit));
    return true;
  }

  void cpu() {
    const CpuResources& cpu = resources_.cpu;
    if (cpu.idle && !crun_) put("cpu.idle", std::to_string(*cpu.idle), "cpu.idle");
    if (cpu.shares && *cpu.shares != 0) {
      const std::uint64_t weight = shares_to_weight(*cpu.shares, options_.weight);
      put("cpu.weight", std::to_string(weight), "cpu.shares",
          weight_formula_text(*cpu.shares, options_.weight));
    }
    if (cpu.idle && crun_) put("cpu.idle", std::to_string(*cpu.idle), "cpu.idle");
    cpu_max();
    if (cpu.burst_us) put("cpu.max.burst", std::to_string(*cpu.burst_us), "cpu.burst");
  }

  void cpu_max() {
    const std::int64_t quota = resources_.cpu.quota_us.value_or(0);
    const std::uint64_t given = resources_.cpu.period_us.value_or(0);
    if (crun_ ? quota <= 0 && given == 0 : quota == 0 && given == 0) return;
    const std::uint64_t period = given == 0 ? cpu_period_default_us : given;
    if (quota <= 0) {
      put("cpu.max", fmt::format("max {}", period), "cpu.quota");
      return;
    }
    // crun gives the rounded number to systemd only and writes the exact one below the scope.
    const bool round = options_.systemd_driver && !crun_;
    const std::int64_t written = round ? systemd_rounded_quota_us(quota, period) : quota;
    std::string formula;
    if (written != quota)
      formula = fmt::format("systemd keeps whole percents: {} of {} us rounds up to {}", quota,
                            period, written);
    put("cpu.max", fmt::format("{} {}", written, period), "cpu.quota", std::move(formula));
  }

  void cpuset() {
    if (!resources_.cpu.cpus.empty()) put("cpuset.cpus", resources_.cpu.cpus, "cpu.cpus");
    if (!resources_.cpu.mems.empty()) put("cpuset.mems", resources_.cpu.mems, "cpu.mems");
  }

  void block_io() {
    const BlockIoResources& io = resources_.block_io;
    if (io.weight && *io.weight != 0) {
      if (options_.bfq_file)
        put("io.bfq.weight", std::to_string(*io.weight), "blockIO.weight");
      else
        put("io.weight", std::to_string(block_weight_to_io_weight(*io.weight)), "blockIO.weight",
            fmt::format("1 + ({} - 10) * 9999 / 990", *io.weight));
    }
    if (!io.weight_device.empty() && !options_.bfq_file) {
      if (crun_)
        result_.errors.emplace_back("blockIO.weightDevice needs io.bfq.weight");
      else
        result_.ignored.emplace_back("blockIO.weightDevice");
    } else {
      for (const WeightDevice& device : io.weight_device)
        put("io.bfq.weight", fmt::format("{}:{} {}", device.major, device.minor, device.weight),
            "blockIO.weightDevice");
    }
    OciFile throttle{"io.max", {}, "blockIO.throttle", {}};
    auto rates = [&throttle](const std::vector<ThrottleDevice>& devices, const char* key) {
      for (const ThrottleDevice& device : devices)
        throttle.lines.push_back(
            fmt::format("{}:{} {}={}", device.major, device.minor, key, device.rate));
    };
    rates(io.read_bps, "rbps");
    rates(io.write_bps, "wbps");
    rates(io.read_iops, "riops");
    rates(io.write_iops, "wiops");
    if (!throttle.lines.empty()) result_.files.push_back(std::move(throttle));
  }

  void hugetlb() {
    for (const HugepageLimit& page : resources_.hugepage_limits) {
      const std::string value = std::to_string(page.limit_bytes);
      const std::string source = "hugepageLimits." + page.page_size;
      put("hugetlb." + page.page_size + ".max", value, source);
      if (options_.hugetlb_rsvd && !crun_)
        put("hugetlb." + page.page_size + ".rsvd.max", value, source);
    }
  }

  void rdma() {
    if (resources_.rdma.empty()) return;
    if (crun_) {
      result_.ignored.emplace_back("rdma");
      return;
    }
    OciFile file{"rdma.max", {}, "rdma", {}};
    for (const auto& [device, limit] : resources_.rdma) {
      std::string line = device;
      if (limit.hca_handles) line += fmt::format(" hca_handle={}", *limit.hca_handles);
      if (limit.hca_objects) line += fmt::format(" hca_object={}", *limit.hca_objects);
      file.lines.push_back(std::move(line));
    }
    result_.files.push_back(std::move(file));
  }

  void unified() {
    for (const auto& [name, value] : resources_.unified) {
      if (name.find('/') != std::string::npos) {
        result_.errors.push_back(fmt::format("unified \"{}\" contains a slash", name));
        continue;
      }
      std::erase_if(result_.files, [&name](const OciFile& file) { return file.name == name; });
      OciFile file{name, {}, "unified." + name, {}};
      for (std::size_t at = 0; at <= value.size();) {
        const std::size_t end = std::min(value.find('\n', at), value.size());
        if (end > at) file.lines.push_back(value.substr(at, end - at));
        at = end + 1;
      }
      result_.files.push_back(std::move(file));
    }
  }

  const Resources& resources_;
  const LegacyResources& legacy_;
  const FileOptions& options_;
  bool crun_;
  OciConversion result_;
};

}  // namespace

std::string weight_formula_text(std::uint64_t shares, WeightFormula formula) {
  const std::uint64_t weight = shares_to_weight(shares, formula);
  if (shares <= cpu_shares_min || shares >= cpu_shares_max)
    return fmt::format("weight at the end of the range: {} shares = {}", shares, weight);
  if (formula == WeightFormula::linear)
    return fmt::format("weight = 1 + ({} - 2) * 9999 / 262142 = {} (linear)", shares, weight);
  return fmt::format(
      "weight = ceil(10^((L^2 + 125 L)/612 - 7/34)) with L = log2({}) = {} (quadratic)", shares,
      weight);
}

const OciFile* OciConversion::find(std::string_view name) const {
  for (const OciFile& file : files)
    if (file.name == name) return &file;
  return nullptr;
}

OciConversion to_cgroup2_files(const Resources& resources, const LegacyResources& legacy,
                               const FileOptions& options) {
  return Converter(resources, legacy, options).run();
}

std::uint64_t block_weight_to_io_weight(std::uint16_t weight) {
  const std::uint64_t inside = std::clamp<std::uint64_t>(weight, 10, 1000);
  return 1 + (inside - 10) * 9999 / 990;
}

std::uint64_t block_weight_to_systemd_io_weight(std::uint16_t weight) {
  const std::uint64_t inside = std::clamp<std::uint64_t>(weight, 1, 1000);
  return inside <= 100 ? inside : 100 + (inside - 100) * 9900 / 900;
}

}  // namespace minirun::kubernetes
