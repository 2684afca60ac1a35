#include "runtime/start.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <optional>

#include "base/file.h"
#include "runtime/container.h"
#include "runtime/conversation.h"
#include "runtime/exec_error.h"
#include "runtime/fault.h"
#include "runtime/notify.h"
#include "runtime/process_info.h"
#include "runtime/process_steps.h"
#include "runtime/run.h"
#include "runtime/sockets.h"
#include "security/seccomp_cache.h"
#include "spec/load.h"

namespace minirun {
namespace {

Status expect_created(const ContainerView& view) {
  switch (view.status) {
    case ContainerStatus::created:
      break;
    case ContainerStatus::running:
      return plain_error(view.id, "cannot start an already running container");
    case ContainerStatus::paused:
      return plain_error(view.id, "cannot start a container that is paused");
    case ContainerStatus::creating:
      return plain_error(view.id, "cannot start a container that is still being created");
    case ContainerStatus::stopped:
    case ContainerStatus::crashed:
      return plain_error(view.id, "cannot start a container that has stopped");
  }
  if (!view.record || !view.init)
    return plain_error(view.id, "its state cannot be read; delete -f removes it");
  if (view.record->start_socket.empty())
    return plain_error(view.id, "is being started by `minirun run`");
  return {};
}

Result<ContainerSpec> read_spec(const ContainerDir& dir, const Record& record) {
  return parse_spec(TRY(dir.document()), record.bundle, caller_options()).spec;
}

/// The stage counts its steps from the first one of a plan that only `create` had. The last ones
/// are the same for every plan with this process, so the failed one is found from the end.
Error describe_from_the_end(const wire::Failure& failure, const ContainerView& view,
                            const ContainerDir& dir, const HostFacts& facts) {
  const Result<ContainerSpec> spec = read_spec(dir, *view.record);
  Steps steps;
  if (spec && spec->process) {
    const SeccompProgram any;
    add_process_steps({.spec = *spec,
                       .process = *spec->process,
                       .facts = facts,
                       .seccomp = spec->seccomp ? &any : nullptr,
                       .userns = spec->find_namespace(NamespaceType::user) != nullptr},
                      steps);
  }
  const std::uint64_t from_end = view.record->steps - failure.step;
  wire::Failure here = failure;
  here.step = from_end <= steps.size() ? static_cast<std::uint32_t>(steps.size() - from_end) : ~0U;
  Error error = describe_failure(steps, here);
  if (here.step < steps.size()) explain_exec(view.init->pid, steps[here.step], error);
  return error;
}

/// Connected and accepted. Error EAGAIN: the socket was closed on us, by another start or an end.
Result<Fd> win(const ContainerDir& dir, int signal_fd) {
  Fd channel(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!channel) return os_error("start.sock");
  const sockaddr_un address = socket_address(dir.fd(), "start.sock");
  if (TEMP_FAILURE_RETRY(::connect(channel.get(), reinterpret_cast<const sockaddr*>(&address),
                                   sizeof address)) != 0)
    return os_error(errno == ECONNREFUSED ? EAGAIN : errno, "start.sock");
  const std::optional<StageMessage> answer = TRY(receive(channel.get(), signal_fd));
  if (!answer) return os_error(EAGAIN, "start.sock");
  if (answer->message.kind != wire::MessageKind::ready)
    return plain_error("start.sock", "gave an answer that is not ready");
  return channel;
}

void await_end(const PidFd& pidfd) {
  pollfd poll{pidfd.get(), POLLIN, 0};
  (void)::poll(&poll, 1, 1000);
}

class Starter {
 public:
  Starter(const StateRoot& root, ContainerDir dir, ContainerView view, const HostFacts& facts,
          const Warn& warn, const SignalFd& signals)
      : root_(root),
        dir_(std::move(dir)),
        view_(std::move(view)),
        facts_(facts),
        warn_(warn),
        signals_(signals),
        hooks_(stored_hooks(dir_, *view_.record), *view_.record, signals.get(), warn) {}

