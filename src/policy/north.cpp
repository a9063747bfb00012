// Statements with a peer beyond the network -> boxes of remotes, protocols and ports. The addresses of a family are
// walked in order; between two places where some statement's peer begins or ends, all remotes are under the same
// statements, and what those allow is worked out once. What adjacent remotes have in common becomes one box.
#include "microseg/policy/north.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>

#include "ports.h"
#include "sorted.h"
#include "sweep.h"

namespace microseg::policy {
namespace {

using Ids = std::vector<std::uint32_t>;

// As in compile.cpp: work in units of about a nanosecond, counted and not timed, so that all hosts come to one verdict.
constexpr std::size_t kMaxWork = 200'000'000;
constexpr std::size_t kItemWork = 60, kStretchWork = 150;

// What a statement of one of the networks says of the container and `peer`.
struct Said {
  const Peer* peer = nullptr;
  std::size_t network = 0;
  PortRule rule;
};

// `out`: of connections that the container opens; else of those that it is sent.
std::vector<Said> said_of(std::span<const Member> networks, bool out) {
  std::vector<Said> all;
  for (std::size_t n = 0; n < networks.size(); ++n)
    for (auto& statement : networks[n].policy->statements) {
      const auto& inside = out ? statement.from : statement.to;
      const auto& outside = out ? statement.to : statement.from;
      if (outside.is_endpoint() || !matches(inside, *networks[n].identity)) continue;
      all.push_back({&outside, n, {statement.action, &statement.ports}});
    }
  return all;
}

using Bytes16 = std::array<std::uint8_t, 16>;

Ip address(bool v4, const Bytes16& bytes) {
  return v4 ? Ip::v4({bytes[0], bytes[1], bytes[2], bytes[3]}) : Ip::v6(bytes);
}

Ip filled(bool v4, std::uint8_t byte) {
  Bytes16 bytes;
  bytes.fill(byte);
  return address(v4, bytes);
}
Ip lowest(bool v4) { return filled(v4, 0); }
Ip highest(bool v4) { return filled(v4, 0xff); }

// The address `step`, 1 or -1, beside `ip`; absent past the end.
std::optional<Ip> beside(const Ip& ip, int step) {
  Bytes16 bytes{};
  std::ranges::copy(ip.bytes(), bytes.begin());
  for (auto i = ip.bytes().size(); i-- > 0;) {
    bytes[i] = static_cast<std::uint8_t>(bytes[i] + step);
    if (bytes[i] != (step > 0 ? 0 : 0xff)) return address(ip.is_v4(), bytes);
  }
  return std::nullopt;
}

// The addresses of one family that `peer` stands for, in order; ranges that do not touch.
std::vector<AddressRange> ranges_of(const Peer& peer, bool v4) {
  if (peer.kind == Peer::Kind::world) return {{lowest(v4), highest(v4)}};
  if (peer.kind != Peer::Kind::cidr || peer.cidr->ip().is_v4() != v4) return {};
  std::vector<AddressRange> out;
  const auto whole = addresses_of(*peer.cidr);
  std::optional<Ip> next = whole.first;
  for (auto& part : peer.except) {  // by their beginnings, a larger one before those inside it
    const auto gap = addresses_of(part);
    if (!next || gap.last < *next) continue;
    if (*next < gap.first) out.push_back({*next, *beside(gap.first, -1)});
    next = beside(gap.last, 1);
  }
  if (next && *next <= whole.last) out.push_back({*next, whole.last});
  return out;
}

// Addresses of one family by number: 0, 1, 2 ... for the stretches that begin where a range begins or just after it.
class Stretches {
 public:
  explicit Stretches(const std::vector<std::vector<AddressRange>>& all) {
    for (auto& ranges : all)
      for (auto& range : ranges) {
        starts_.push_back(range.first);
        if (auto after = beside(range.last, 1)) starts_.push_back(*after);
      }
    sort_unique(starts_);
  }
  Run run_of(const AddressRange& range) const {
    const auto after = beside(range.last, 1);
    return {number(range.first), (after ? number(*after) : static_cast<std::uint32_t>(starts_.size())) - 1};
  }
  AddressRange range_of(Run run) const {
    const auto& first = starts_[run.first];
    return {first, run.last + 1 < starts_.size() ? *beside(starts_[run.last + 1], -1) : highest(first.is_v4())};
  }

 private:
  std::uint32_t number(const Ip& ip) const {
    return static_cast<std::uint32_t>(std::ranges::lower_bound(starts_, ip) - starts_.begin());
  }
  std::vector<Ip> starts_;
};

class Builder {
 public:
  explicit Builder(std::size_t networks) : networks_(networks) {}

  std::vector<Beyond> beyond(const std::vector<Said>& all) {
    std::vector<Beyond> out;
    for (bool v4 : {true, false}) walk(all, v4, out);
    std::sort(out.begin(), out.end());
    return out;
  }

  std::vector<ToHost> host(const std::vector<Said>& all) {
    std::vector<const Said*> meant;
    for (auto& said : all)
      if (said.peer->kind == Peer::Kind::host) meant.push_back(&said);
    std::vector<ToHost> out;
    for (auto& [protocol, port] : allowed(meant, Icmp::both)) out.push_back({protocol, port});
    boxes_ += out.size();
    return out;
  }

