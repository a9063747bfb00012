#include <cstdio>  // libnftnl's headers name FILE

#include <netinet/in.h>
// libc's header goes before the kernel's.
#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/object.h>
#include <libnftnl/rule.h>
#include <libnftnl/set.h>
#include <libnftnl/table.h>
#include <libnftnl/udata.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include <algorithm>
#include <memory>

#include "nft.h"
#include "nft_expr.h"
#include "nft_objects.h"
#include "nft_types.h"
#include "microseg/base/overload.h"

namespace microseg::kernel {
namespace {

using namespace kstate;

// A batch under construction: one message after the other in one buffer. A list of elements is a nested attribute and
// at most 64 KiB, so long ones are split.
class Batch {
 public:
  Batch(NetlinkSocket& socket, Family family)
      : socket_(socket), family_(static_cast<std::uint16_t>(family)), room_(std::make_unique<char[]>(kRoom)) {
    first_ = socket_.next_seq();
    (void)nftnl_batch_begin(room_.get(), first_);
    take();
  }

  // Builds one message with `fill(header)`; `what` is for its error.
  template <class Fill>
  void add(std::uint16_t type, std::uint16_t flags, std::string what, Fill&& fill) {
    last_ = socket_.next_seq();
    last_at_ = bytes_.size();
    auto* nlh = nftnl_nlmsg_build_hdr(room_.get(), type, family_, flags, last_);
    fill(nlh);
    take();
    what_.push_back(std::move(what));
  }

  Status commit() {
    if (what_.empty()) return {};
    // The last message asks for an acknowledgement: it comes after the commit, and errors come before it.
    reinterpret_cast<nlmsghdr*>(bytes_.data() + last_at_)->nlmsg_flags |= NLM_F_ACK;
    (void)nftnl_batch_end(room_.get(), socket_.next_seq());
    take();
    std::uint32_t failed = 0;
    auto done = socket_.exchange(bytes_, first_, last_, &failed);
    if (!done && failed > first_ && failed - first_ <= what_.size()) return std::move(done).in(what_[failed - first_ - 1]);
    return done;
  }

