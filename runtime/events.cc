#include "runtime/events.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "cgroups/control.h"
#include "cgroups/files.h"
#include "runtime/freezer.h"
#include "runtime/process_info.h"

namespace minirun {
namespace {

using Clock = std::chrono::steady_clock;

bool alive(const ContainerView& view) {
  return view.init &&
         (view.status == ContainerStatus::created || view.status == ContainerStatus::running ||
          view.status == ContainerStatus::paused);
}

/// The counter oom_kill of memory.events, in an open file whose change poll(2) tells.
class OomCounter {
 public:
  /// Without the memory controller there is nothing to watch.
  static Result<OomCounter> open(const CgroupFd& cgroup) {
    OomCounter counter;
    counter.file_ = Fd(open_beneath(cgroup.get(), "memory.events", O_RDONLY));
    if (!counter.file_ && errno != ENOENT) return os_error("memory.events");
    counter.last_ = counter.read().value_or(0);
    return counter;
  }

  [[nodiscard]] int fd() const { return file_.get(); }
  /// A removed cgroup's file is readable for ever: no more of it.
  void close() { file_.reset(); }

  /// Kills since the last call.
  std::uint64_t take() {
    const std::optional<std::uint64_t> now = read();
    if (!now) {
      close();
      return 0;
    }
    const std::uint64_t kills = *now - std::min(*now, last_);
    last_ = *now;
    return kills;
  }

 private:
  std::optional<std::uint64_t> read() const {
    if (!file_) return std::nullopt;
    std::array<char, 1024> text{};
    const ssize_t size = TEMP_FAILURE_RETRY(::pread(file_.get(), text.data(), text.size(), 0));
    if (size < 0) return std::nullopt;
    const FlatKeys keys = parse_flat_keyed({text.data(), static_cast<std::size_t>(size)});
    const auto kills = keys.find("oom_kill");
    return kills == keys.end() ? std::nullopt : std::optional(kills->second);
  }

  Fd file_;
  std::uint64_t last_ = 0;
};

int milliseconds_until(Clock::time_point when) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(when - Clock::now()).count();
  return static_cast<int>(std::clamp<std::int64_t>(left, 0, 1'000'000));
}

class Watch {
 public:
  Watch(const std::string& id, const CgroupFd& cgroup, int pidfd, OomCounter counter,
        const std::function<bool(const std::string&)>& emit)
      : id_(id), cgroup_(cgroup), pidfd_(pidfd), counter_(std::move(counter)), emit_(emit) {}

  Status run(std::chrono::milliseconds interval) {
    Clock::time_point next = Clock::now() + interval;
    for (;;) {
      std::array<pollfd, 2> polls{{{pidfd_, POLLIN, 0}, {counter_.fd(), POLLPRI, 0}}};
      const int ready = ::poll(polls.data(), polls.size(), milliseconds_until(next));
      if (ready < 0 && errno != EINTR) return os_error("poll");
      // First the kills: the end of init may be one of them, and it was counted before.
      if (!tell_kills() || (ready > 0 && polls[0].revents != 0)) return {};
      if (Clock::now() < next) continue;
      next += interval;
      if (next < Clock::now()) next = Clock::now() + interval;  // we were stopped for a while
      Result<CgroupStats> stats = read_stats(cgroup_);
      Result<DetailedStats> details = read_detailed_stats(cgroup_);
      if (!stats || !details) {
        const Error& error = !stats ? stats.error() : details.error();
        if (error.errnum == ENODEV || error.errnum == ENOENT) return {};  // it ended just now
        return std::unexpected(error);
      }
      if (!emit_(stats_event(id_, *stats, *details))) return {};
    }
  }

 private:
  bool tell_kills() {
    for (std::uint64_t kills = counter_.take(); kills > 0; --kills)
      if (!emit_(oom_event(id_))) return false;
    return true;
  }

  const std::string& id_;
  const CgroupFd& cgroup_;
  int pidfd_;
  OomCounter counter_;
  const std::function<bool(const std::string&)>& emit_;
};

}  // namespace

Result<std::string> read_stats_event(const ContainerView& view, const HostFacts& facts) {
  if (!alive(view)) return plain_error(view.id, "container not running");
  const CgroupFd cgroup = TRY(open_container_cgroup(view, facts));
  return stats_event(view.id, TRY(read_stats(cgroup)), TRY(read_detailed_stats(cgroup)));
}

Status watch_events(const ContainerView& view, std::chrono::milliseconds interval,
                    const HostFacts& facts, const std::function<bool(const std::string&)>& emit) {
  if (!alive(view)) return plain_error(view.id, "container not running");
  const CgroupFd cgroup = TRY(open_container_cgroup(view, facts));
  OomCounter counter = TRY(OomCounter::open(cgroup));
  const Result<PidFd> init = open_init(*view.init);
  if (!init) return {};  // it ended since we looked
  return Watch(view.id, cgroup, init->get(), std::move(counter), emit).run(interval);
}

}  // namespace minirun
