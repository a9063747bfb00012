#include "wire.h"

#include "json.h"

namespace microseg::cnm::wire {
namespace {

using nlohmann::json;

template <class T>
Result<T> parsed(const json& object, const std::string& key) {
  MS_TRY(auto value, text(object, key, key));
  return T::parse(value).in(key);
}

template <class T>
Result<std::optional<T>> optional_parsed(const json& object, const std::string& key, const std::string& name) {
  MS_TRY(auto value, optional_text(object, key, name));
  if (value.empty()) return std::optional<T>();
  MS_TRY(auto made, T::parse(value).in(name));
  return std::optional<T>(std::move(made));
}

Result<std::optional<Prefix>> family_prefix(const json& object, const std::string& key, const std::string& name,
                                            bool v4) {
  MS_TRY(auto prefix, optional_parsed<Prefix>(object, key, name));
  if (prefix && prefix->ip().is_v4() != v4)
    return invalid(name + ": expected an IPv" + (v4 ? "4" : "6") + " address, got '" + prefix->str() + "'");
  return prefix;
}

Status append_subnets(const json& body, const std::string& key, bool v4, std::vector<model::Subnet>& out) {
  const json* list = find(body, key);
  if (!list) return {};
  if (!list->is_array()) return wrong_type(key, "a list", list);
  for (std::size_t i = 0; i < list->size(); ++i) {
    const auto name = key + "[" + std::to_string(i) + "]";
    const json& item = (*list)[i];
    if (!item.is_object()) return wrong_type(name, "an object", &item);
    MS_TRY(auto pool, family_prefix(item, "Pool", name + ".Pool", v4));
    if (!pool) return invalid(name + ".Pool: expected an address pool, got nothing");
    MS_TRY(auto gateway, family_prefix(item, "Gateway", name + ".Gateway", v4));
    out.push_back({pool->network(), gateway ? std::optional<Ip>(gateway->ip()) : std::nullopt});
  }
  return {};
}

Result<EndpointRef> endpoint_ids(const json& request) {
  MS_TRY(auto network, parsed<NetworkId>(request, "NetworkID"));
  MS_TRY(auto endpoint, parsed<EndpointId>(request, "EndpointID"));
  return EndpointRef{std::move(network), std::move(endpoint)};
}

// The CLI lower-cases some keys and leaves others as typed.
bool is_ours(const std::string& key) {
  constexpr std::string_view prefix = "microseg.";
  if (key.size() < prefix.size()) return false;
  for (std::size_t i = 0; i < prefix.size(); ++i)
    if ((key[i] >= 'A' && key[i] <= 'Z' ? key[i] - 'A' + 'a' : key[i]) != prefix[i]) return false;
  return true;
}

// Beside the user's options Docker puts its own here: lists of ports and DNS servers. Those are passed over; one of
// ours that is no text is refused, or an endpoint would get another identity than the one asked for.
Result<model::Options> endpoint_options(const json& body) {
  MS_TRY(auto map, optional_object(body, "Options", "Options"));
  model::Options options;
  if (!map) return options;
  for (auto& [key, value] : map->items()) {
    if (value.is_string()) {
      options.emplace(key, value.get<std::string>());
    } else if (is_ours(key)) {
      return wrong_type("Options." + key, "text", &value);
    }
  }
  return options;
}

// A list among Docker's own entries of Options; null where there is none.
Result<const json*> options_list(const json& body, const std::string& key) {
  MS_TRY(auto options, optional_object(body, "Options", "Options"));
  const json* list = options ? find(*options, key) : nullptr;
  if (list && !list->is_array()) return wrong_type("Options." + key, "a list", list);
  return list;
}

Result<std::uint16_t> number16(const json& object, const std::string& key, const std::string& name) {
  const json* value = find(object, key);
  if (!value) return std::uint16_t{0};
  if (!value->is_number_unsigned() || value->get<std::uint64_t>() > 65535)
    return wrong_type(name, "a number from 0 to 65535", value);
  return value->get<std::uint16_t>();
}

// com.docker.network.portmap: [{"Proto":6,"Port":80,"HostPort":8080,"HostPortEnd":8080,…}]. A range of host ports is one
// of which Docker takes the first that is free.
Result<std::vector<model::PublishedPort>> published_ports(const json& body) {
  const std::string key = "com.docker.network.portmap";
  std::vector<model::PublishedPort> out;
  MS_TRY(auto list, options_list(body, key));
  for (std::size_t i = 0; list && i < list->size(); ++i) {
    const json& item = (*list)[i];
    const auto name = "Options." + key + "[" + std::to_string(i) + "]";
    if (!item.is_object()) return wrong_type(name, "an object", &item);
    MS_TRY(auto protocol, number16(item, "Proto", name + ".Proto"));
    MS_TRY(auto port, number16(item, "Port", name + ".Port"));
    MS_TRY(auto first, number16(item, "HostPort", name + ".HostPort"));
    MS_TRY(auto last, number16(item, "HostPortEnd", name + ".HostPortEnd"));
    if (protocol > 255) return wrong_type(name + ".Proto", "a number from 0 to 255", find(item, "Proto"));
    const bool chosen = first != 0 && (last == 0 || last == first);
    out.push_back({static_cast<std::uint8_t>(protocol), port, chosen ? first : std::uint16_t{0}});
  }
  return out;
}

Result<std::vector<Ip>> dns_servers(const json& body) {
  const std::string key = "com.docker.network.endpoint.dnsservers";
  std::vector<Ip> out;
  MS_TRY(auto list, options_list(body, key));
  for (std::size_t i = 0; list && i < list->size(); ++i) {
    const json& item = (*list)[i];
    const auto name = "Options." + key + "[" + std::to_string(i) + "]";
    if (!item.is_string()) return wrong_type(name, "text", &item);
    // What is no address (one with a zone, say) is passed over: nothing is opened for it, and the container starts.
    if (auto ip = Ip::parse(item.get_ref<const std::string&>())) out.push_back(ip.value());
  }
  return out;
}

}  // namespace

Result<Allocate> allocate_network(const std::string& body) {
  MS_TRY(auto request, parse_object(body));
  MS_TRY(auto network, parsed<NetworkId>(request, "NetworkID"));
  MS_TRY(auto options, string_map(request, "Options", "Options"));
  return Allocate{std::move(network), std::move(options)};
}

Result<NetworkId> network_ref(const std::string& body) {
  MS_TRY(auto request, parse_object(body));
  return parsed<NetworkId>(request, "NetworkID");
}

Result<engine::CreateNetwork> create_network(const std::string& body) {
  MS_TRY(auto request, parse_object(body));
  MS_TRY(auto network, parsed<NetworkId>(request, "NetworkID"));
  engine::CreateNetwork create{std::move(network), {}, false, {}};
  MS_TRY(auto options, optional_object(request, "Options", "Options"));
  if (options) {
    const std::string generic = "com.docker.network.generic", internal = "com.docker.network.internal";
    MS_TRY(create.options, string_map(*options, generic, "Options." + generic));
    if (auto value = find(*options, internal)) {
      if (!value->is_boolean()) return wrong_type("Options." + internal, "true or false", value);
      create.internal = value->get<bool>();
    }
  }
  MS_CHECK(append_subnets(request, "IPv4Data", true, create.subnets));
  MS_CHECK(append_subnets(request, "IPv6Data", false, create.subnets));
  return create;
}

Result<engine::CreateEndpoint> create_endpoint(const std::string& body) {
  MS_TRY(auto request, parse_object(body));
  MS_TRY(auto ref, endpoint_ids(request));
  engine::CreateEndpoint create{std::move(ref.network), std::move(ref.endpoint), {}, {}, {}, {}, {}};
  MS_TRY(auto interface, optional_object(request, "Interface", "Interface"));
  if (interface) {
    MS_TRY(create.v4, family_prefix(*interface, "Address", "Interface.Address", true));
    MS_TRY(create.v6, family_prefix(*interface, "AddressIPv6", "Interface.AddressIPv6", false));
    MS_TRY(create.mac, optional_parsed<Mac>(*interface, "MacAddress", "Interface.MacAddress"));
  }
  MS_TRY(create.options, endpoint_options(request));
  MS_TRY(create.resolvers, dns_servers(request));
  return create;
}

Result<EndpointRef> endpoint_ref(const std::string& body) {
  MS_TRY(auto request, parse_object(body));
  return endpoint_ids(request);
}

Result<engine::Join> join(const std::string& body) {
  MS_TRY(auto request, parse_object(body));
  MS_TRY(auto ref, endpoint_ids(request));
  MS_TRY(auto sandbox, text(request, "SandboxKey", "SandboxKey"));
  MS_TRY(auto published, published_ports(request));
  return engine::Join{std::move(ref.network), std::move(ref.endpoint), std::move(sandbox), std::move(published)};
}

Status discovery(const std::string& body) {
  MS_TRY(auto request, parse_object(body));
  auto type = find(request, "DiscoveryType");
  if (!type || !type->is_number_integer()) return wrong_type("DiscoveryType", "a number", type);
  MS_TRY([[maybe_unused]] auto data, optional_object(request, "DiscoveryData", "DiscoveryData"));
  return {};
}

std::string capabilities(const std::string& scope) {
  return print({{"Scope", scope}, {"ConnectivityScope", scope}, {"GwAllocChecker", false}});
}

std::string allocated(const model::Options& options) { return print({{"Options", options}}); }

std::string created_endpoint(const std::optional<Mac>& chosen) {
  json interface = json::object();
  if (chosen) interface["MacAddress"] = chosen->str();
  return print({{"Interface", interface}});
}

std::string joined(const engine::Joined& joined) {
  json routes = json::array();
  for (auto& route : joined.routes)
    routes.push_back({{"Destination", route.destination.str()},
                      {"RouteType", route.next_hop ? 0 : 1},
                      {"NextHop", route.next_hop ? route.next_hop->str() : ""}});
  // No Gateway: Docker then attaches its own, docker_gwbridge, to containers of networks that are not internal.
  return print({{"InterfaceName", {{"SrcName", joined.source.str()}, {"DstPrefix", joined.prefix}}},
                {"StaticRoutes", routes},
                {"DisableGatewayService", false}});
}

std::string endpoint_info(const std::map<std::string, std::string>& values) { return print({{"Value", values}}); }

std::string error(const std::string& text) { return print({{"Err", text}}); }

}  // namespace microseg::cnm::wire
