#include "microseg/reconcile/ports.h"

#include <map>
#include <utility>

#include "microseg/reconcile/host.h"
#include "microseg/render/ports_table.h"

namespace microseg::reconcile {
namespace {

using namespace kstate;

bool is_bound(const BridgePort& port, const Mac& mac) {
  return port.isolated && !port.learning && port.kept == std::set<Mac>{mac};
}

// As we left it, or with its MAC moved on to the port of whoever has been given that since.
bool is_as_left(const BridgePort& port, const Mac& mac) {
  return port.isolated && !port.learning && (port.kept.empty() || port.kept == std::set<Mac>{mac});
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

// Ports that a table of ours says we had bound, and that are to be let go of; by their MACs alone, since their addresses
// may be others' by now.
std::map<PortIndex, PortBinding> released(const std::optional<GatewayPorts>& wanted, const Segment& observed) {
  std::map<PortIndex, PortBinding> out;
  if (!observed.table) return out;
  for (auto& [index, binding] : render::bindings_of(*observed.table)) {
    auto port = observed.ports.find(index);
    const bool stays = wanted && wanted->bound.contains(index);
    if (!stays && port != observed.ports.end() && is_as_left(port->second, binding.mac)) out.emplace(index, PortBinding{binding.mac, {}});
  }
  return out;
}

std::optional<Table> table_of(const std::optional<GatewayPorts>& wanted, const Segment& observed) {
  if (!wanted) return std::nullopt;
  std::set<PortIndex> elsewhere;
  for (auto& [index, port] : observed.ports)
    if (port.bridge != wanted->bridge) elsewhere.insert(index);
  return render::ports_table(*wanted, elsewhere);
}

void append(Plan& out, Plan more) {
  for (auto& op : more) out.push_back(std::move(op));
}

}  // namespace

Plan plan_ports(const std::optional<GatewayPorts>& desired, const Segment& observed) {
  Plan out;
  std::optional<GatewayPorts> wanted;
  if (desired) wanted = placed(*desired, observed);
  const auto going = released(wanted, observed);

  // The table first: it says who may send what by which port, and a container that starts may speak from then on. Changing
  // ports has to wait for whoever else changes links. A port is let go of before the table forgets that it was ours.
  auto table = observed.table;
  if (wanted) {
    auto both = *wanted;
    both.bound.insert(going.begin(), going.end());
    auto next = table_of(both, observed);
    append(out, plan_host(next, table));
    table = std::move(next);
    for (auto& [index, binding] : wanted->bound)
      if (!is_bound(observed.ports.at(index), binding.mac)) out.push_back(BindPort{index, binding.mac});
  }
  for (auto& [index, binding] : going) out.push_back(BindPort{index, std::nullopt});
  if (!wanted || !going.empty()) append(out, plan_host(table_of(wanted, observed), table));
  return out;
}

}  // namespace microseg::reconcile
