// The rules of a network that spans hosts, as far as they differ from a local one's (docs/DESIGN.md: "Between hosts the
// class travels in the packet", and what follows it).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "microseg/render/datapath.h"

namespace microseg::render {

inline constexpr std::uint8_t kSolicitation = 135, kAdvertisement = 136;  // ICMPv6 types (RFC 4861)

// Of the chain `tag`: the class came in the packet. The kernel keeps flags of the VXLAN header in the mark's upper
// half; they are cut off.
kstate::Rule from_other_hosts();
// Of the chain `local`: the answers to the segment's own solicitations, and announcements.
kstate::Rule neighbours_answer();
// Of the chain `forward`, before the rules for local packets.
std::vector<kstate::Rule> ways_to_other_hosts();

// from_segment and remote_errors.
std::map<std::string, kstate::Chain> spanning_chains(const model::Settings& settings);
// inbound, outbound, stamp_remote, stamp_kept.
std::map<std::string, kstate::Chain> spanning_generation_chains(Generation generation);

}  // namespace microseg::render
