#include "microseg/reconcile/ports.h"

#include "microseg/reconcile/host.h"
#include "microseg/render/ports_table.h"

namespace microseg::reconcile {
namespace {

using namespace kstate;

bool is_bound(const BridgePort& port, const Mac& mac) {
  return port.isolated && !port.learning && port.kept == std::set<Mac>{mac};
}

// What can be had now: ports that are there, on that bridge.
GatewayPorts placed(GatewayPorts wanted, const Segment& observed) {
  std::erase_if(wanted.bound, [&](auto& entry) {
    auto port = observed.ports.find(entry.first);
    if (port != observed.ports.end() && port->second.bridge == wanted.bridge) return false;
    wanted.unplaced.insert(entry.second.addresses.begin(), entry.second.addresses.end());
    return true;
  });
  return wanted;
}

}  // namespace

Plan plan_ports(const std::optional<GatewayPorts>& desired, const Segment& observed) {
  Plan out;
  std::optional<GatewayPorts> wanted;
  if (desired) wanted = placed(*desired, observed);
  // Before the table forgets that they were ours.
  if (observed.table)
    for (auto& [index, binding] : render::bindings_of(*observed.table)) {
      auto port = observed.ports.find(index);
      const bool stays = wanted && wanted->bound.contains(index);
      if (!stays && port != observed.ports.end() && is_bound(port->second, binding.mac))
        out.push_back(BindPort{index, std::nullopt});
    }
  std::optional<Table> table;
  if (wanted) {
    std::set<PortIndex> elsewhere;
    for (auto& [index, port] : observed.ports)
      if (port.bridge != wanted->bridge) elsewhere.insert(index);
    table = render::ports_table(*wanted, elsewhere);
  }
  for (auto& op : plan_host(table, observed.table)) out.push_back(std::move(op));
  // The table says already who may send what by them, and from then on the container may speak; these may have to wait for
  // whoever else changes links.
  if (wanted)
    for (auto& [index, binding] : wanted->bound)
      if (!is_bound(observed.ports.at(index), binding.mac)) out.push_back(BindPort{index, binding.mac});
  return out;
}

}  // namespace microseg::reconcile
