// Frames that say where an address is: "this address is at this MAC", to everybody on a link. Pure.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "microseg/addr/addr.h"

namespace microseg::kernel {

using Frame = std::vector<std::uint8_t>;
using MacBytes = std::array<std::uint8_t, 6>;

// RFC 5227, section 3: either operation serves; a request would have the host of a stale proxy answer.
Frame gratuitous_arp(const MacBytes& mac, const Ip& ip);
// RFC 4861, section 7.2.6, with the override flag; sent from the address `from`.
Frame unsolicited_advertisement(const MacBytes& mac, const Ip& from, const Ip& ip);

}  // namespace microseg::kernel
