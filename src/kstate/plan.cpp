#include "microseg/kstate/plan.h"

#include "microseg/base/overload.h"

namespace microseg::kstate {
namespace {

std::string elements_text(const SetType& type, const std::vector<Element>& elements) {
  std::string out;
  for (auto& element : elements) out += (out.empty() ? "" : ", ") + to_text(type, element);
  return "{ " + out + " }";
}

std::string link_text(const Link& link) {
  std::string out = " mtu " + std::to_string(link.mtu);
  for (auto& a : link.addresses) out += " address " + a.str();
  for (auto& r : link.routes) out += " route " + r.str();
  for (auto& [ip, mac] : link.neighbours) out += " neigh " + ip.str() + " " + mac.str();
  return out;
}

std::string vxlan_text(const Vxlan& vxlan) {
  std::string out = " id " + std::to_string(vxlan.vni) + " dstport " + std::to_string(vxlan.port) + " local " +
                    vxlan.local.str() + " gbp address " + vxlan.mac.str() + " mtu " + std::to_string(vxlan.mtu);
  for (auto& a : vxlan.addresses) out += " address " + a.str();
  for (auto& r : vxlan.routes) out += " route " + r.str();
  for (auto& p : vxlan.peers) out += " peer " + p.str();
  for (auto& p : vxlan.proxies) out += " proxy " + p.str();
  return out;
}

std::string line(const NftOp& op) {
  return std::visit(
      Overload{
          [](const AddTable& o) -> std::string { return o.owned ? "nft add table flags owner,persist" : "nft add table"; },
          [](const DelTable&) -> std::string { return "nft delete table"; },
          [](const AddCounter& o) { return "nft add counter " + o.name; },
          [](const AddSet& o) { return std::string("nft add ") + (o.type.data ? "map " : "set ") + o.name; },
          [](const AddElements& o) { return "nft add element " + o.set + " " + elements_text(o.type, o.elements); },
          [](const DelElements& o) { return "nft delete element " + o.set + " " + elements_text(o.type, o.elements); },
          [](const FlushSet& o) { return "nft flush set " + o.name; },
          [](const AddChain& o) { return "nft add chain " + o.name; },
          [](const FlushChain& o) { return "nft flush chain " + o.name; },
          [](const DelChain& o) { return "nft delete chain " + o.name; },
          [](const AddRule& o) { return "nft add rule " + o.chain + " " + to_text(o.rule); },
      },
      op);
}

std::string lines(const Op& op) {
  return std::visit(
      Overload{
          [](const SetSysctl& o) { return "sysctl " + o.path + "=" + o.value + "\n"; },
          [](const AddLink& o) {
            return "link add " + o.name.str() + link_text(o.link) + " peer " + o.link.peer.mac.str() +
                   (o.link.peer.sandbox.empty() ? "" : " in " + o.link.peer.sandbox) + "\n";
          },
          [](const DelLink& o) { return "link del " + o.name.str() + "\n"; },
          [](const MendLink& o) { return "link mend " + o.name.str() + link_text(o.link) + "\n"; },
          [](const AddVxlan& o) { return "vxlan add" + vxlan_text(o.vxlan) + "\n"; },
          [](const DelVxlan&) -> std::string { return "vxlan del\n"; },
          [](const MendVxlan& o) { return "vxlan mend" + vxlan_text(o.vxlan) + "\n"; },
          [](const Announce& o) {
            std::string out = "announce";
            for (auto& ip : o.addresses) out += " " + ip.str();
            return out + "\n";
          },
          [](const Nft& o) {
            std::string out;
            for (auto& part : o.ops) out += line(part) + "\n";
            return out + "nft commit\n";
          },
          [](const BindPort& o) {
            return "bridge port " + std::to_string(o.port) +
                   (o.mac ? " isolated on learning off keep " + o.mac->str() : " isolated off learning on") + "\n";
          },
          [](const Quiesce&) -> std::string { return "wait for packets under way\n"; },
          [](const PurgeConnections& o) {
            return "conntrack -D -m " + std::to_string(o.value) + "/" + std::to_string(o.mask) + "\n";
          },
      },
      op);
}

}  // namespace

bool Link::same_as(const Link& other) const {
  return alias == other.alias && mac == other.mac && mtu == other.mtu && addresses == other.addresses &&
         routes == other.routes && neighbours == other.neighbours;
}

bool Vxlan::same_tunnel(const Vxlan& other) const {
  return vni == other.vni && port == other.port && local == other.local && mac == other.mac;
}

std::string to_text(const Plan& plan) {
  std::string out;
  for (auto& op : plan) out += lines(op);
  return out;
}

}  // namespace microseg::kstate
