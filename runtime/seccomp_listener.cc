#include "runtime/seccomp_listener.h"

#include <nlohmann/json.hpp>

#include "runtime/sockets.h"

namespace minirun {

std::string container_process_state(const ProcessState& state, const std::string& metadata) {
  nlohmann::ordered_json json = {{"ociVersion", state.oci_version},
                                 {"fds", {"seccompFd"}},
                                 {"pid", state.pid},
                                 {"state",
                                  {{"ociVersion", state.oci_version},
                                   {"id", state.id},
                                   {"status", state.status},
                                   {"pid", state.init_pid},
                                   {"bundle", state.bundle}}}};
  if (!metadata.empty()) json["metadata"] = metadata;
  if (!state.annotations.empty()) json["state"]["annotations"] = state.annotations;
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

Status send_listener(const std::string& path, const std::string& payload, int listener) {
  constexpr const char* field = "linux.seccomp.listenerPath";
  const Fd socket = TRY(connect_socket(path, field));
  return send_descriptor(socket.get(), payload, listener, field);
}

}  // namespace minirun
