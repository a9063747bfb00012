#include "views.h"

#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>

namespace microseg::api {
namespace {

// Declaration order, so that people who read raw answers find the name first.
using json = nlohmann::ordered_json;

// Names and labels come from outside; what is not UTF-8 in them is replaced, not thrown over.
std::string print(const json& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); }

// 0 means "never" in the engine's views; null says so in JSON.
json time_or_null(std::int64_t unix_ms) { return unix_ms == 0 ? json() : json(rfc3339(unix_ms)); }

template <class T>
json text_or_null(const std::optional<T>& value) {
  return value ? json(value->str()) : json();
}

const char* name_of(model::Mode mode) { return mode == model::Mode::enforce ? "enforce" : "monitor"; }

json applied(const model::AppliedPolicy& policy) {
  return {{"version", policy.version},
          {"text", policy.text},
          {"at", time_or_null(policy.at_ms)},
          {"at_ms", policy.at_ms}};
}

json network(const engine::NetworkView& view) {
  json subnets = json::array();
  for (auto& subnet : view.subnets)
    subnets.push_back({{"pool", subnet.pool.str()}, {"gateway", text_or_null(subnet.gateway)}});
  json peers = json::array();
  for (auto& peer : view.peers) peers.push_back(peer.str());
  return {{"id", view.id.str()},
          {"name", view.name},
          {"mode", name_of(view.mode)},
          {"subnets", subnets},
          {"endpoints", view.endpoints},
          {"quarantined", view.quarantined},
          {"applied_version", view.applied_version},
          {"generation", view.generation},
          {"spans_hosts", view.spans_hosts},
          {"vni", view.vni ? json(*view.vni) : json()},
          {"underlay", text_or_null(view.underlay)},
          {"peers", peers},
          {"state", view.state},
          {"packets", view.packets}};
}

json endpoint(const engine::EndpointView& view) {
  return {{"id", view.id.str()},
          {"network", view.network.str()},
          {"network_name", view.network_name},
          {"service", view.service},
          {"source", view.source},
          {"container", view.container},
          {"class", view.class_number},
          {"ipv4", text_or_null(view.v4)},
          {"ipv6", text_or_null(view.v6)},
          {"mac", view.mac.str()},
          {"link", view.link},
          {"phase", view.phase},
          {"joined", time_or_null(view.joined_ms)},
          {"joined_ms", view.joined_ms},
          {"quarantined", view.quarantined},
          {"labels", view.labels},
          {"gateway_ipv4", text_or_null(view.gateway_v4)},
          {"gateway_ipv6", text_or_null(view.gateway_v6)},
          {"waiting", view.waiting}};
}

}  // namespace

std::string rfc3339(std::int64_t unix_ms) {
  std::int64_t ms = unix_ms % 1000;
  if (ms < 0) ms += 1000;
  const auto seconds = static_cast<std::time_t>((unix_ms - ms) / 1000);
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  char date[32], text[48];
  (void)std::strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &utc);
  (void)std::snprintf(text, sizeof text, "%s.%03dZ", date, static_cast<int>(ms));
  return text;
}

std::string to_json(const engine::StatusView& view) {
  return print({{"version", view.version},
                {"health", view.health},
                {"problems", view.problems},
                {"networks", view.networks},
                {"endpoints", view.endpoints},
                {"quarantined", view.quarantined},
                {"started", time_or_null(view.started_ms)},
                {"started_ms", view.started_ms},
                {"docker", view.docker},
                {"kernel", view.kernel}});
}

std::string to_json(const std::vector<engine::NetworkView>& views) {
  json list = json::array();
  for (auto& view : views) list.push_back(network(view));
  return print({{"networks", list}});
}

std::string to_json(const std::vector<engine::EndpointView>& views) {
  json list = json::array();
  for (auto& view : views) list.push_back(endpoint(view));
  return print({{"endpoints", list}});
}

std::string to_json(const engine::PolicyView& view) {
  json sources = json::array();
  for (auto& source : view.sources)
    sources.push_back({{"origin", source.origin}, {"text", source.text}, {"error", source.error}});
  return print({{"network", view.network.str()},
                {"network_name", view.network_name},
                {"sources", sources},
                {"effective", view.effective},
                {"applied", applied(view.applied)},
                {"classes", view.classes},
                {"elements", view.elements}});
}

std::string to_json(const engine::HistoryView& view) {
  json versions = json::array();
  for (auto& version : view.versions) versions.push_back(applied(version));
  return print({{"network", view.network.str()}, {"network_name", view.network_name}, {"versions", versions}});
}

std::string to_json(const engine::ExplainView& view, const std::string& port) {
  return print({{"network", view.network},
                {"from", view.from},
                {"to", view.to},
                {"port", port},
                {"allowed", view.allowed},
                {"statement", view.statement},
                {"origin", view.origin},
                {"reason", view.reason},
                {"note", view.note}});
}

std::string to_json(const engine::CheckView& view) {
  return print({{"statements", view.statements},
                {"classes", view.classes},
                {"effective", view.effective},
                {"across_hosts", view.across_hosts}});
}

std::string applied_json(const std::string& network, std::uint64_t version) {
  return print({{"network", network}, {"version", version}});
}

std::string removed_json(const std::string& network) { return print({{"network", network}, {"removed", true}}); }

std::string error_json(const std::string& code, const std::string& message) {
  return print({{"error", {{"code", code}, {"message", message}}}});
}

}  // namespace microseg::api
