// Any bytes as an answer of the kernel: read as something or as nothing, and what was read can be printed. The first
// byte chooses the reader. An rtnetlink message may be taken as it is; else the input is patches, places and bytes, on a
// message as the kernel sends it, so that the deeper levels are reached without a corpus of bytes.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <netinet/in.h>
// libc's header goes before the kernel's.
#include <libmnl/libmnl.h>
#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/object.h>
#include <libnftnl/rule.h>
#include <libnftnl/set.h>
#include <libnftnl/table.h>
#include <linux/if_addr.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/rtnetlink.h>

#include "kernel/nft_expr.h"
#include "kernel/observers.h"
#include "microseg/kstate/plan.h"

namespace {

using namespace microseg;
using namespace microseg::kernel;

enum Reader {
  kLink, kAddress, kRoute, kNeighbour, kVxlanLink, kForwarding, kProxy, kPort, kKept,
  kTableReader, kChain, kRule, kSet, kElements, kCounter, kReaders
};

// A message without its nlmsghdr, built by `fill`.
template <class Fill>
std::string message(Fill&& fill) {
  alignas(nlmsghdr) char buffer[4096] = {};
  auto* nlh = mnl_nlmsg_put_header(buffer);
  fill(nlh);
  return std::string(buffer + MNL_NLMSG_HDRLEN, nlh->nlmsg_len - MNL_NLMSG_HDRLEN);
}

std::string nft_message(const std::function<void(nlmsghdr*)>& fill) {
  alignas(nlmsghdr) char buffer[4096] = {};
  auto* nlh = nftnl_nlmsg_build_hdr(buffer, 0, NFPROTO_INET, 0, 0);
  fill(nlh);
  return std::string(buffer + MNL_NLMSG_HDRLEN, nlh->nlmsg_len - MNL_NLMSG_HDRLEN);
}

constexpr unsigned char kV6[16] = {0xfd, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2};
constexpr unsigned char kMac[6] = {2, 0x6d, 10, 5, 0, 2};

// One of everything that our rules are made of.
kstate::Rule some_rule() {
  using namespace kstate;
  return {Meta{MetaKey::iifname, 0}, SetMeta{MetaKey::mark, 8}, Ct{CtKey::original_source6, 4}, SetCtMark{8},
          Payload{Base::network, 12, 4, 4}, Cmp{8, true, bytes_of_mark(1)},
          Mask{8, 8, Bytes(4, '\xff'), Bytes(4, '\0')}, ToNetworkOrder{0, 0}, Load{8, bytes_of_mark(7)},
          Lookup{"tag4", 0, 8}, Lookup{"allow_a", 0, {}}, Count{"refused"}, Reject{Reject::Kind::tcp_reset},
          kstate::Verdict{kstate::Verdict::Kind::go, "stamp"}};
}

std::vector<std::string> templates() {
  std::vector<std::string> out(kReaders);
  out[kLink] = message([](nlmsghdr* nlh) {
    auto* ifi = static_cast<ifinfomsg*>(mnl_nlmsg_put_extra_header(nlh, sizeof(ifinfomsg)));
    ifi->ifi_index = 2;
    ifi->ifi_flags = 1;
    mnl_attr_put_strz(nlh, IFLA_IFNAME, "ms0a1b2c3d4e5f");
    mnl_attr_put_u32(nlh, IFLA_MTU, 1500);
    mnl_attr_put(nlh, IFLA_ADDRESS, 6, kMac);
    mnl_attr_put_strz(nlh, IFLA_IFALIAS, "microseg:0a1b2c3d4e5f");
  });
  out[kPort] = message([](nlmsghdr* nlh) {
    auto* ifi = static_cast<ifinfomsg*>(mnl_nlmsg_put_extra_header(nlh, sizeof(ifinfomsg)));
    ifi->ifi_index = 3;
    mnl_attr_put_strz(nlh, IFLA_IFNAME, "veth3");
    mnl_attr_put_u32(nlh, IFLA_MASTER, 2);
    mnl_attr_put_u32(nlh, IFLA_LINK_NETNSID, 1);
    auto* info = mnl_attr_nest_start(nlh, IFLA_LINKINFO);
    mnl_attr_put_strz(nlh, IFLA_INFO_SLAVE_KIND, "bridge");
    auto* settings = mnl_attr_nest_start(nlh, IFLA_INFO_SLAVE_DATA);
    mnl_attr_put_u8(nlh, IFLA_BRPORT_ISOLATED, 1);
    mnl_attr_put_u8(nlh, IFLA_BRPORT_LEARNING, 0);
    mnl_attr_nest_end(nlh, settings);
    mnl_attr_nest_end(nlh, info);
  });
  out[kKept] = message([](nlmsghdr* nlh) {
    auto* ndm = static_cast<ndmsg*>(mnl_nlmsg_put_extra_header(nlh, sizeof(ndmsg)));
    ndm->ndm_ifindex = 3;
    ndm->ndm_state = NUD_NOARP;
    ndm->ndm_flags = NTF_STICKY;
    mnl_attr_put(nlh, NDA_LLADDR, 6, kMac);
  });
  out[kAddress] = message([](nlmsghdr* nlh) {
    auto* ifa = static_cast<ifaddrmsg*>(mnl_nlmsg_put_extra_header(nlh, sizeof(ifaddrmsg)));
    ifa->ifa_family = AF_INET6;
    ifa->ifa_prefixlen = 128;
    ifa->ifa_index = 2;
    mnl_attr_put(nlh, IFA_ADDRESS, 16, kV6);
  });
  out[kRoute] = message([](nlmsghdr* nlh) {
    auto* rtm = static_cast<rtmsg*>(mnl_nlmsg_put_extra_header(nlh, sizeof(rtmsg)));
    rtm->rtm_family = AF_INET6;
    rtm->rtm_dst_len = 128;
    rtm->rtm_table = RT_TABLE_MAIN;
    rtm->rtm_protocol = 0x4d;
    mnl_attr_put(nlh, RTA_DST, 16, kV6);
    mnl_attr_put_u32(nlh, RTA_OIF, 2);
  });
  out[kNeighbour] = message([](nlmsghdr* nlh) {
    auto* ndm = static_cast<ndmsg*>(mnl_nlmsg_put_extra_header(nlh, sizeof(ndmsg)));
    ndm->ndm_family = AF_INET6;
    ndm->ndm_ifindex = 2;
    ndm->ndm_state = NUD_PERMANENT;
    mnl_attr_put(nlh, NDA_DST, 16, kV6);
    mnl_attr_put(nlh, NDA_LLADDR, 6, kMac);
  });
  out[kVxlanLink] = message([](nlmsghdr* nlh) {
    auto* ifi = static_cast<ifinfomsg*>(mnl_nlmsg_put_extra_header(nlh, sizeof(ifinfomsg)));
    ifi->ifi_index = 3;
    ifi->ifi_flags = 1;
    mnl_attr_put_strz(nlh, IFLA_IFNAME, kstate::kVxlan);
    mnl_attr_put_u32(nlh, IFLA_MTU, 1450);
    mnl_attr_put_u32(nlh, IFLA_LINK_NETNSID, 0);
    auto* info = mnl_attr_nest_start(nlh, IFLA_LINKINFO);
    mnl_attr_put_strz(nlh, IFLA_INFO_KIND, "vxlan");
    auto* tunnel = mnl_attr_nest_start(nlh, IFLA_INFO_DATA);
    mnl_attr_put_u32(nlh, IFLA_VXLAN_ID, 4711);
    mnl_attr_put(nlh, IFLA_VXLAN_LOCAL6, 16, kV6);
    mnl_attr_put_u16(nlh, IFLA_VXLAN_PORT, htons(4799));
    mnl_attr_put_u8(nlh, IFLA_VXLAN_TTL, 64);
    mnl_attr_put_u8(nlh, IFLA_VXLAN_LEARNING, 1);
    mnl_attr_put(nlh, IFLA_VXLAN_GBP, 0, nullptr);
    mnl_attr_nest_end(nlh, tunnel);
    mnl_attr_nest_end(nlh, info);
  });
  out[kForwarding] = message([](nlmsghdr* nlh) {
    auto* ndm = static_cast<ndmsg*>(mnl_nlmsg_put_extra_header(nlh, sizeof(ndmsg)));
    ndm->ndm_family = AF_BRIDGE;
    ndm->ndm_ifindex = 3;
    ndm->ndm_state = NUD_PERMANENT;
    constexpr unsigned char kEverybody[6] = {};
    mnl_attr_put(nlh, NDA_LLADDR, 6, kEverybody);
    mnl_attr_put(nlh, NDA_DST, 16, kV6);
  });
  out[kProxy] = message([](nlmsghdr* nlh) {
    auto* ndm = static_cast<ndmsg*>(mnl_nlmsg_put_extra_header(nlh, sizeof(ndmsg)));
    ndm->ndm_family = AF_INET6;
    ndm->ndm_ifindex = 3;
    ndm->ndm_flags = NTF_PROXY;
    mnl_attr_put(nlh, NDA_DST, 16, kV6);
  });
  out[kTableReader] = nft_message([](nlmsghdr* nlh) { mnl_attr_put_strz(nlh, NFTA_TABLE_NAME, "microseg"); });
  out[kChain] = nft_message([](nlmsghdr* nlh) {
    auto* c = nftnl_chain_alloc();
    nftnl_chain_set_str(c, NFTNL_CHAIN_TABLE, "microseg");
    nftnl_chain_set_str(c, NFTNL_CHAIN_NAME, "forward");
    nftnl_chain_set_str(c, NFTNL_CHAIN_TYPE, "filter");
    nftnl_chain_set_u32(c, NFTNL_CHAIN_HOOKNUM, NF_INET_FORWARD);
    nftnl_chain_set_s32(c, NFTNL_CHAIN_PRIO, 0);
    nftnl_chain_set_u32(c, NFTNL_CHAIN_POLICY, NF_DROP);
    nftnl_chain_nlmsg_build_payload(nlh, c);
    nftnl_chain_free(c);
  });
  out[kRule] = nft_message([](nlmsghdr* nlh) {
    auto* r = nftnl_rule_alloc();
    nftnl_rule_set_str(r, NFTNL_RULE_TABLE, "microseg");
    nftnl_rule_set_str(r, NFTNL_RULE_CHAIN, "forward");
    for (auto& expr : some_rule()) nftnl_rule_add_expr(r, encode(expr));
    nftnl_rule_nlmsg_build_payload(nlh, r);
    nftnl_rule_free(r);
  });
  out[kSet] = nft_message([](nlmsghdr* nlh) {
    mnl_attr_put_strz(nlh, NFTA_SET_TABLE, "microseg");
    mnl_attr_put_strz(nlh, NFTA_SET_NAME, "class4");
    mnl_attr_put_u32(nlh, NFTA_SET_FLAGS, htonl(NFT_SET_MAP));
    mnl_attr_put_u32(nlh, NFTA_SET_KEY_TYPE, htonl(7));
    mnl_attr_put_u32(nlh, NFTA_SET_KEY_LEN, htonl(4));
    mnl_attr_put_u32(nlh, NFTA_SET_DATA_TYPE, htonl(19));
    mnl_attr_put_u32(nlh, NFTA_SET_DATA_LEN, htonl(4));
  });
  out[kElements] = nft_message([](nlmsghdr* nlh) {
    auto* s = nftnl_set_alloc();
    nftnl_set_set_str(s, NFTNL_SET_TABLE, "microseg");
    nftnl_set_set_str(s, NFTNL_SET_NAME, "class4");
    for (char c : {'\1', '\2'}) {
      auto* e = nftnl_set_elem_alloc();
      const char key[4] = {10, 5, 0, c};
      nftnl_set_elem_set(e, NFTNL_SET_ELEM_KEY, key, 4);
      nftnl_set_elem_set(e, NFTNL_SET_ELEM_KEY_END, key, 4);
      nftnl_set_elem_set(e, NFTNL_SET_ELEM_DATA, key, 4);
      nftnl_set_elem_add(s, e);
    }
    nftnl_set_elems_nlmsg_build_payload(nlh, s);
    nftnl_set_free(s);
  });
  out[kCounter] = nft_message([](nlmsghdr* nlh) {
    auto* o = nftnl_obj_alloc();
    nftnl_obj_set_str(o, NFTNL_OBJ_TABLE, "microseg");
    nftnl_obj_set_str(o, NFTNL_OBJ_NAME, "refused");
    nftnl_obj_set_u32(o, NFTNL_OBJ_TYPE, NFT_OBJECT_COUNTER);
    nftnl_obj_set_u64(o, NFTNL_OBJ_CTR_PKTS, 1);
    nftnl_obj_set_u64(o, NFTNL_OBJ_CTR_BYTES, 1);
    nftnl_obj_nlmsg_build_payload(nlh, o);
    nftnl_obj_free(o);
  });
  return out;
}

// libnftnl ends the process when an attribute has another length than the kernel's ABI says, so with nft messages only
// values are tried, not shapes: the places of an nft template's bytes that are neither an attribute's header nor text.
void places_in(const std::string& bytes, std::size_t at, std::size_t end, std::vector<std::size_t>& out) {
  while (at + sizeof(nlattr) <= end) {
    nlattr attr;
    std::memcpy(&attr, bytes.data() + at, sizeof attr);
    const std::size_t first = at + sizeof attr, last = at + attr.nla_len;
    if (attr.nla_len < sizeof attr || last > end) return;
    if (attr.nla_type & NLA_F_NESTED) places_in(bytes, first, last, out);
    else if (first < last && !(bytes[first] >= 'a' && bytes[first] <= 'z'))
      for (auto i = first; i < last; ++i) out.push_back(i);
    at += MNL_ALIGN(attr.nla_len);
  }
}

std::vector<std::size_t> places_of(Reader reader, const std::string& bytes) {
  std::vector<std::size_t> out;
  if (reader >= kTableReader) places_in(bytes, 4, bytes.size(), out);  // past the nfgenmsg
  else
    for (std::size_t i = 0; i < bytes.size(); ++i) out.push_back(i);
  // Another kind of object has attributes of other lengths.
  if (reader == kCounter) {
    const auto kind = bytes.find(std::string("\0\0\0\1", 4), 4);
    std::erase_if(out, [&](std::size_t i) { return i >= kind && i < kind + 4; });
  }
  if (out.empty()) out.push_back(0);
  return out;
}

// The same as news of each kind.
void read_news(FoundPorts& ports, const nlmsghdr* nlh) {
  for (std::uint16_t type : {RTM_NEWLINK, RTM_NEWNEIGH, RTM_DELNEIGH, RTM_DELLINK}) {
    std::string copy(reinterpret_cast<const char*>(nlh), nlh->nlmsg_len);
    auto* news = reinterpret_cast<nlmsghdr*>(copy.data());
    news->nlmsg_type = type;
    take_port_news(ports, news);
  }
}

void read(Reader reader, const nlmsghdr* nlh) {
  Found found;
  kstate::Link link;
  found.links.emplace(2, std::pair{IfName::parse("ms2").value(), link});
  if (reader != kVxlanLink) found.vxlan.emplace(3, kstate::Vxlan{});
  FoundPorts ports;
  ports[2].name = "br";
  ports[3] = FoundPort{"veth3", 2};
  kstate::Table table;
  table.chains["forward"];
  std::set<kstate::Element> elements;
  std::map<std::string, std::uint64_t> counters;
  switch (reader) {
    case kLink: take_link(found, nlh); break;
    case kAddress: take_address(found, nlh); break;
    case kRoute: take_route(found, nlh); break;
    case kNeighbour: take_neighbour(found, nlh); break;
    case kVxlanLink: take_link(found, nlh); break;
    case kForwarding: take_forwarding(found, nlh); break;
    case kProxy: take_proxy(found, nlh); break;
    case kPort: take_port(ports, nlh), read_news(ports, nlh); break;
    case kKept: take_kept(ports, nlh), read_news(ports, nlh); break;
    case kTableReader: (void)take_table(table, nlh, 1); break;
    case kChain: take_chain(table, nlh); break;
    case kRule: take_rule(table, nlh); break;
    case kSet: take_set(table, nlh); break;
    case kElements: take_elements({{kstate::Field::ipv4}, kstate::Field::mark, false}, elements, nlh); break;
    case kCounter: take_counter([&](const std::string& name, std::uint64_t n) { counters[name] = n; }, nlh); break;
    case kReaders: break;
  }
  std::string text;
  for (auto& [index, entry] : found.links)
    text += kstate::to_text(kstate::Plan{kstate::MendLink{entry.first, entry.second}});
  if (found.vxlan) text += kstate::to_text(kstate::Plan{kstate::MendVxlan{found.vxlan->second}});
  for (auto& [index, port] : ports_of(ports)) text += port.link.str() + port.bridge.str();
  for (auto& [name, chain] : table.chains)
    for (auto& rule : chain.rules) text += kstate::to_text(rule);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto base = templates();
  if (size < 1) return 0;
  const auto reader = static_cast<Reader>((data[0] & 0x7f) % kReaders);
  std::string bytes;
  if (data[0] & 0x80 && reader < kTableReader) {
    bytes.assign(reinterpret_cast<const char*>(data + 1), size - 1);
  } else {
    bytes = base[reader];
    const auto places = places_of(reader, bytes);
    for (std::size_t i = 1; i + 3 <= size; i += 3)
      bytes[places[static_cast<std::size_t>(data[i] << 8 | data[i + 1]) % places.size()]] = static_cast<char>(data[i + 2]);
  }
  if (bytes.size() > 32768) bytes.resize(32768);
  // The kernel ends its strings; where these bytes do not, the zeros after the message do.
  std::vector<std::uint32_t> room((MNL_NLMSG_HDRLEN + bytes.size() + 64 + 3) / 4);
  auto* nlh = reinterpret_cast<nlmsghdr*>(room.data());
  nlh->nlmsg_len = static_cast<std::uint32_t>(MNL_NLMSG_HDRLEN + bytes.size());
  std::memcpy(reinterpret_cast<char*>(nlh) + MNL_NLMSG_HDRLEN, bytes.data(), bytes.size());
  if (bytes.size() < 4) return 0;  // libmnl looks past a header that is not there
  read(reader, nlh);
  return 0;
}