 private:
  static constexpr std::size_t kRoom = 128 * 1024;
  void take() {
    auto* nlh = reinterpret_cast<nlmsghdr*>(room_.get());
    bytes_.insert(bytes_.end(), room_.get(), room_.get() + NLMSG_ALIGN(nlh->nlmsg_len));
  }
  NetlinkSocket& socket_;
  std::uint16_t family_;
  std::unique_ptr<char[]> room_;
  std::vector<char> bytes_;
  std::vector<std::string> what_;
  std::uint32_t first_ = 0, last_ = 0;
  std::size_t last_at_ = 0;
};

template <class P, class T>
P checked(T* raw) {
  if (!raw) throw std::bad_alloc();
  return P(raw);
}

void put_table(Batch& batch, bool add, bool owned = false) {
  auto table = checked<TablePtr>(nftnl_table_alloc());
  nftnl_table_set_str(table.get(), NFTNL_TABLE_NAME, kTable);
  if (owned) nftnl_table_set_u32(table.get(), NFTNL_TABLE_FLAGS, NFT_TABLE_F_OWNER | kPersist);
  batch.add(add ? NFT_MSG_NEWTABLE : NFT_MSG_DELTABLE, add ? NLM_F_CREATE : 0, add ? "add table" : "delete table",
            [&](nlmsghdr* nlh) { nftnl_table_nlmsg_build_payload(nlh, table.get()); });
}

void put_counter(Batch& batch, const std::string& name) {
  auto obj = checked<ObjPtr>(nftnl_obj_alloc());
  nftnl_obj_set_str(obj.get(), NFTNL_OBJ_TABLE, kTable);
  nftnl_obj_set_str(obj.get(), NFTNL_OBJ_NAME, name.c_str());
  nftnl_obj_set_u32(obj.get(), NFTNL_OBJ_TYPE, NFT_OBJECT_COUNTER);
  nftnl_obj_set_u64(obj.get(), NFTNL_OBJ_CTR_PKTS, 0);
  nftnl_obj_set_u64(obj.get(), NFTNL_OBJ_CTR_BYTES, 0);
  batch.add(NFT_MSG_NEWOBJ, NLM_F_CREATE, "add counter " + name,
            [&](nlmsghdr* nlh) { nftnl_obj_nlmsg_build_payload(nlh, obj.get()); });
}

void put_set(Batch& batch, const std::string& name, const SetType& type, std::uint32_t id) {
  auto set = checked<SetPtr>(nftnl_set_alloc());
  auto* s = set.get();
  nftnl_set_set_str(s, NFTNL_SET_TABLE, kTable);
  nftnl_set_set_str(s, NFTNL_SET_NAME, name.c_str());
  nftnl_set_set_u32(s, NFTNL_SET_ID, id);
  nftnl_set_set_u32(s, NFTNL_SET_FLAGS, flags_of(type));
  nftnl_set_set_u32(s, NFTNL_SET_KEY_TYPE, nft_type_of(type.key));
  nftnl_set_set_u32(s, NFTNL_SET_KEY_LEN, key_length(type));
  if (type.data) {
    nftnl_set_set_u32(s, NFTNL_SET_DATA_TYPE, nft_type_of({*type.data}));
    nftnl_set_set_u32(s, NFTNL_SET_DATA_LEN, length_of(*type.data));
  }
  if (type.interval) {
    std::uint8_t lengths[16];
    std::transform(type.key.begin(), type.key.end(), lengths,
                   [](Field f) { return static_cast<std::uint8_t>(length_of(f)); });
    nftnl_set_set_data(s, NFTNL_SET_DESC_CONCAT, lengths, static_cast<std::uint32_t>(type.key.size()));
  }
  // Tells nft(8), which alone reads it, that a mark in a map is in host order.
  if (type.data) {
    std::unique_ptr<nftnl_udata_buf, void (*)(nftnl_udata_buf*)> note(nftnl_udata_buf_alloc(NFT_USERDATA_MAXLEN),
                                                                      [](nftnl_udata_buf* b) { nftnl_udata_buf_free(b); });
    if (!note) throw std::bad_alloc();
    constexpr std::uint32_t kHostOrder = 1;
    nftnl_udata_put_u32(note.get(), NFTNL_UDATA_SET_DATABYTEORDER, kHostOrder);
    nftnl_set_set_data(s, NFTNL_SET_USERDATA, nftnl_udata_buf_data(note.get()), nftnl_udata_buf_len(note.get()));
  }
  batch.add(NFT_MSG_NEWSET, NLM_F_CREATE, "add set " + name,
            [&](nlmsghdr* nlh) { nftnl_set_nlmsg_build_payload(nlh, s); });
}

void put_elements(Batch& batch, bool add, const std::string& name, const SetType& type,
                  const std::vector<Element>& elements) {
  constexpr std::size_t kChunk = 300;  // of at most 150 bytes each: half of what the attribute can hold
  for (std::size_t at = 0; at < elements.size(); at += kChunk) {
    auto set = checked<SetPtr>(nftnl_set_alloc());
    nftnl_set_set_str(set.get(), NFTNL_SET_TABLE, kTable);
    nftnl_set_set_str(set.get(), NFTNL_SET_NAME, name.c_str());
    for (std::size_t i = at; i < std::min(at + kChunk, elements.size()); ++i) {
      auto* element = nftnl_set_elem_alloc();
      if (!element) throw std::bad_alloc();
      auto put = [&](std::uint16_t attr, const Bytes& bytes) {
        if (!bytes.empty()) nftnl_set_elem_set(element, attr, bytes.data(), static_cast<std::uint32_t>(bytes.size()));
      };
      put(NFTNL_SET_ELEM_KEY, elements[i].key);
      put(NFTNL_SET_ELEM_KEY_END, elements[i].key_end);
      if (add && type.data) put(NFTNL_SET_ELEM_DATA, elements[i].data);
      nftnl_set_elem_add(set.get(), element);
    }
    const std::string what = std::string(add ? "add" : "delete") + " elements of " + name + ", the first " +
                             to_text(type, elements[at]);
    batch.add(add ? NFT_MSG_NEWSETELEM : NFT_MSG_DELSETELEM, static_cast<std::uint16_t>(add ? NLM_F_CREATE : 0), what,
              [&](nlmsghdr* nlh) { nftnl_set_elems_nlmsg_build_payload(nlh, set.get()); });
  }
}

void put_flush(Batch& batch, const std::string& name) {
  auto set = checked<SetPtr>(nftnl_set_alloc());
  nftnl_set_set_str(set.get(), NFTNL_SET_TABLE, kTable);
  nftnl_set_set_str(set.get(), NFTNL_SET_NAME, name.c_str());
  // A removal that names no elements removes all.
  batch.add(NFT_MSG_DELSETELEM, 0, "flush set " + name,
            [&](nlmsghdr* nlh) { nftnl_set_elems_nlmsg_build_payload(nlh, set.get()); });
}

void put_chain(Batch& batch, bool add, const std::string& name, const std::optional<Hook>& hook) {
  auto chain = checked<ChainPtr>(nftnl_chain_alloc());
  auto* c = chain.get();
  nftnl_chain_set_str(c, NFTNL_CHAIN_TABLE, kTable);
  nftnl_chain_set_str(c, NFTNL_CHAIN_NAME, name.c_str());
  if (add && hook) {
    nftnl_chain_set_str(c, NFTNL_CHAIN_TYPE, "filter");
    nftnl_chain_set_u32(c, NFTNL_CHAIN_HOOKNUM, hook_number(hook->place));
    nftnl_chain_set_s32(c, NFTNL_CHAIN_PRIO, hook->priority);
    nftnl_chain_set_u32(c, NFTNL_CHAIN_POLICY, hook->policy_drop ? NF_DROP : NF_ACCEPT);
  }
  batch.add(add ? NFT_MSG_NEWCHAIN : NFT_MSG_DELCHAIN, static_cast<std::uint16_t>(add ? NLM_F_CREATE : 0),
            std::string(add ? "add" : "delete") + " chain " + name,
            [&](nlmsghdr* nlh) { nftnl_chain_nlmsg_build_payload(nlh, c); });
}

void put_rule(Batch& batch, const std::string& chain, const Rule* rule) {
  auto r = checked<RulePtr>(nftnl_rule_alloc());
  nftnl_rule_set_str(r.get(), NFTNL_RULE_TABLE, kTable);
  nftnl_rule_set_str(r.get(), NFTNL_RULE_CHAIN, chain.c_str());
  if (rule)
    for (auto& expr : *rule) nftnl_rule_add_expr(r.get(), encode(expr));
  batch.add(rule ? NFT_MSG_NEWRULE : NFT_MSG_DELRULE,
            static_cast<std::uint16_t>(rule ? NLM_F_CREATE | NLM_F_APPEND : 0),
            rule ? "add rule to " + chain + ": " + to_text(*rule) : "flush chain " + chain,
            [&](nlmsghdr* nlh) { nftnl_rule_nlmsg_build_payload(nlh, r.get()); });
}

}  // namespace

Status apply_nft(NetlinkSocket& socket, const std::vector<NftOp>& ops, Family family) {
  Batch batch(socket, family);
  std::uint32_t set_id = 0;
  for (auto& op : ops)
    std::visit(Overload{
                   [&](const AddTable& o) { put_table(batch, true, o.owned); },
                   [&](const DelTable&) { put_table(batch, false); },
                   [&](const AddCounter& o) { put_counter(batch, o.name); },
                   [&](const AddSet& o) { put_set(batch, o.name, o.type, ++set_id); },
                   [&](const AddElements& o) { put_elements(batch, true, o.set, o.type, o.elements); },
                   [&](const DelElements& o) { put_elements(batch, false, o.set, o.type, o.elements); },
                   [&](const FlushSet& o) { put_flush(batch, o.name); },
                   [&](const AddChain& o) { put_chain(batch, true, o.name, o.hook); },
                   [&](const FlushChain& o) { put_rule(batch, o.name, nullptr); },
                   [&](const DelChain& o) { put_chain(batch, false, o.name, std::nullopt); },
                   [&](const AddRule& o) { put_rule(batch, o.chain, &o.rule); },
               },
               op);
  return batch.commit();
}

}  // namespace microseg::kernel
