// Values for the store's tests: every field set, every optional filled, every enum past its first value.
#pragma once

#include <string>

#include "microseg/store/store.h"

namespace microseg::test {

inline NetworkId net_id(const std::string& s) { return NetworkId::parse(s).value(); }
inline EndpointId ep_id(const std::string& s) { return EndpointId::parse(s).value(); }
inline Prefix prefix(const std::string& s) { return Prefix::parse(s).value(); }

inline model::Network plain_network(const std::string& id) {
  return {net_id(id), {}, {}, false, {}, {}, {}, {}, {}, {}, 0};
}

inline model::Endpoint plain_endpoint(const std::string& id, const std::string& network) {
  return {ep_id(id), net_id(network), {}, {}, Mac::local(7), {}, {}, {}, {}, "not resolved yet", 0, 0};
}

inline model::Network full_network(const std::string& id) {
  auto network = plain_network(id);
  network.options = {{"microseg.mode", "monitor"}, {"com.example.note", "quotes \" and \\ and \n, öß, \x01"}};
  network.settings.mode = model::Mode::monitor;
  network.settings.refusal = model::Refusal::drop;
  network.settings.publish = model::Publish::explicitly;
  network.settings.vni = 16777215;
  network.settings.mtu = 65535;
  network.settings.interface_prefix = "net";
  network.settings.policy = "allow web -> api : 8080\n# é";
  network.internal = true;
  network.subnets = {{prefix("10.5.0.0/24"), Ip::parse("10.5.0.1").value()}, {prefix("fd00:5::/64"), {}}};
  network.name = "app";
  network.labels = policy::Labels{{"microseg.policy", "deny any -> db"}, {"empty", ""}};
  network.applied = {3, "allow a -> b", 1700000000123};

  using Op = policy::Term::Op;
  const policy::Selector one{{{Op::differs, "stage", "test"}, {Op::equals, "tier", "front"}}};
  const policy::Selector two{{{Op::present, "gpu", ""}, {Op::absent, "old", ""}}};
  network.blocks = {{{1, {{"api", "web"}, {}}}, 1700000000000}, {{4, {{"api", "db", "web"}, {one, two}}}, {}}};
  network.created_ms = 1690000000000;
  return network;
}

inline model::Endpoint full_endpoint(const std::string& id, const std::string& network) {
  auto endpoint = plain_endpoint(id, network);
  endpoint.v4 = prefix("10.5.0.2/24");
  endpoint.v6 = prefix("fd00:5::2/64");
  endpoint.mac = Mac::parse("02:42:0a:05:00:02").value();
  endpoint.options = {{"microseg.service", "web"}};
  endpoint.phase = model::Endpoint::Phase::joined;
  endpoint.sandbox = "/var/run/docker/netns/1a2b3c";
  endpoint.identity = model::ResolvedIdentity{
      {"web", {{"tier", "front"}}}, model::IdentitySource::container_name, std::string(64, 'a'), "web_1"};
  endpoint.quarantined = "";
  endpoint.created_ms = 1690000000001;
  endpoint.joined_ms = -5;  // a clock set wrongly must come back as it was
  return endpoint;
}

// A network "aa" with two endpoints, a plain network "bb", and revisions of both.
inline store::Change sample_change() {
  store::Change change;
  change.put_networks = {full_network("aa"), plain_network("bb")};
  change.put_endpoints = {full_endpoint("e1", "aa"), plain_endpoint("e2", "aa"), plain_endpoint("e3", "bb")};
  change.add_revisions = {{net_id("aa"), {1, "allow x -> y", 100}},
                          {net_id("aa"), {2, "", 200}},
                          {net_id("bb"), {1, "deny any -> any", 300}}};
  return change;
}

inline model::State sample_state() {
  model::State state;
  const auto change = sample_change();
  for (const auto& network : change.put_networks) state.networks.emplace(network.id, network);
  for (const auto& endpoint : change.put_endpoints) state.endpoints.emplace(endpoint.id, endpoint);
  return state;
}

}  // namespace microseg::test
