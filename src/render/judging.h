// How a segment's rules judge a packet: by the classes of its two sides.
#pragma once

#include "fragments.h"
#include "microseg/render/datapath.h"

namespace microseg::render {

Fragment mark_is(std::uint32_t mark);  // the packet's
// (the connection's mark & mask) == value
Fragment connection_is(std::uint32_t value, std::uint32_t mask);

// A class on its way into a look-up key goes through the packet's priority, which nobody downstream of a veth sees:
// nft(8) cannot print a look-up's result inside a concatenation, and aborts on a table that has one.
Fragment priority_from_scratch();
Fragment load_priority(unsigned to);  // as allow sets have classes, in network order
Fragment load_mark(unsigned to);

// The class of the packet's destination, into the scratch register; a miss ends the rule.
Fragment class_of_target(const Family& f);

// Judges a packet by its connection's first direction: the opener's class, the opened one's class, protocol and port.
// The sender's class is the packet's mark, the receiver's that of its address. `stamp`: where it goes when allowed.
kstate::Rule judge(const Family& f, char direction, const char* allow, const char* stamp);
kstate::Rule to_quarantined(const Family& f);

}  // namespace microseg::render
