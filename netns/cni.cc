#include "netns/cni.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "netns/apply.h"
#include "spec/kubernetes/bandwidth.h"

namespace minirun {
namespace {

using json = nlohmann::ordered_json;

std::string text_of(const json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

std::string dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

bool has_check(const std::string& version) {
  return version != "0.1.0" && version != "0.2.0" && version != "0.3.0" && version != "0.3.1";
}

/// The port and rate arguments of this container, by the capability that takes them.
json capability_arguments(const NetworkRequest& request) {
  json arguments = json::object();
  const Network& network = request.network;
  for (const PortMapping& port : network.ports) {
    json mapping = {{"hostPort", port.host_port},
                    {"containerPort", port.container_port},
                    {"protocol", port.udp ? "udp" : "tcp"}};
    if (!port.host_ip.empty()) mapping["hostIP"] = port.host_ip;
    arguments["portMappings"].push_back(std::move(mapping));
  }
  for (auto [bits, rate, burst] : {std::tuple{network.ingress_bits, "ingressRate", "ingressBurst"},
                                   std::tuple{network.egress_bits, "egressRate", "egressBurst"}})
    if (bits) {
      arguments["bandwidth"][rate] = *bits;
      arguments["bandwidth"][burst] = std::uint64_t{rate_limit(*bits, 1500).burst_bytes} * 8;
    }
  return arguments;
}

Result<std::string> find_plugin(const std::string& type, const std::string& search_path,
                                bool (*exists)(const std::string&)) {
  if (type.empty() || type.find('/') != type.npos)
    return plain_error("--cni", fmt::format("\"{}\" is not the name of a plugin", type));
  for (std::size_t at = 0; at <= search_path.size();) {
    const std::size_t colon = std::min(search_path.find(':', at), search_path.size());
    std::string path = search_path.substr(at, colon - at) + "/" + type;
    if (exists(path)) return path;
    at = colon + 1;
  }
  return plain_error("--cni", fmt::format("the plugin {} is not in {} (package "
                                          "containernetworking-plugins)",
                                          type, search_path));
}

Status add_plugin(CniList& list, json plugin, const json& arguments, json& taken,
                  bool (*exists)(const std::string&)) {
  const std::string type = text_of(plugin, "type");
  const std::string path = TRY(find_plugin(type, list.search_path, exists));
  json runtime = json::object();
  if (const auto it = plugin.find("capabilities"); it != plugin.end() && it->is_object())
    for (const auto& [capability, on] : it->items())
      if (on == true && arguments.contains(capability)) {
        runtime[capability] = arguments[capability];
        taken[capability] = true;
      }
  plugin.erase("capabilities");  // the specification: not passed on
  plugin["name"] = list.name;
  plugin["cniVersion"] = list.version;
  if (!runtime.empty()) plugin["runtimeConfig"] = std::move(runtime);
  list.plugins.push_back({type, path, dump(plugin)});
  return {};
}

}  // namespace

Result<CniList> plan_cni(const std::string& text, const NetworkRequest& request,
                         const std::string& search_path, bool (*exists)(const std::string&)) {
  const json document = json::parse(text, nullptr, false);
  const std::string& file = request.network.conflist;
  if (!document.is_object())
    return plain_error("--cni", fmt::format("{} is not a JSON object", file));
  CniList list;
  list.name = text_of(document, "name");
  list.version = text_of(document, "cniVersion");
  if (list.version.empty()) list.version = "0.2.0";  // the specification's default
  list.search_path = search_path;
  list.check = has_check(list.version);
  if (const auto it = document.find("disableCheck"); it != document.end() && *it == true)
    list.check = false;
  if (list.name.empty()) return plain_error("--cni", fmt::format("{} has no name", file));
  json plugins = json::array();
  if (const auto it = document.find("plugins"); it != document.end() && it->is_array())
    plugins = *it;
  else if (document.contains("type"))
    plugins.push_back(document);
  if (plugins.empty()) return plain_error("--cni", fmt::format("{} has no plugins", file));
  NetworkRequest asked = request;
  for (auto [annotation, bits] :
       {std::pair{kubernetes::ingress_bandwidth, &asked.network.ingress_bits},
        std::pair{kubernetes::egress_bandwidth, &asked.network.egress_bits}})
    if (const auto said = request.annotations.find(std::string(annotation));
        said != request.annotations.end() && !*bits) {
      const auto rate = kubernetes::parse_bandwidth(said->second);
      if (!rate) return std::unexpected(Error(rate.error()).in(std::string(annotation)));
      *bits = *rate;
    }
  const json arguments = capability_arguments(asked);
  json taken = json::object();
  for (const json& plugin : plugins) {
    if (!plugin.is_object())
      return plain_error("--cni", fmt::format("{} has a plugin that is no object", file));
    TRY(add_plugin(list, plugin, arguments, taken, exists));
  }
  for (const auto& [capability, value] : arguments.items())
    if (!taken.contains(capability))
      return plain_error(
          "--cni", fmt::format("no plugin of {} has the capability {}, which {} "
                               "needs",
                               file, capability,
                               capability == "bandwidth" ? "a bandwidth" : "a published port"));
  return list;
}

Result<CniList> load_cni(const NetworkRequest& request) {
  const char* path = std::getenv("CNI_PATH");  // NOLINT(concurrency-mt-unsafe)
  const Result<std::string> text = read_file(AT_FDCWD, request.network.conflist);
  if (!text) return std::unexpected(Error(text.error()).in("--cni"));
  return plan_cni(*text, request,
                  path != nullptr && *path != '\0' ? path : "/opt/cni/bin:/usr/lib/cni",
                  [](const std::string& file) { return ::access(file.c_str(), X_OK) == 0; });
}

std::vector<std::string> describe(const CniList& list, const std::string& id) {
  std::vector<std::string> lines;
  auto add = [&](const char* command, const CniPlugin& plugin) {
    lines.push_back(
        fmt::format("CNI_COMMAND={} CNI_CONTAINERID={} CNI_NETNS=/proc/PID/ns/net "
                    "CNI_IFNAME=eth0 CNI_PATH={} {} <<<'{}'",
                    command, id, list.search_path, plugin.path, plugin.configuration));
  };
  for (const CniPlugin& plugin : list.plugins) add("ADD", plugin);
  if (list.check)
    for (const CniPlugin& plugin : list.plugins) add("CHECK", plugin);
  return lines;
}

std::string to_json(const CniList& list, const std::string& result) {
  json plugins = json::array();
  for (const CniPlugin& plugin : list.plugins)
    plugins.push_back(
        {{"type", plugin.type}, {"path", plugin.path}, {"configuration", plugin.configuration}});
  return dump({{"name", list.name},
               {"version", list.version},
               {"check", list.check},
               {"searchPath", list.search_path},
               {"plugins", std::move(plugins)},
               {"result", result}});
}

Result<CniRecord> parse_cni_record(const std::string& text) {
  try {
    const json document = json::parse(text);
    CniRecord record;
    record.list.name = document.at("name").get<std::string>();
    record.list.version = document.at("version").get<std::string>();
    record.list.check = document.at("check").get<bool>();
    record.list.search_path = document.at("searchPath").get<std::string>();
    record.result = document.at("result").get<std::string>();
    for (const json& plugin : document.at("plugins"))
      record.list.plugins.push_back({plugin.at("type").get<std::string>(),
                                     plugin.at("path").get<std::string>(),
                                     plugin.at("configuration").get<std::string>()});
    return record;
  } catch (const json::exception& error) {
    return plain_error("network/cni.json", std::string("is corrupt: ") + error.what());
  }
}

// ---------------------------------------------------------------- calls

namespace {

Result<std::string> call(const char* command, const CniList& list, const CniPlugin& plugin,
                         const std::string& previous, const std::string& id,
                         const std::string& netns) {
  json configuration = json::parse(plugin.configuration, nullptr, false);
  if (!previous.empty()) {
    json result = json::parse(previous, nullptr, false);
    if (!result.is_discarded()) configuration["prevResult"] = std::move(result);
  }
  const std::string object = fmt::format("CNI plugin {} {}", plugin.type, command);
  Result<std::string> answer = run_tool(
      {.arguments = {plugin.path},
       .environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", fmt::format("CNI_COMMAND={}", command),
                       "CNI_CONTAINERID=" + id, "CNI_NETNS=" + netns, "CNI_IFNAME=eth0",
                       "CNI_PATH=" + list.search_path},
       .input = dump(configuration),
       .object = object,
       .output_tells_errors = true});
  if (answer) return answer;
  // The specification: an error is a JSON object on standard output.
  const json error = json::parse(answer.error().detail, nullptr, false);
  if (!error.is_object()) return answer;
  const std::string details = text_of(error, "details");
  return plain_error(object, text_of(error, "msg") + (details.empty() ? "" : ": " + details));
}

}  // namespace

Result<std::string> cni_add(const CniList& list, const std::string& id, const std::string& netns) {
  std::string result;
  for (const CniPlugin& plugin : list.plugins)
    result = TRY(call("ADD", list, plugin, result, id, netns));
  if (list.check)
    for (const CniPlugin& plugin : list.plugins)
      TRY(call("CHECK", list, plugin, result, id, netns));
  return result;
}

Status cni_delete(const CniRecord& record, const std::string& id, const std::string& netns) {
  Status first;
  const auto& plugins = record.list.plugins;
  for (std::size_t i = plugins.size(); i-- > 0;) {
    const Result<std::string> done = call("DEL", record.list, plugins[i], record.result, id, netns);
    if (!done && first) first = std::unexpected(done.error());
  }
  return first;
}

CniAnswer read_cni_result(const std::string& result) {
  CniAnswer answer;
  const json document = json::parse(result, nullptr, false);
  if (!document.is_object()) return answer;
  if (const auto ips = document.find("ips"); ips != document.end() && ips->is_array())
    for (const json& ip : *ips)
      if (answer.address.empty() && ip.is_object()) {
        const std::string text = text_of(ip, "address");
        answer.address = text.substr(0, text.find('/'));
      }
  const auto dns = document.find("dns");
  if (dns == document.end() || !dns->is_object()) return answer;
  for (auto [key, word] : {std::pair{"nameservers", "nameserver"}, std::pair{"search", "search"}})
    if (const auto list = dns->find(key); list != dns->end() && list->is_array())
      for (const json& item : *list)
        if (item.is_string() &&
            item.get<std::string>().find_first_of(" \t\r\n") == std::string::npos)
          answer.resolv += fmt::format("{} {}\n", word, item.get<std::string>());
  return answer;
}

}  // namespace minirun
