// What every VXLAN device of ours is made with, for making one and for knowing one again.
#pragma once

#include <cstdint>

namespace microseg::kernel {

// Of the outer packets: they may be routed. The kernel's own default is 1 for multicast, else the route's.
inline constexpr std::uint8_t kVxlanTtl = 64;

}  // namespace microseg::kernel
