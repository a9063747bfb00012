// Model + compiled policy -> what a segment should hold. Pure. Names, addresses and MTUs are decided here.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "microseg/kstate/segment.h"
#include "microseg/model/network.h"
#include "microseg/policy/compile.h"
#include "microseg/render/datapath.h"

namespace microseg::render {

// What is enforced on a network. Without a numbering (policy unknown or in error) everybody is quarantined.
struct Judgement {
  std::optional<policy::Numbering> numbering;
  // The policy asks for labels, so an endpoint whose container is not known (and with it the labels) is quarantined:
  // an unknown label must not pass for an absent one.
  bool needs_labels = false;
  kstate::Elements allow = kstate::make_elements({});
};

// The elements of the allow set for compiled facts.
kstate::Elements allow_elements(const std::vector<policy::Fact>& facts);

// The class of an endpoint; 0, quarantine, without an identity, the labels that are asked for, or a numbering.
std::uint16_t class_of(const model::Endpoint& endpoint, const Judgement& judgement);

// "ms" + the first 12 characters of the endpoint's id; both ends of the veth bear it, in their namespaces.
IfName link_name(const EndpointId& id);

// What Docker is told to route in the container, and what a lost link is restored with: per family the gateway as
// connected and the two halves of every pool via it, more specific than the subnet route that Docker adds.
std::vector<kstate::PeerEnd::Route> container_routes(const model::Network& network, const model::Endpoint& endpoint);

// The MAC of an endpoint that brings none: from its IPv4 address, so that an address keeps its MAC.
Mac default_mac(const EndpointId& id, const std::optional<Prefix>& v4);

// The UDP port of VXLAN where nobody says another. Not 4789: a device with the group policy extension cannot come up
// beside one without it on the same port, and Docker's own overlay networks have theirs there on every Swarm node.
inline constexpr std::uint16_t kVxlanPort = 4799;

// The desired segment, without the generation's chains, and with one allow set for the two. `endpoints` are the
// network's; only joined ones show. There is a VXLAN device where the network spans hosts and it is known with which
// number and from which address; `vxlan_port` is the same on all hosts.
kstate::Segment segment(const model::Network& network, std::span<const model::Endpoint* const> endpoints,
                        const Judgement& judgement, std::uint16_t vxlan_port = kVxlanPort);

}  // namespace microseg::render