  Status start() {
    const PidFd init = TRY(open_init(*view_.init));
    std::optional<NotifyProxy> notify;
    if (const auto manager = callers_notify_socket(); manager && view_.record->notify)
      notify.emplace(TRY(NotifyProxy::open(dir_.fd(), *manager)));
    TRY(fault_point("connect"));
    Launched waiting;
    Result<Fd> channel = win(dir_, signals_.get());
    if (!channel && channel.error().errnum == EAGAIN) {
      await_end(init);
      TRY(expect_created(view_container(dir_, facts_)));
    }
    waiting.channel = TRY(std::move(channel));
    if (const Status ran = hooks_before(); !ran) return destroy(ran.error());
    waiting.on_listener = [this](int listener) { return send_listener_on(listener); };
    TRY(fault_point("word"));
    const Status executed = give_word(
        waiting,
        [this](const wire::Failure& failure) {
          return describe_from_the_end(failure, view_, dir_, facts_);
        },
        signals_.get());
    if (!executed) {
      waiting.channel.reset();  // the stage waits for this while we look into its files
      await_end(init);
      return executed;
    }
    if (!is_running(init)) return {};  // it ran, and is over already
    if (const Status ran = hooks_.after_program(view_.init->pid); !ran) return destroy(ran.error());
    if (!notify) return {};
    {
      const ContainerDir given_back = std::move(dir_);
    }  // others may work on it while we wait
    return notify->wait_ready(view_.init->pid, init.get(), signals_.get());
  }

 private:
  static bool is_running(const PidFd& init) {
    pollfd poll{init.get(), POLLIN, 0};
    return ::poll(&poll, 1, 0) == 0;
  }

  Status hooks_before() {
    if (!hooks_.has_start_container()) return {};
    const ContainerSpec spec = TRY(read_spec(dir_, *view_.record));
    std::optional<SeccompProgram> seccomp;
    if (spec.seccomp) seccomp = TRY(compile_seccomp(*spec.seccomp));
    return hooks_.before_program(dir_, spec, seccomp ? &*seccomp : nullptr, facts_);
  }

  /// The filter of the program waits for whoever listens at linux.seccomp.listenerPath.
  Status send_listener_on(int listener) {
    const ContainerSpec spec = TRY(read_spec(dir_, *view_.record));
    Launched started;
    started.init.pid = view_.init->pid;  // and no pidfd: nothing for its end to kill
    serve_listener(started, spec, *view_.record);
    if (!started.on_listener) return plain_error("linux.seccomp", "has no listenerPath");
    return started.on_listener(listener);
  }

  /// runtime.md: a startContainer or poststart hook that fails ends the container.
  Status destroy(Error why) {
    hooks_.keep();  // destroy_container runs poststop
    const Status destroyed = destroy_container(root_, dir_, view_, facts_, warn_);
    if (!destroyed && warn_) warn_(destroyed.error());
    return std::unexpected(std::move(why));
  }

  const StateRoot& root_;
  ContainerDir dir_;
  ContainerView view_;
  const HostFacts& facts_;
  const Warn& warn_;
  const SignalFd& signals_;
  ContainerHooks hooks_;
};

}  // namespace

Status start_container(const StateRoot& root, const std::string& id, const HostFacts& facts,
                       const Warn& warn) {
  TRY(fault_point("lock"));
  Result<ContainerDir> locked = ContainerDir::open(root, id, Lock::try_exclusive);
  if (!locked && locked.error().errnum == EWOULDBLOCK) {
    // Whoever serves a running container holds it, and so does another start.
    const ContainerDir busy = TRY(ContainerDir::open(root, id, Lock::none));
    TRY(expect_created(view_container(busy, facts)));
    locked = ContainerDir::open(root, id, Lock::exclusive);
  }
  ContainerDir dir = TRY(std::move(locked));
  ContainerView view = view_container(dir, facts);
  TRY(expect_created(view));
  if (!view.record->process)
    return plain_error("process", "config.json has none: it is needed to start a container");
  const SignalFd signals = TRY(SignalFd::open(facts));
  return Starter(root, std::move(dir), std::move(view), facts, warn, signals).start();
}

}  // namespace minirun
