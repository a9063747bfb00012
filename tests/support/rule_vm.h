// The rules' virtual machine, as far as ours use it: what a table does to one packet. With it the datapath is tested
// as logic, without a kernel. (The real one: net/netfilter/nf_tables_core.c, nft_do_chain.)
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "microseg/kstate/nft.h"
#include "microseg/addr/addr.h"

namespace microseg::test {

// `ct state`, as bits.
inline constexpr std::uint32_t kInvalid = 1, kEstablished = 2, kRelated = 4, kNew = 8;

// The connection that a packet belongs to, seen from this packet.
struct Track {
  std::uint32_t state = kNew;
  bool reply = false;
  std::uint32_t* mark = nullptr;  // null: the packet belongs to no connection (state is invalid then)
  std::optional<Ip> source, target;  // the original direction's
  std::uint32_t status = 0;          // IPS_* bits
  std::optional<Ip> reply_source{};  // whom answers come from
  std::uint8_t protocol = 6;         // the connection's, also where the packet is an error about it
  std::uint16_t target_port = 0;
};

struct Packet {
  std::string link;  // it came in by
  Ip source, target;
  std::uint8_t protocol = 6;
  std::uint16_t source_port = 40000, target_port = 0;  // type and code, in `source_port`, where it is ICMP
  Track track;
  std::uint32_t mark = 0, priority = 0;  // set by rules
  std::string out = {};                  // the link it will leave by
  std::uint8_t tcp_flags = 0;
  bool returns = true;                   // the route to its source leaves by `link`
  kstate::Bytes payload = {};            // after the UDP header
};

struct Verdict {
  enum class Kind { pass, drop, reset, prohibited } kind = Kind::pass;
  std::vector<std::string> counted;
};

// Runs all base chains of a hook, by priority. Marks, priority and the connection's mark are changed in place.
Verdict run(const kstate::Table& table, kstate::Hook::Place place, Packet& packet);

// prerouting and forward: "pass", "drop", "reset" or "prohibited", then the counters that were hit: "drop spoofed".
std::string forward(const kstate::Table& table, Packet packet);

std::string to_text(const Verdict& verdict);

}  // namespace microseg::test