  Status fits() const {
    if (work_ > kMaxWork)
      return Error{Errc::invalid, 0,
                   "policy combines its CIDRs and ports in too many ways: use fewer CIDRs, or fewer exceptions"};
    if (boxes_ > kMaxNorth)
      return Error{Errc::invalid, 0,
                   fmt::format("policy needs more than {} rules in the kernel for what one container may do beyond the "
                               "network: use fewer CIDRs, or fewer ports",
                               kMaxNorth)};
    return {};
  }

 private:
  void walk(const std::vector<Said>& all, bool v4, std::vector<Beyond>& out) {
    std::map<Peer, std::vector<const Said*>> by_peer;
    for (auto& said : all) by_peer[*said.peer].push_back(&said);
    std::vector<std::vector<const Said*>> lists;
    std::vector<std::vector<AddressRange>> ranges;
    for (auto& [peer, list] : by_peer) {
      auto covered = ranges_of(peer, v4);
      if (covered.empty()) continue;
      lists.push_back(std::move(list));
      ranges.push_back(std::move(covered));
    }
    const Stretches stretches(ranges);
    std::vector<std::vector<Run>> tracks(ranges.size());
    for (std::size_t i = 0; i < ranges.size(); ++i)
      for (auto& range : ranges[i]) tracks[i].push_back(stretches.run_of(range));

    std::map<Ids, std::vector<Rectangle>> kept;
    Stays<Rectangle> stays;
    auto emit = [&](Run run, const Rectangle& r) { out.push_back({stretches.range_of(run), r.protocol, r.port}); };
    sweep(tracks, [&](Run run, const Ids& peers) {
      if (boxes_ + stays.begun() > kMaxNorth || work_ > kMaxWork) return;
      auto found = kept.find(peers);
      if (found == kept.end()) {
        std::vector<const Said*> meant;
        for (auto peer : peers) meant.insert(meant.end(), lists[peer].begin(), lists[peer].end());
        found = kept.emplace(peers, allowed(meant, v4 ? Icmp::v4 : Icmp::v6)).first;
      }
      work_ += kStretchWork * (1 + peers.size() / 8) + found->second.size();
      stays.next(run, found->second, emit);
    });
    stays.finish(emit);
    boxes_ += stays.begun();
  }

  std::vector<Rectangle> allowed(const std::vector<const Said*>& meant, Icmp icmp) {
    std::vector<std::vector<PortRule>> lists(networks_);
    for (auto* said : meant) {
      lists[said->network].push_back(said->rule);
      work_ += kItemWork * (1 + said->rule.items->size());
    }
    return allowed_by_any(lists, icmp);
  }

  std::size_t networks_;
  std::size_t work_ = 0, boxes_ = 0;
};

const Peer kWorld{Peer::Kind::world, {}, {}, {}};
const std::vector<PortItem> kDnsTcp{{kTcp, 53, 53}}, kDnsUdp{{kUdp, 53, 53}}, kDns{{kTcp, 53, 53}, {kUdp, 53, 53}};

// What of a rule is about DNS; null if nothing is.
const std::vector<PortItem>* dns_in(const PortRule& rule) {
  auto names = [&](std::uint8_t protocol) {
    return rule.items->empty() || std::ranges::any_of(*rule.items, [&](auto& item) {
             return item.protocol == protocol && item.first <= 53 && 53 <= item.last;
           });
  };
  const bool tcp = names(kTcp), udp = names(kUdp);
  return tcp && udp ? &kDns : tcp ? &kDnsTcp : udp ? &kDnsUdp : nullptr;
}

// As if every network that lets the container out said "allow CONTAINER -> world : 53, 53/udp".
std::vector<Said> said_of_resolvers(const std::vector<Said>& out, std::size_t networks) {
  std::vector<Said> all;
  for (std::size_t n = 0; n < networks; ++n)
    if (std::ranges::any_of(out, [&](auto& said) {
          return said.network == n && said.rule.action == Statement::Action::allow && said.peer->kind != Peer::Kind::host;
        }))
      all.push_back({&kWorld, n, {Statement::Action::allow, &kDns}});
  for (auto& said : out)
    if (said.rule.action == Statement::Action::deny)
      if (auto* items = dns_in(said.rule)) all.push_back({said.peer, said.network, {said.rule.action, items}});
  return all;
}

}  // namespace

AddressRange addresses_of(const Prefix& prefix) {
  Bytes16 bytes{};
  const auto network = prefix.network().ip();
  std::ranges::copy(network.bytes(), bytes.begin());
  for (auto bit = prefix.length(); bit < network.bits(); ++bit)
    bytes[bit / 8] = static_cast<std::uint8_t>(bytes[bit / 8] | (0x80U >> (bit % 8)));
  return {network, address(network.is_v4(), bytes)};
}

Result<North> north(std::span<const Member> networks) {
  const auto out = said_of(networks, true), in = said_of(networks, false);
  Builder builder(networks.size());
  North result;
  result.out = builder.beyond(out);
  result.in = builder.beyond(in);
  result.to_host = builder.host(out);
  result.from_host = builder.host(in);
  if (result.goes_beyond()) result.resolve = builder.beyond(said_of_resolvers(out, networks.size()));
  MS_CHECK(builder.fits());
  return result;
}

}  // namespace microseg::policy
