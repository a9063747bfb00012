#include <cstdio>

#include <netinet/in.h>
// libc's header goes before the kernel's.
#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/object.h>
#include <libnftnl/rule.h>
#include <libnftnl/set.h>
#include <libnftnl/table.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>

#include <arpa/inet.h>

#include <algorithm>
#include <memory>

#include "nft.h"
#include "nft_expr.h"
#include "nft_objects.h"
#include "nft_types.h"
#include "observers.h"

namespace microseg::kernel {
namespace {

using namespace kstate;

struct Request {
  alignas(nlmsghdr) char buffer[1024];
  nlmsghdr* nlh;
  Request(Family family, std::uint16_t type, bool in_table = true)
      : nlh(nftnl_nlmsg_build_hdr(buffer, type, static_cast<std::uint16_t>(family), 0, 0)) {
    // The table's name is attribute 1 of every kind of dump request but NFT_MSG_GETTABLE's.
    if (in_table) mnl_attr_put_strz(nlh, NFTA_CHAIN_TABLE, kTable);
  }
};

std::string text(const char* s) { return s ? s : ""; }

bool ours(const char* table) { return table && std::string_view(table) == kTable; }

// Dumps `type`, giving each message to `take` after `restart` at every beginning.
Status dump(NetlinkSocket& socket, Request& request, const std::function<void()>& restart,
            const std::function<void(const nlmsghdr*)>& take, std::string_view what) {
  return socket.dump(request.nlh, restart, take, what);
}

Rule rule_of(const nftnl_rule* rule) {
  Rule out;
  auto* iter = nftnl_expr_iter_create(rule);
  while (auto* expr = nftnl_expr_iter_next(iter)) out.push_back(decode(expr));
  nftnl_expr_iter_destroy(iter);
  return out;
}

}  // namespace

bool take_table(Table& out, const nlmsghdr* nlh, std::uint32_t port, Family family) {
  TablePtr table(nftnl_table_alloc());
  auto* t = table.get();
  if (nftnl_table_nlmsg_parse(nlh, t) < 0 || !ours(nftnl_table_get_str(t, NFTNL_TABLE_NAME)) ||
      nftnl_table_get_u32(t, NFTNL_TABLE_FAMILY) != static_cast<std::uint32_t>(family))
    return false;
  const auto flags = nftnl_table_get_u32(t, NFTNL_TABLE_FLAGS);
  out.dormant = flags & NFT_TABLE_F_DORMANT;
  const bool owned = flags & NFT_TABLE_F_OWNER, persists = flags & kPersist;
  if (owned && nftnl_table_get_u32(t, NFTNL_TABLE_OWNER) != port) out.owner = Owner::other;
  else if (owned && persists) out.owner = Owner::us;
  else if (persists) out.owner = Owner::gone;
  else out.owner = Owner::none;
  return true;
}

void take_chain(Table& out, const nlmsghdr* nlh) {
  ChainPtr chain(nftnl_chain_alloc());
  auto* c = chain.get();
  if (nftnl_chain_nlmsg_parse(nlh, c) < 0 || !ours(nftnl_chain_get_str(c, NFTNL_CHAIN_TABLE))) return;
  Chain value;
  if (nftnl_chain_is_set(c, NFTNL_CHAIN_HOOKNUM)) {
    // A hook that we never use shows as a priority that we never use: it differs from all that is wanted.
    auto place = hook_place(nftnl_chain_get_u32(c, NFTNL_CHAIN_HOOKNUM));
    value.hook = Hook{place.value_or(Hook::Place::prerouting),
                      place ? nftnl_chain_get_s32(c, NFTNL_CHAIN_PRIO) : INT32_MIN,
                      nftnl_chain_get_u32(c, NFTNL_CHAIN_POLICY) == NF_DROP};
  }
  out.chains.emplace(text(nftnl_chain_get_str(c, NFTNL_CHAIN_NAME)), std::move(value));
}

void take_rule(Table& out, const nlmsghdr* nlh) {
  RulePtr rule(nftnl_rule_alloc());
  if (nftnl_rule_nlmsg_parse(nlh, rule.get()) < 0 || !ours(nftnl_rule_get_str(rule.get(), NFTNL_RULE_TABLE))) return;
  auto chain = out.chains.find(text(nftnl_rule_get_str(rule.get(), NFTNL_RULE_CHAIN)));
  if (chain != out.chains.end()) chain->second.rules.push_back(rule_of(rule.get()));
}

void take_set(Table& out, const nlmsghdr* nlh) {
  SetPtr set(nftnl_set_alloc());
  auto* s = set.get();
  if (nftnl_set_nlmsg_parse(nlh, s) < 0 || !ours(nftnl_set_get_str(s, NFTNL_SET_TABLE))) return;
  const auto flags = nftnl_set_get_u32(s, NFTNL_SET_FLAGS);
  const bool interval = flags & NFT_SET_INTERVAL;
  SetType type;
  type.interval = interval;
  // A type that is not ours becomes an empty key: it differs from all that is wanted.
  if (auto key = fields_of(nftnl_set_get_u32(s, NFTNL_SET_KEY_TYPE), interval)) type.key = *key;
  if (flags & NFT_SET_MAP) {
    auto data = fields_of(nftnl_set_get_u32(s, NFTNL_SET_DATA_TYPE), false);
    if (data && data->size() == 1) type.data = data->front();
  }
  if ((flags & ~std::uint32_t{NFT_SET_CONCAT}) != (flags_of(type) & ~std::uint32_t{NFT_SET_CONCAT})) type.key = {};
  out.sets.emplace(text(nftnl_set_get_str(s, NFTNL_SET_NAME)), Set{type, make_elements({})});
}

void take_elements(const SetType& type, std::set<Element>& out, const nlmsghdr* nlh) {
  SetPtr part(nftnl_set_alloc());
  if (nftnl_set_elems_nlmsg_parse(nlh, part.get()) < 0) return;
  auto* iter = nftnl_set_elems_iter_create(part.get());
  while (auto* e = nftnl_set_elems_iter_next(iter)) {
    auto get = [&](std::uint16_t attr) {
      std::uint32_t length = 0;
      if (!nftnl_set_elem_is_set(e, attr)) return Bytes();
      auto* p = static_cast<const char*>(nftnl_set_elem_get(e, attr, &length));
      return p ? Bytes(p, length) : Bytes();
    };
    out.insert({get(NFTNL_SET_ELEM_KEY), get(NFTNL_SET_ELEM_KEY_END), type.data ? get(NFTNL_SET_ELEM_DATA) : Bytes()});
  }
  nftnl_set_elems_iter_destroy(iter);
}

void take_counter(const std::function<void(const std::string&, std::uint64_t)>& take, const nlmsghdr* nlh) {
  ObjPtr obj(nftnl_obj_alloc());
  auto* o = obj.get();
  if (nftnl_obj_nlmsg_parse(nlh, o) < 0 || !ours(nftnl_obj_get_str(o, NFTNL_OBJ_TABLE))) return;
  if (nftnl_obj_get_u32(o, NFTNL_OBJ_TYPE) != NFT_OBJECT_COUNTER) return;
  take(text(nftnl_obj_get_str(o, NFTNL_OBJ_NAME)), nftnl_obj_get_u64(o, NFTNL_OBJ_CTR_PKTS));
}

namespace {

Result<std::optional<Table>> find_table(NetlinkSocket& socket, Family family) {
  Request request(family, NFT_MSG_GETTABLE, false);
  std::optional<Table> found;
  MS_CHECK(dump(
      socket, request, [&] { found.reset(); },
      [&](const nlmsghdr* nlh) {
        if (Table table; take_table(table, nlh, socket.port_id(), family)) found = std::move(table);
      },
      "list nft tables"));
  return found;
}

Status observe_chains(NetlinkSocket& socket, Family family, Table& out) {
  Request request(family, NFT_MSG_GETCHAIN);
  return dump(
      socket, request, [&] { out.chains.clear(); }, [&](const nlmsghdr* nlh) { take_chain(out, nlh); },
      "list nft chains");
}

Status observe_rules(NetlinkSocket& socket, Family family, Table& out) {
  Request request(family, NFT_MSG_GETRULE);
  return dump(
      socket, request,
      [&] {
        for (auto& [name, chain] : out.chains) chain.rules.clear();
      },
      [&](const nlmsghdr* nlh) { take_rule(out, nlh); }, "list nft rules");
}

Status observe_sets(NetlinkSocket& socket, Family family, Table& out) {
  Request request(family, NFT_MSG_GETSET);
  return dump(
      socket, request, [&] { out.sets.clear(); }, [&](const nlmsghdr* nlh) { take_set(out, nlh); }, "list nft sets");
}

Status observe_elements(NetlinkSocket& socket, Family family, const std::string& name, Set& set) {
  Request request(family, NFT_MSG_GETSETELEM);
  mnl_attr_put_strz(request.nlh, NFTA_SET_ELEM_LIST_SET, name.c_str());
  std::set<Element> found;
  MS_CHECK(dump(
      socket, request, [&] { found.clear(); }, [&](const nlmsghdr* nlh) { take_elements(set.type, found, nlh); },
      "list elements of " + name));
  set.elements = make_elements(std::move(found));
  return {};
}

Status each_counter(NetlinkSocket& socket, Family family, const std::function<void()>& restart,
                    const std::function<void(const std::string&, std::uint64_t)>& take) {
  Request request(family, NFT_MSG_GETOBJ);
  return dump(
      socket, request, restart, [&](const nlmsghdr* nlh) { take_counter(take, nlh); }, "list nft counters");
}

}  // namespace

Result<std::optional<Table>> observe_table(NetlinkSocket& socket, Family family) {
  MS_TRY(auto found, find_table(socket, family));
  if (!found) return found;
  Table& out = *found;
  MS_CHECK(observe_chains(socket, family, out));
  MS_CHECK(observe_rules(socket, family, out));
  MS_CHECK(observe_sets(socket, family, out));
  for (auto& [name, set] : out.sets) MS_CHECK(observe_elements(socket, family, name, set));
  MS_CHECK(each_counter(
      socket, family, [&] { out.counters.clear(); },
      [&](const std::string& name, std::uint64_t) { out.counters.insert(name); }));
  return found;
}

Result<std::map<std::string, std::uint64_t>> read_counters(NetlinkSocket& socket, Family family) {
  std::map<std::string, std::uint64_t> out;
  MS_CHECK(each_counter(
      socket, family, [&] { out.clear(); }, [&](const std::string& name, std::uint64_t packets) { out[name] = packets; }));
  return out;
}

Status purge_connections(NetlinkSocket& socket, const PurgeConnections& which) {
  Messages out;
  auto* nlh = out.add(NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE, 0, sizeof(nfgenmsg));
  static_cast<nfgenmsg*>(mnl_nlmsg_get_payload(nlh))->nfgen_family = AF_UNSPEC;
  if (which.mask) {
    mnl_attr_put_u32(nlh, CTA_MARK, htonl(which.value));
    mnl_attr_put_u32(nlh, CTA_MARK_MASK, htonl(which.mask));
  }
  out.says("delete tracked connections");
  return socket.request(out);
}

}  // namespace microseg::kernel
