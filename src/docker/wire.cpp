#include "docker/wire.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

namespace microseg::docker::wire {
namespace {

using nlohmann::json;

Error wrong(const std::string& what) { return {Errc::invalid, 0, "unreadable answer of the Docker engine: " + what}; }

// The engine's answers are a handful of levels deep. The bound is on what nlohmann's recursive destructor sees too.
constexpr int kMaxDepth = 64;

Result<json> parse_json(std::string_view text) {
  int deepest = 0;
  const json::parser_callback_t measure = [&](int depth, json::parse_event_t, json&) {
    deepest = std::max(deepest, depth);
    return depth <= kMaxDepth;
  };
  json value = json::parse(text.begin(), text.end(), measure, /*allow_exceptions=*/false);
  if (value.is_discarded()) return wrong("not JSON");
  if (deepest > kMaxDepth) return wrong("nested too deeply");
  return value;
}

// The member, or null where it is absent.
const json& member(const json& object, const char* name) {
  static const json null;
  auto it = object.find(name);
  return it == object.end() ? null : *it;
}

// Absent and null read as "".
Result<std::string> text_of(const json& object, const char* name) {
  const json& value = member(object, name);
  if (value.is_null()) return std::string();
  if (!value.is_string()) return wrong(std::string(name) + " is not text");
  return value.get_ref<const std::string&>();
}

Result<std::map<std::string, std::string>> texts_of(const json& object, const char* name) {
  std::map<std::string, std::string> out;
  const json& value = member(object, name);
  if (value.is_null()) return out;
  if (!value.is_object()) return wrong(std::string(name) + " is not an object");
  for (auto& [key, entry] : value.items()) {
    if (!entry.is_string()) return wrong(std::string(name) + " has a value that is not text");
    out[key] = entry.get_ref<const std::string&>();
  }
  return out;
}

// "172.18.0.2/16" -> the address; nothing where it is "".
Result<std::optional<Ip>> address_of(const json& object, const char* name) {
  MS_TRY(auto text, text_of(object, name));
  if (text.empty()) return std::optional<Ip>();
  MS_TRY(auto prefix, Prefix::parse(text).in(std::string("unreadable answer of the Docker engine: ") + name));
  return std::optional<Ip>(prefix.ip());
}

// IPAM.Config: [{"Subnet": "172.18.0.0/16", "Gateway": "172.18.0.1"}]
Status read_gateways(const json& object, GatewayBridge& bridge) {
  const json& ipam = member(object, "IPAM");
  if (ipam.is_null()) return {};
  if (!ipam.is_object()) return wrong("IPAM is not an object");
  const json& config = member(ipam, "Config");
  if (config.is_null()) return {};
  if (!config.is_array()) return wrong("IPAM.Config is not a list");
  for (auto& entry : config) {
    if (!entry.is_object()) return wrong("IPAM.Config has a value that is not an object");
    MS_TRY(auto text, text_of(entry, "Gateway"));
    text = text.substr(0, text.find('/'));  // some versions add the length
    if (text.empty()) continue;
    MS_TRY(auto ip, Ip::parse(text).in("unreadable answer of the Docker engine: Gateway"));
    bridge.gateways.insert(ip);
  }
  return {};
}

bool is_container_id(std::string_view key) {
  return key.size() == 64 && key.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// Keys: "ep-<endpoint id>" while the container is being joined (only its name is told), its id from then on;
// "lb-<network>" is Swarm's load balancer, which is no container.
Status read_attachments(const json& object, NetworkInfo& network) {
  const json& containers = member(object, "Containers");
  if (containers.is_null()) return {};
  if (!containers.is_object()) return wrong("Containers is not an object");
  for (auto& [key, entry] : containers.items()) {
    const bool by_id = is_container_id(key);
    if (!by_id && !key.starts_with("ep-")) continue;
    if (!entry.is_object()) return wrong("Containers has a value that is not an object");
    MS_TRY(std::string endpoint_text, text_of(entry, "EndpointID"));
    if (endpoint_text.empty() && !by_id) endpoint_text = key.substr(3);
    if (endpoint_text.empty()) continue;  // attached, and without an endpoint yet
    MS_TRY(const auto endpoint, EndpointId::parse(endpoint_text).in("unreadable answer of the Docker engine"));
    MS_TRY(network.endpoints[endpoint], text_of(entry, "Name"));
    if (by_id) network.container_ids[endpoint] = key;
  }
  return {};
}

// {"Name": "<the node's gossip name>", "IP": "<address>"} each. One that cannot be read is passed over: it is let through
// nowhere, and the network's containers are known all the same.
Status read_peers(const json& object, NetworkInfo& network) {
  const json& peers = member(object, "Peers");
  if (peers.is_null()) return {};
  if (!peers.is_array()) return wrong("Peers is not a list");
  std::set<Ip> addresses;
  for (auto& entry : peers) {
    if (!entry.is_object()) return wrong("Peers has a value that is not an object");
    MS_TRY(const std::string text, text_of(entry, "IP"));
    if (const auto address = Ip::parse(text)) addresses.insert(address.value());
  }
  network.peers.assign(addresses.begin(), addresses.end());
  return {};
}

Result<NetworkInfo> read_network(const json& object) {
  if (!object.is_object()) return wrong("a network that is not an object");
  MS_TRY(const std::string id_text, text_of(object, "Id"));
  MS_TRY(auto id, NetworkId::parse(id_text).in("unreadable answer of the Docker engine: Id"));
  NetworkInfo network{std::move(id), {}, {}, {}, {}, {}, {}, {}, {}};
  MS_TRY(network.name, text_of(object, "Name"));
  MS_TRY(network.driver, text_of(object, "Driver"));
  MS_TRY(network.scope, text_of(object, "Scope"));
  MS_TRY(network.labels, texts_of(object, "Labels"));
  MS_TRY(network.options, texts_of(object, "Options"));
  MS_CHECK(read_attachments(object, network));
  MS_CHECK(read_peers(object, network));
  return network;
}

Result<model::Container> read_container(const json& object) {
  if (!object.is_object()) return wrong("a container that is not an object");
  model::Container container;
  MS_TRY(container.id, text_of(object, "Id"));
  if (!is_container_id(container.id)) return wrong("a container's Id is not 64 hex digits");
  MS_TRY(container.labels, texts_of(object, "Labels"));
  const json& names = member(object, "Names");
  if (names.is_null()) return container;
  if (!names.is_array()) return wrong("Names is not a list");
  for (auto& entry : names) {
    if (!entry.is_string()) return wrong("Names has a value that is not text");
    std::string_view name = entry.get_ref<const std::string&>();
    if (name.starts_with('/')) name.remove_prefix(1);
    if (name.find('/') != std::string_view::npos) continue;  // "/web/alias" is what a legacy link to it is called
    // Being renamed: Docker gives the old name up a moment after it has told of the new one, and lists both until then.
    if (!container.name.empty()) {
      container.name.clear();
      return container;
    }
    container.name = name;
  }
  return container;
}

std::string percent_encoded(std::string_view s) {
  std::string out;
  for (const char c : s) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                       c == '.' || c == '_' || c == '~';
    if (plain) {
      out += c;
    } else {
      char hex[4];
      (void)std::snprintf(hex, sizeof hex, "%%%02X", static_cast<unsigned char>(c));
      out += hex;
    }
  }
  return out;
}

std::string containers_target(const char* filter, const std::string& value) {
  const json filters = {{filter, json::array({value})}};
  // Bytes that are no UTF-8 become U+FFFD: such a name matches nothing, which is right.
  return "/containers/json?all=1&filters=" +
         percent_encoded(filters.dump(-1, ' ', false, json::error_handler_t::replace));
}

// Names are matched as regular expressions (Go's), where a backslash before any punctuation takes its meaning away.
std::string regex_quoted(std::string_view s) {
  std::string out;
  for (const char c : s) {
    if (std::string_view("\\.+*?()|[]{}^$").find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

}  // namespace

Result<NetworkInfo> parse_network(std::string_view text) {
  MS_TRY(const json value, parse_json(text));
  return read_network(value);
}

Result<std::vector<NetworkInfo>> parse_networks(std::string_view text) {
  MS_TRY(const json value, parse_json(text));
  std::vector<NetworkInfo> out;
  if (value.is_null()) return out;
  if (!value.is_array()) return wrong("the networks are not a list");
  for (auto& entry : value) {
    MS_TRY(auto network, read_network(entry));
    out.push_back(std::move(network));
  }
  return out;
}

Result<std::optional<Ip>> parse_node_address(std::string_view text) {
  MS_TRY(const json value, parse_json(text));
  if (!value.is_object()) return wrong("the information is not an object");
  const json& swarm = member(value, "Swarm");
  if (swarm.is_null()) return std::optional<Ip>();
  if (!swarm.is_object()) return wrong("Swarm is not an object");
  MS_TRY(const std::string address, text_of(swarm, "NodeAddr"));
  MS_TRY(const std::string state, text_of(swarm, "LocalNodeState"));
  if (address.empty()) {
    if (state.empty() || state == "inactive") return std::optional<Ip>();
    return Error{Errc::unavailable, 0, "this node's Swarm is " + state + ", so the node's address is not known"};
  }
  MS_TRY(const auto ip, Ip::parse(address).in("unreadable answer of the Docker engine: Swarm.NodeAddr"));
  return std::optional<Ip>(ip);
}

Result<GatewayBridge> parse_gateway_bridge(std::string_view text) {
  MS_TRY(const json object, parse_json(text));
  if (!object.is_object()) return wrong("a network that is not an object");
  GatewayBridge bridge;
  MS_TRY(auto options, texts_of(object, "Options"));
  bridge.link = options["com.docker.network.bridge.name"];
  if (bridge.link.empty()) bridge.link = "docker_gwbridge";  // what Docker calls it unless somebody made it by hand
  MS_CHECK(read_gateways(object, bridge));
  const json& containers = member(object, "Containers");
  if (containers.is_null()) return bridge;
  if (!containers.is_object()) return wrong("Containers is not an object");
  for (auto& [key, entry] : containers.items()) {
    if (!entry.is_object()) return wrong("Containers has a value that is not an object");
    MS_TRY(auto name, text_of(entry, "Name"));
    constexpr std::string_view prefix = "gateway_";  // libnetwork/default_gateway.go, setupDefaultGW
    // Somebody may have connected a container to the bridge by hand: it is in no sandbox that we know.
    const std::string sandbox = name.starts_with(prefix) ? name.substr(prefix.size()) : key;
    GatewayBridge::Addresses addresses;
    MS_TRY(addresses.v4, address_of(entry, "IPv4Address"));
    MS_TRY(addresses.v6, address_of(entry, "IPv6Address"));
    MS_TRY(auto mac, text_of(entry, "MacAddress"));
    if (auto parsed = Mac::parse(mac)) addresses.mac = parsed.value();
    bridge.sandboxes.insert_or_assign(sandbox, addresses);
  }
  return bridge;
}

Result<std::vector<model::Container>> parse_containers(std::string_view text) {
  MS_TRY(const json value, parse_json(text));
  std::vector<model::Container> out;
  if (value.is_null()) return out;
  if (!value.is_array()) return wrong("the containers are not a list");
  for (auto& entry : value) {
    MS_TRY(auto container, read_container(entry));
    out.push_back(std::move(container));
  }
  return out;
}

Result<Event> parse_event(std::string_view text) {
  MS_TRY(const json value, parse_json(text));
  if (!value.is_object()) return wrong("an event that is not an object");
  Event event;
  MS_TRY(event.type, text_of(value, "Type"));
  MS_TRY(event.action, text_of(value, "Action"));
  if (event.type.empty() || event.action.empty()) return wrong("an event without Type and Action");
  const json& actor = member(value, "Actor");
  if (actor.is_null()) return event;
  if (!actor.is_object()) return wrong("an event's Actor is not an object");
  MS_TRY(event.actor_id, text_of(actor, "ID"));
  MS_TRY(event.attributes, texts_of(actor, "Attributes"));
  return event;
}

std::string error_message(std::string_view text) {
  auto value = parse_json(text);
  if (value && value.value().is_object())
    if (auto message = text_of(value.value(), "message"); message && !message.value().empty())
      return std::move(message).value();
  return std::string(text.substr(0, 200));
}

std::string network_target(const NetworkId& id) { return "/networks/" + id.str(); }

std::string container_by_name_target(std::string_view name) {
  return containers_target("name", "^/" + regex_quoted(name) + "$");
}

std::string container_by_id_target(std::string_view id) { return containers_target("id", std::string(id)); }

std::string events_target(std::int64_t seconds, std::int64_t nanoseconds) {
  char since[48];
  (void)std::snprintf(since, sizeof since, "%lld.%09lld", static_cast<long long>(seconds),
                      static_cast<long long>(nanoseconds));
  const json filters = {{"type", {"container", "network"}}};
  return std::string("/events?since=") + since + "&filters=" + percent_encoded(filters.dump());
}

}  // namespace microseg::docker::wire
