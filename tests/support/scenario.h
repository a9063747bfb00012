// Networks and endpoints for tests, by short names: net("a"), and ep("web", 2) at 10.5.0.2 and fd05::2.
#pragma once

#include <string>
#include <vector>

#include "engine/judgement.h"
#include "microseg/model/network.h"
#include "microseg/policy/compile.h"
#include "microseg/reconcile/steps.h"
#include "microseg/render/segment.h"

namespace microseg::test {

inline Ip ip(const std::string& s) { return Ip::parse(s).value(); }
inline Prefix prefix(const std::string& s) { return Prefix::parse(s).value(); }

// 64 characters, as Docker's ids are.
inline std::string long_id(std::string s) {
  s.resize(64, '0');
  return s;
}
inline NetworkId net_id(const std::string& s) { return NetworkId::parse(long_id(s)).value(); }
inline EndpointId ep_id(const std::string& s) { return EndpointId::parse(long_id(s)).value(); }

inline std::vector<model::Subnet> two_subnets() {
  return {{prefix("10.5.0.0/24"), ip("10.5.0.1")}, {prefix("fd05::/64"), ip("fd05::1")}};
}

inline model::Network network(const std::string& policy, model::Options options = {}) {
  if (!policy.empty()) options["microseg.policy"] = policy;
  model::Network out{.id = net_id("a"), .options = options, .settings = model::parse_settings(options).value(),
                     .internal = false, .subnets = two_subnets(), .name = "app", .labels = policy::Labels{},
                     .applied = {}, .blocks = {}, .created_ms = 0};
  return out;
}

// The same where it spans hosts: this one is 192.0.2.1, another one 192.0.2.2.
inline model::Network spanning_network(const std::string& policy, model::Options options = {}) {
  auto out = network(policy, std::move(options));
  out.settings.encoding = policy::kEncodingVersion;
  out.settings.vni = 5000;
  out.settings.mtu = 1450;
  out.underlay = {ip("192.0.2.1"), {ip("192.0.2.2")}};
  return out;
}

// Joined, and known as `service`; "" is not known. `n` is the last part of its addresses and, by default, its id.
inline model::Endpoint endpoint(const std::string& service, unsigned n, const std::string& id = "") {
  auto v4 = prefix("10.5.0." + std::to_string(n) + "/24");
  auto ep = ep_id(id.empty() ? "e" + std::to_string(n) : id);
  model::Endpoint out{.id = ep, .network = net_id("a"), .v4 = v4,
                      .v6 = prefix("fd05::" + std::to_string(n) + "/64"), .mac = render::default_mac(ep, v4),
                      .options = {}, .phase = model::Endpoint::Phase::joined, .sandbox = "", .identity = {},
                      .quarantined = service.empty() ? "not known" : "", .created_ms = 0, .joined_ms = 0};
  if (!service.empty())
    out.identity = model::ResolvedIdentity{{service, {}}, model::IdentitySource::container_name, "", service};
  return out;
}

// A network at one moment: what is wanted, and by which policy.
struct Moment {
  model::Network network;
  std::vector<model::Endpoint> endpoints;
  engine::Verdict verdict;

  Moment(model::Network n, std::vector<model::Endpoint> e)
      : network(std::move(n)), endpoints(std::move(e)), verdict(engine::judge(network, 0, false)) {
    network.blocks = verdict.blocks;
    (void)engine::enforce(verdict, pointers());
  }
  // The same network later, with another policy and other endpoints.
  Moment then(const std::string& policy, std::vector<model::Endpoint> e) const {
    auto next = network;
    next.settings.policy = policy;
    return Moment(std::move(next), std::move(e));
  }
  std::vector<const model::Endpoint*> pointers() const {
    std::vector<const model::Endpoint*> out;
    for (auto& e : endpoints) out.push_back(&e);
    return out;
  }
  kstate::Segment desired() const { return render::segment(network, pointers(), verdict.judgement); }
  // By the statements, not by the facts.
  bool allows(const model::Endpoint& from, const model::Endpoint& to, std::uint8_t protocol, std::uint16_t port) const {
    if (!from.identity || !to.identity || !verdict.judgement.numbering) return false;
    return policy::explain(verdict.policy, from.identity->identity, to.identity->identity, protocol, port).allowed;
  }
};

// The table that enforces it once all is done, in this generation.
inline kstate::Table in_force(const Moment& moment, std::uint16_t generation) {
  const auto last = static_cast<std::uint16_t>(generation - 1);
  return *reconcile::plan(moment.desired(), {}, last).after.table;
}

}  // namespace microseg::test
