#include "support/fake_kernel.h"
#include "microseg/base/overload.h"

#include <algorithm>
#include <cerrno>

namespace microseg::test {
namespace {

using namespace kstate;

bool is_host(const std::string& name) { return name == kernel::kHost || name == kernel::kHostPorts; }

unsigned padded(Field field) { return (length_of(field) + 3) / 4 * 4; }

// Whether a key is within an element's ranges, in every field.
bool covers(const SetType& type, const Element& element, const Bytes& key) {
  std::size_t at = 0;
  for (auto field : type.key) {
    const auto part = key.substr(at, padded(field));
    const auto& last = element.key_end.empty() ? element.key : element.key_end;
    if (part < element.key.substr(at, padded(field)) || last.substr(at, padded(field)) < part) return false;
    at += padded(field);
  }
  return true;
}

// The kernel looks up a new range's two ends: one around all of a present range is not noticed.
bool clashes(const SetType& type, const Element& present, const Element& fresh) {
  if (!type.interval) return present.key == fresh.key;
  return covers(type, present, fresh.key) || covers(type, present, fresh.key_end.empty() ? fresh.key : fresh.key_end);
}

int add_elements(Set& set, const std::vector<Element>& elements) {
  std::set<Element> out = *set.elements;
  for (auto& element : elements) {
    if (out.contains(element)) continue;  // the same again is fine, as without NLM_F_EXCL
    for (auto& present : out)
      if (clashes(set.type, present, element)) return EEXIST;
    out.insert(element);
  }
  set.elements = make_elements(std::move(out));
  return 0;
}

int del_elements(Set& set, const std::vector<Element>& elements) {
  std::set<Element> out = *set.elements;
  for (auto& element : elements) {
    // The kernel does not look at a map's value, nor at a range's end: what its beginning lies in is taken.
    auto it = std::find_if(out.begin(), out.end(), [&](const Element& e) {
      return set.type.interval ? covers(set.type, e, element.key) : e.key == element.key;
    });
    if (it == out.end()) return ENOENT;
    out.erase(it);
  }
  set.elements = make_elements(std::move(out));
  return 0;
}

// Whether what a rule names is there, and is what the rule takes it for.
int check_rule(const Table& table, const Rule& rule) {
  for (auto& expr : rule) {
    if (auto* e = std::get_if<Lookup>(&expr)) {
      auto set = table.sets.find(e->set);
      if (set == table.sets.end()) return ENOENT;
      if (e->to && !set->second.type.data) return EINVAL;
    } else if (auto* c = std::get_if<Count>(&expr)) {
      if (!table.counters.contains(c->counter)) return ENOENT;
    } else if (auto* v = std::get_if<Verdict>(&expr); v && !v->chain.empty()) {
      auto chain = table.chains.find(v->chain);
      if (chain == table.chains.end()) return ENOENT;
      if (chain->second.hook) return EOPNOTSUPP;
    }
  }
  return 0;
}

bool in_use(const Table& table, const std::string& chain) {
  for (auto& [name, other] : table.chains)
    for (auto& rule : other.rules)
      for (auto& expr : rule)
        if (auto* v = std::get_if<Verdict>(&expr); v && v->chain == chain) return true;
  return false;
}

int add_chain(Table& table, const AddChain& op) {
  auto [it, fresh] = table.chains.emplace(op.name, Chain{op.hook, {}});
  return fresh || it->second.hook == op.hook ? 0 : EOPNOTSUPP;  // EEXIST, on some kernels
}

int del_chain(Table& table, const std::string& name) {
  auto it = table.chains.find(name);
  if (it == table.chains.end()) return ENOENT;
  it->second.rules.clear();  // its own rules go with it
  if (in_use(table, name)) return EBUSY;
  table.chains.erase(it);
  return 0;
}

int in_table(std::optional<Table>& table, const NftOp& op) {
  if (table && table->owner == Owner::other) return EPERM;
  if (auto* add = std::get_if<AddTable>(&op)) {
    if (table && add->owned && table->owner == Owner::none) return EOPNOTSUPP;
    if (!table) table.emplace();
    if (add->owned) table->owner = Owner::us;
    return 0;
  }
  if (!table) return ENOENT;
  auto with_set = [&](const std::string& name, auto&& f) {
    auto it = table->sets.find(name);
    return it == table->sets.end() ? ENOENT : f(it->second);
  };
  return std::visit(
      Overload{
          [](const AddTable&) { return 0; },
          [&](const DelTable&) { table.reset(); return 0; },
          [&](const AddCounter& o) { table->counters.insert(o.name); return 0; },
          [&](const AddSet& o) {
            auto [it, fresh] = table->sets.emplace(o.name, Set{o.type, make_elements({})});
            return fresh || it->second.type == o.type ? 0 : EEXIST;
          },
          [&](const AddElements& o) { return with_set(o.set, [&](Set& s) { return add_elements(s, o.elements); }); },
          [&](const DelElements& o) { return with_set(o.set, [&](Set& s) { return del_elements(s, o.elements); }); },
          [&](const FlushSet& o) {
            return with_set(o.name, [](Set& s) { s.elements = make_elements({}); return 0; });
          },
          [&](const AddChain& o) { return add_chain(*table, o); },
          [&](const FlushChain& o) {
            auto it = table->chains.find(o.name);
            if (it == table->chains.end()) return ENOENT;
            it->second.rules.clear();
            return 0;
          },
          [&](const DelChain& o) { return del_chain(*table, o.name); },
          [&](const AddRule& o) {
            auto it = table->chains.find(o.chain);
            if (it == table->chains.end()) return ENOENT;
            if (int err = check_rule(*table, o.rule)) return err;
            it->second.rules.push_back(o.rule);
            return 0;
          },
      },
      op);
}

}  // namespace

int apply_nft(std::optional<Table>& table, const std::vector<NftOp>& ops) {
  auto copy = table;
  for (auto& op : ops)
    if (int err = in_table(copy, op)) return err;
  table = std::move(copy);
  return 0;
}

FakeKernel::FakeKernel()
    : sysctls{{"net/ipv4/ip_forward", "0"},
              {"net/ipv4/conf/all/rp_filter", "2"},
              {"net/ipv4/conf/default/rp_filter", "2"},
              {"net/ipv4/conf/all/send_redirects", "1"},
              {"net/ipv4/conf/default/send_redirects", "1"},
              {"net/ipv4/conf/all/accept_redirects", "1"},
              {"net/ipv4/conf/default/accept_redirects", "1"},
              {"net/ipv4/icmp_ratelimit", "1000"},
              {"net/ipv6/conf/all/forwarding", "0"},
              {"net/ipv6/conf/default/forwarding", "0"}} {}

Result<std::vector<std::string>> FakeKernel::segments() {
  std::vector<std::string> out;
  for (auto& [name, segment] : state)
    if (!is_host(name) && !unmounted.contains(name)) out.push_back(name);
  return out;
}

Segment* FakeKernel::find(const std::string& name) {
  if (is_host(name)) return &state[name];
  auto it = state.find(name);
  return it == state.end() ? nullptr : &it->second;
}

void FakeKernel::lose_owner() {
  for (auto* name : {kernel::kHost, kernel::kHostPorts}) {
    auto& table = state[name].table;
    if (knows_owners && table && table->owner == Owner::us) table->owner = Owner::gone;
  }
}

Status FakeKernel::create_segment(const std::string& name) {
  if (is_host(name)) return error_from_errno(EINVAL, "create network namespace");
  if (refuse_segments) return error_from_errno(refuse_segments, "create network namespace");
  unmounted.erase(name);
  if (auto [it, fresh] = state.try_emplace(name); fresh) it->second.sysctls = sysctls;
  return {};
}

Status FakeKernel::delete_segment(const std::string& name) {
  if (is_host(name)) return error_from_errno(EINVAL, "delete network namespace");
  state.erase(name);
  peers.erase(name);
  marks.erase(name);
  unmounted.erase(name);
  return {};
}

Result<Segment> FakeKernel::observe(const std::string& name, const std::vector<std::string>& paths) {
  ++observed;
  auto* found = find(name);
  if (!found || unmounted.contains(name)) return error_from_errno(ENOENT, "open network namespace " + name);
  Segment out = *found;
  std::erase_if(out.sysctls, [&](auto& entry) { return std::find(paths.begin(), paths.end(), entry.first) == paths.end(); });
  return out;
}

Result<PortIndex> FakeKernel::port_of(const std::string& sandbox, const IfName& bridge,
                                   const std::optional<Mac>&) {
  auto end = ends.find(sandbox);
  auto& ports = state[kernel::kHostPorts].ports;
  if (end == ends.end() || !ports.contains(end->second) || ports.at(end->second).bridge != bridge)
    return error_from_errno(ENOENT, "find port of " + sandbox);
  return end->second;
}

Status FakeKernel::apply(const std::string& name, const Op& op) {
  const std::size_t number = applies++;
  auto* found = find(name);
  if (!found) return error_from_errno(ENOENT, "open network namespace " + name);
  auto& segment = *found;
  int err = refuse_all;
  const bool binds = std::holds_alternative<BindPort>(op);
  if (is_host(name) && !binds && !std::holds_alternative<Nft>(op) && !std::holds_alternative<Quiesce>(op)) err = EOPNOTSUPP;
  if (binds && name != kernel::kHostPorts) err = EOPNOTSUPP;
  if (auto told = fail.find(number); told != fail.end()) {
    err = told->second;
    fail.erase(told);
  }
  if (!err)
    err = std::visit(
        Overload{
            [&](const SetSysctl& o) {
              auto have = segment.sysctls.find(o.path);
              if (have == segment.sysctls.end()) return ENOENT;
              have->second = o.value;
              return 0;
            },
            [&](const AddLink& o) {
              if (!o.link.peer.sandbox.empty() && !sandboxes.contains(o.link.peer.sandbox)) return ENOENT;
              if (!segment.links.try_emplace(o.name, o.link).second) return EEXIST;
              segment.links.at(o.name).peer = {};
              peers[name].insert_or_assign(o.name, o.link.peer);
              return 0;
            },
            [&](const DelLink& o) {
              peers[name].erase(o.name);
              return segment.links.erase(o.name) ? 0 : ENODEV;
            },
            [&](const MendLink& o) {
              auto link = segment.links.find(o.name);
              if (link == segment.links.end()) return ENODEV;
              link->second = o.link;
              link->second.peer = {};
              return 0;
            },
            [&](const AddVxlan& o) {
              if (segment.vxlan) return EEXIST;
              for (auto& [other, holds] : state)
                if (holds.vxlan && holds.vxlan->vni == o.vxlan.vni && holds.vxlan->port == o.vxlan.port) return EEXIST;
              segment.vxlan = o.vxlan;
              return 0;
            },
            [&](const DelVxlan&) {
              if (!segment.vxlan) return ENODEV;
              segment.vxlan.reset();
              return 0;
            },
            [&](const MendVxlan& o) {
              if (!segment.vxlan) return ENODEV;
              segment.vxlan = o.vxlan;
              return 0;
            },
            [&](const Announce&) { return segment.vxlan ? 0 : ENODEV; },
            [&](const Nft& o) { return apply_nft(segment.table, o.ops); },
            [&](const BindPort& o) {
              auto port = segment.ports.find(o.port);
              if (port == segment.ports.end()) return ENOENT;
              for (auto& [index, other] : segment.ports)  // a bridge knows a MAC at one port
                if (o.mac && other.bridge == port->second.bridge) other.kept.erase(*o.mac);
              port->second.isolated = o.mac.has_value();
              port->second.learning = !o.mac;
              port->second.kept = o.mac ? std::set<Mac>{*o.mac} : std::set<Mac>{};
              return 0;
            },
            [](const Quiesce&) { return 0; },
            [&](const PurgeConnections& o) {
              std::erase_if(marks[name], [&](std::uint32_t mark) { return (mark & o.mask) == o.value; });
              return 0;
            },
        },
        op);
  if (err) return error_from_errno(err, "fake kernel: " + to_text(Plan{op}));
  log.push_back(to_text(Plan{op}));
  return {};
}

Result<std::map<std::string, std::uint64_t>> FakeKernel::counters(const std::string& name) {
  std::map<std::string, std::uint64_t> out;
  auto* found = find(name);
  if (!found) return error_from_errno(ENOENT, "open network namespace " + name);
  if (found->table)
    for (auto& counter : found->table->counters) out[counter] = 0;
  return out;
}

}  // namespace microseg::test
