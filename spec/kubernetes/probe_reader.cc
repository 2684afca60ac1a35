#include "spec/kubernetes/probe_reader.h"

#include <fmt/format.h>

#include <array>
#include <string_view>

namespace minirun::kubernetes {

std::optional<Probe> ProbeReader::read(const char* name, const std::string& base) {
  const Node* node = container.find(name);
  if (node == nullptr || node->kind == Node::Kind::null) return std::nullopt;
  const std::string at = base + "/" + name;
  if (!context.expect(*node, Node::Kind::mapping, at)) return std::nullopt;
  static constexpr std::array<std::string_view, 10> known = {"exec",
                                                             "httpGet",
                                                             "tcpSocket",
                                                             "grpc",
                                                             "periodSeconds",
                                                             "timeoutSeconds",
                                                             "successThreshold",
                                                             "initialDelaySeconds",
                                                             "failureThreshold",
                                                             "terminationGracePeriodSeconds"};
  context.unknown_fields(*node, known, at);
  Probe probe;
  times(*node, at, std::string_view(name) == "readinessProbe", probe);
  if (const Node* grace = node->find("terminationGracePeriodSeconds"))
    unsupported.push_back({Finding::Level::warning, at + "/terminationGracePeriodSeconds",
                           "has no effect: the pod's counts", grace->at.line, grace->at.column});
  if (!action(*node, at, probe)) return std::nullopt;
  return probe;
}

std::optional<Hook> ProbeReader::hook(const Node& lifecycle, const char* name,
                                      const std::string& base) {
  const Node* node = context.object(lifecycle, name, base);
  if (node == nullptr) return std::nullopt;
  const std::string at = fmt::format("{}/{}", base, name);
  static constexpr std::array<std::string_view, 4> known = {"exec", "httpGet", "tcpSocket",
                                                            "sleep"};
  context.unknown_fields(*node, known, at);
  Hook hook;
  if (const Node* sleep = context.object(*node, "sleep", at)) {
    const auto seconds = context.number(*sleep, "seconds", at + "/sleep", 0, 1 << 20);
    if (sleep->find("seconds") == nullptr)
      context.error(*sleep, at + "/sleep/seconds", "is missing");
    hook.sleep_seconds = static_cast<int>(seconds.value_or(0));
    return hook;
  }
  Probe action;
  if (node->find("exec") == nullptr && node->find("httpGet") == nullptr &&
      node->find("tcpSocket") == nullptr) {
    context.error(*node, at, "has to have one of exec, httpGet and sleep");
    return std::nullopt;
  }
  if (!this->action(*node, at, action)) return std::nullopt;
  hook.action = std::move(action);
  return hook;
}

void ProbeReader::times(const Node& node, const std::string& at, bool readiness, Probe& probe) {
  struct Row {
    const char* name;
    int* target;
    std::int64_t least;
  };
  for (const Row& row : {Row{"initialDelaySeconds", &probe.initial_delay_seconds, 0},
                         {"periodSeconds", &probe.period_seconds, 1},
                         {"timeoutSeconds", &probe.timeout_seconds, 1},
                         {"successThreshold", &probe.success_threshold, 1},
                         {"failureThreshold", &probe.failure_threshold, 1}}) {
    const Node* field = node.find(row.name);
    if (field == nullptr || field->kind == Node::Kind::null) continue;
    const std::string where = at + "/" + row.name;
    const auto value = context.integer(*field, where);
    if (!value) continue;
    if (*value < row.least || *value > 1 << 20)
      context.error(*field, where,
                    fmt::format("{} is not within {} to {}", *value, row.least, 1 << 20));
    else
      *row.target = static_cast<int>(*value);
  }
  if (!readiness && probe.success_threshold != 1)
    context.error(*node.find("successThreshold"), at + "/successThreshold",
                  "has to be 1 for liveness and startup");
}

bool ProbeReader::action(const Node& node, const std::string& at, Probe& probe) {
  if (const Node* exec = node.find("exec")) {
    const Node* command = exec->kind == Node::Kind::mapping ? exec->find("command") : nullptr;
    if (command == nullptr || command->kind != Node::Kind::sequence || command->items.empty()) {
      context.error(*exec, at + "/exec/command", "has to be a list of words");
      return false;
    }
    for (const Node& word : command->items)
      if (auto text = context.text(word, at + "/exec/command")) probe.command.push_back(*text);
    return true;
  }
  const bool http = node.find("httpGet") != nullptr;
  const char* kind = http ? "httpGet" : "tcpSocket";
  const Node* target = node.find(kind);
  if (target == nullptr || target->kind != Node::Kind::mapping) {
    context.error(node, at, "has to have one of exec, httpGet and tcpSocket");
    return false;
  }
  probe.kind = http ? Probe::Kind::http : Probe::Kind::tcp;
  const std::string where = at + "/" + kind;
  probe.port = port(*target, where + "/port");
  for (const char* name : {"host", "scheme"})
    if (const Node* field = target->find(name); field != nullptr && field->text != "HTTP")
      unsupported.push_back({Finding::Level::error, where + "/" + name,
                             "is not supported: probes go to the pod's own address, over HTTP",
                             field->at.line, field->at.column});
  if (const Node* path = target->find("path"))
    probe.path = context.text(*path, where + "/path").value_or("/");
  if (!probe.path.starts_with('/')) probe.path = fmt::format("/{}", probe.path);
  if (probe.path.find_first_of(" \r\n") != std::string::npos)
    context.error(*target, where + "/path", "contains a blank or a line break");
  const Node* headers = target->find("httpHeaders");
  if (headers != nullptr && headers->kind == Node::Kind::sequence)
    for (const Node& header : headers->items) {
      const Node* name = header.kind == Node::Kind::mapping ? header.find("name") : nullptr;
      const Node* value = header.kind == Node::Kind::mapping ? header.find("value") : nullptr;
      if (name == nullptr || value == nullptr ||
          (name->text + value->text).find_first_of("\r\n") != std::string::npos)
        context.error(header, where + "/httpHeaders", "has to be {name, value} of one line each");
      else
        probe.headers.emplace_back(name->text, value->text);
    }
  return probe.port != 0;
}

std::uint16_t ProbeReader::port(const Node& node, const std::string& at) {
  const Node* field = node.find("port");
  if (field == nullptr) {
    context.error(node, at, "is missing");
    return 0;
  }
  const Node* number = field;
  if (field->kind == Node::Kind::string) {
    const Node* ports = container.find("ports");
    number = nullptr;
    if (ports != nullptr && ports->kind == Node::Kind::sequence)
      for (const Node& item : ports->items)
        if (const Node* name = item.find("name"); name != nullptr && name->text == field->text)
          number = item.find("containerPort");
    if (number == nullptr) {
      context.error(*field, at, fmt::format("no port is named \"{}\"", field->text));
      return 0;
    }
  }
  const auto value = context.integer(*number, at);
  if (value && *value >= 1 && *value <= 65535) return static_cast<std::uint16_t>(*value);
  if (value) context.error(*number, at, fmt::format("{} is not within 1 to 65535", *value));
  return 0;
}

}  // namespace minirun::kubernetes
