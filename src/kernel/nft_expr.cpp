#include "nft_expr.h"
#include "microseg/base/overload.h"

#include <netinet/in.h>
// libc's header goes before the kernel's.
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_tuple_common.h>
#include <linux/netfilter/nf_tables.h>

#include <cstring>
#include <new>
#include <optional>

namespace microseg::kernel {
namespace {

using namespace kstate;

class Builder {
 public:
  explicit Builder(const char* name) : e_(nftnl_expr_alloc(name)) {
    if (!e_) throw std::bad_alloc();
  }
  Builder& u32(std::uint16_t attr, std::uint32_t v) { nftnl_expr_set_u32(e_, attr, v); return *this; }
  Builder& u8(std::uint16_t attr, std::uint8_t v) { nftnl_expr_set_u8(e_, attr, v); return *this; }
  Builder& reg(std::uint16_t attr, unsigned index) { return u32(attr, register_number(index)); }
  Builder& text(std::uint16_t attr, const std::string& v) { nftnl_expr_set_str(e_, attr, v.c_str()); return *this; }
  Builder& bytes(std::uint16_t attr, const Bytes& v) {
    nftnl_expr_set(e_, attr, v.data(), static_cast<std::uint32_t>(v.size()));
    return *this;
  }
  nftnl_expr* done() { return e_; }

 private:
  nftnl_expr* e_;
};

unsigned register_index(std::uint32_t number) {
  return number >= NFT_REG32_00 ? number - NFT_REG32_00 : (number - NFT_REG_1) * 4;
}

struct Reader {
  const nftnl_expr* e;
  std::uint32_t u32(std::uint16_t attr) const { return nftnl_expr_get_u32(e, attr); }
  unsigned reg(std::uint16_t attr) const { return register_index(u32(attr)); }
  bool has(std::uint16_t attr) const { return nftnl_expr_is_set(e, attr); }
  std::string text(std::uint16_t attr) const {
    auto* s = nftnl_expr_get_str(e, attr);
    return s ? s : "";
  }
  Bytes bytes(std::uint16_t attr) const {
    std::uint32_t len = 0;
    auto* p = static_cast<const char*>(nftnl_expr_get(e, attr, &len));
    return p ? Bytes(p, len) : Bytes();
  }
};

struct MetaRow { MetaKey key; std::uint32_t number; };
constexpr MetaRow kMeta[] = {{MetaKey::mark, NFT_META_MARK},
                             {MetaKey::iifname, NFT_META_IIFNAME},
                             {MetaKey::oifname, NFT_META_OIFNAME},
                             {MetaKey::l4proto, NFT_META_L4PROTO},
                             {MetaKey::nfproto, NFT_META_NFPROTO},
                             {MetaKey::priority, NFT_META_PRIORITY},
                             {MetaKey::iif, NFT_META_IIF},
                             {MetaKey::oif, NFT_META_OIF},
                             {MetaKey::protocol, NFT_META_PROTOCOL}};

constexpr std::uint32_t kReturnRoute = NFTA_FIB_F_SADDR | NFTA_FIB_F_IIF | NFTA_FIB_F_PRESENT;

std::uint32_t number_of(MetaKey key) {
  for (auto& row : kMeta)
    if (row.key == key) return row.number;
  return 0;
}

struct BaseRow { Base base; std::uint32_t number; };
constexpr BaseRow kBases[] = {{Base::network, NFT_PAYLOAD_NETWORK_HEADER},
                              {Base::transport, NFT_PAYLOAD_TRANSPORT_HEADER},
                              {Base::link, NFT_PAYLOAD_LL_HEADER}};

constexpr int kNoDirection = -1;
struct CtRow { CtKey key; std::uint32_t number; int direction; };
constexpr CtRow kCt[] = {{CtKey::state, NFT_CT_STATE, kNoDirection},
                         {CtKey::direction, NFT_CT_DIRECTION, kNoDirection},
                         {CtKey::mark, NFT_CT_MARK, kNoDirection},
                         {CtKey::status, NFT_CT_STATUS, kNoDirection},
                         {CtKey::original_source4, NFT_CT_SRC_IP, IP_CT_DIR_ORIGINAL},
                         {CtKey::original_target4, NFT_CT_DST_IP, IP_CT_DIR_ORIGINAL},
                         {CtKey::original_source6, NFT_CT_SRC_IP6, IP_CT_DIR_ORIGINAL},
                         {CtKey::original_target6, NFT_CT_DST_IP6, IP_CT_DIR_ORIGINAL},
                         {CtKey::reply_source4, NFT_CT_SRC_IP, IP_CT_DIR_REPLY},
                         {CtKey::reply_source6, NFT_CT_SRC_IP6, IP_CT_DIR_REPLY},
                         {CtKey::protocol, NFT_CT_PROTOCOL, kNoDirection},
                         {CtKey::original_target_port, NFT_CT_PROTO_DST, IP_CT_DIR_ORIGINAL}};

struct VerdictRow { Verdict::Kind kind; int number; };
constexpr VerdictRow kVerdicts[] = {{Verdict::Kind::accept, NF_ACCEPT},
                                    {Verdict::Kind::drop, NF_DROP},
                                    {Verdict::Kind::jump, NFT_JUMP},
                                    {Verdict::Kind::go, NFT_GOTO}};

std::optional<Expr> decode_known(const std::string& name, const Reader& r) {
  if (name == "meta") {
    const auto number = r.u32(NFTNL_EXPR_META_KEY);
    if (r.has(NFTNL_EXPR_META_SREG)) {
      for (auto& row : kMeta)
        if (row.number == number) return SetMeta{row.key, r.reg(NFTNL_EXPR_META_SREG)};
      return std::nullopt;
    }
    for (auto& row : kMeta)
      if (row.number == number) return Meta{row.key, r.reg(NFTNL_EXPR_META_DREG)};
  } else if (name == "ct") {
    const auto number = r.u32(NFTNL_EXPR_CT_KEY);
    if (r.has(NFTNL_EXPR_CT_SREG)) {
      if (number == NFT_CT_MARK) return SetCtMark{r.reg(NFTNL_EXPR_CT_SREG)};
      return std::nullopt;
    }
    for (auto& row : kCt)
      if (row.number == number &&
          (row.direction == kNoDirection || nftnl_expr_get_u8(r.e, NFTNL_EXPR_CT_DIR) == row.direction))
        return Ct{row.key, r.reg(NFTNL_EXPR_CT_DREG)};
  } else if (name == "payload" && r.has(NFTNL_EXPR_PAYLOAD_DREG)) {
    const auto base = r.u32(NFTNL_EXPR_PAYLOAD_BASE);
    for (auto& row : kBases)
      if (row.number == base)
        return Payload{row.base, r.u32(NFTNL_EXPR_PAYLOAD_OFFSET), r.u32(NFTNL_EXPR_PAYLOAD_LEN),
                       r.reg(NFTNL_EXPR_PAYLOAD_DREG)};
  } else if (name == "fib") {
    if (r.u32(NFTNL_EXPR_FIB_FLAGS) == kReturnRoute && r.u32(NFTNL_EXPR_FIB_RESULT) == NFT_FIB_RESULT_OIF)
      return ReturnRoute{r.reg(NFTNL_EXPR_FIB_DREG)};
  } else if (name == "cmp") {
    const auto op = r.u32(NFTNL_EXPR_CMP_OP);
    if (op == NFT_CMP_EQ || op == NFT_CMP_NEQ)
      return Cmp{r.reg(NFTNL_EXPR_CMP_SREG), op == NFT_CMP_EQ, r.bytes(NFTNL_EXPR_CMP_DATA)};
  } else if (name == "bitwise") {
    if (!r.has(NFTNL_EXPR_BITWISE_OP) || r.u32(NFTNL_EXPR_BITWISE_OP) == NFT_BITWISE_BOOL)
      return Mask{r.reg(NFTNL_EXPR_BITWISE_SREG), r.reg(NFTNL_EXPR_BITWISE_DREG), r.bytes(NFTNL_EXPR_BITWISE_MASK),
                  r.bytes(NFTNL_EXPR_BITWISE_XOR)};
    const auto op = r.u32(NFTNL_EXPR_BITWISE_OP);
    const Bytes by = r.bytes(NFTNL_EXPR_BITWISE_DATA);
    if ((op == NFT_BITWISE_LSHIFT || op == NFT_BITWISE_RSHIFT) && by.size() == 4) {
      std::uint32_t bits = 0;
      std::memcpy(&bits, by.data(), 4);
      if (bits < 32)
        return Shift{r.reg(NFTNL_EXPR_BITWISE_SREG), r.reg(NFTNL_EXPR_BITWISE_DREG),
                     op == NFT_BITWISE_LSHIFT ? static_cast<int>(bits) : -static_cast<int>(bits)};
    }
  } else if (name == "byteorder") {
    if (r.u32(NFTNL_EXPR_BYTEORDER_OP) == NFT_BYTEORDER_HTON && r.u32(NFTNL_EXPR_BYTEORDER_LEN) == 4 &&
        r.u32(NFTNL_EXPR_BYTEORDER_SIZE) == 4)
      return ToNetworkOrder{r.reg(NFTNL_EXPR_BYTEORDER_SREG), r.reg(NFTNL_EXPR_BYTEORDER_DREG)};
  } else if (name == "lookup") {
    const auto flags = r.has(NFTNL_EXPR_LOOKUP_FLAGS) ? r.u32(NFTNL_EXPR_LOOKUP_FLAGS) : 0;
    if (flags & ~std::uint32_t{NFT_LOOKUP_F_INV}) return std::nullopt;
    Lookup out{r.text(NFTNL_EXPR_LOOKUP_SET), r.reg(NFTNL_EXPR_LOOKUP_SREG), std::nullopt, flags != 0};
    if (r.has(NFTNL_EXPR_LOOKUP_DREG)) out.to = r.reg(NFTNL_EXPR_LOOKUP_DREG);
    return out;
  } else if (name == "objref" && r.has(NFTNL_EXPR_OBJREF_IMM_NAME)) {
    if (r.u32(NFTNL_EXPR_OBJREF_IMM_TYPE) == NFT_OBJECT_COUNTER) return Count{r.text(NFTNL_EXPR_OBJREF_IMM_NAME)};
  } else if (name == "immediate") {
    if (r.u32(NFTNL_EXPR_IMM_DREG) != NFT_REG_VERDICT)
      return Load{r.reg(NFTNL_EXPR_IMM_DREG), r.bytes(NFTNL_EXPR_IMM_DATA)};
    for (auto& row : kVerdicts)
      if (row.number == static_cast<int>(r.u32(NFTNL_EXPR_IMM_VERDICT)))
        return Verdict{row.kind, r.has(NFTNL_EXPR_IMM_CHAIN) ? r.text(NFTNL_EXPR_IMM_CHAIN) : ""};
  } else if (name == "reject") {
    const auto type = r.u32(NFTNL_EXPR_REJECT_TYPE);
    if (type == NFT_REJECT_TCP_RST) return Reject{Reject::Kind::tcp_reset};
    if (type == NFT_REJECT_ICMPX_UNREACH && nftnl_expr_get_u8(r.e, NFTNL_EXPR_REJECT_CODE) == NFT_REJECT_ICMPX_ADMIN_PROHIBITED)
      return Reject{Reject::Kind::admin_prohibited};
  }
  return std::nullopt;
}

}  // namespace

std::uint32_t register_number(unsigned index) {
  return index % 4 == 0 ? NFT_REG_1 + index / 4 : NFT_REG32_00 + index;
}

nftnl_expr* encode(const Expr& expr) {
  return std::visit(
      Overload{
          [](const Meta& e) {
            return Builder("meta").u32(NFTNL_EXPR_META_KEY, number_of(e.key)).reg(NFTNL_EXPR_META_DREG, e.to).done();
          },
          [](const SetMeta& e) {
            return Builder("meta").u32(NFTNL_EXPR_META_KEY, number_of(e.key)).reg(NFTNL_EXPR_META_SREG, e.from).done();
          },
          [](const Ct& e) {
            Builder b("ct");
            for (auto& row : kCt)
              if (row.key == e.key) {
                b.u32(NFTNL_EXPR_CT_KEY, row.number);
                if (row.direction != kNoDirection) b.u8(NFTNL_EXPR_CT_DIR, static_cast<std::uint8_t>(row.direction));
              }
            return b.reg(NFTNL_EXPR_CT_DREG, e.to).done();
          },
          [](const SetCtMark& e) {
            return Builder("ct").u32(NFTNL_EXPR_CT_KEY, NFT_CT_MARK).reg(NFTNL_EXPR_CT_SREG, e.from).done();
          },
          [](const Payload& e) {
            Builder b("payload");
            for (auto& row : kBases)
              if (row.base == e.base) b.u32(NFTNL_EXPR_PAYLOAD_BASE, row.number);
            return b.u32(NFTNL_EXPR_PAYLOAD_OFFSET, e.offset)
                .u32(NFTNL_EXPR_PAYLOAD_LEN, e.length)
                .reg(NFTNL_EXPR_PAYLOAD_DREG, e.to)
                .done();
          },
          [](const ReturnRoute& e) {
            return Builder("fib")
                .u32(NFTNL_EXPR_FIB_FLAGS, kReturnRoute)
                .u32(NFTNL_EXPR_FIB_RESULT, NFT_FIB_RESULT_OIF)
                .reg(NFTNL_EXPR_FIB_DREG, e.to)
                .done();
          },
          [](const Cmp& e) {
            return Builder("cmp")
                .reg(NFTNL_EXPR_CMP_SREG, e.reg)
                .u32(NFTNL_EXPR_CMP_OP, e.equal ? NFT_CMP_EQ : NFT_CMP_NEQ)
                .bytes(NFTNL_EXPR_CMP_DATA, e.value)
                .done();
          },
          [](const Mask& e) {
            return Builder("bitwise")
                .reg(NFTNL_EXPR_BITWISE_SREG, e.from)
                .reg(NFTNL_EXPR_BITWISE_DREG, e.to)
                .u32(NFTNL_EXPR_BITWISE_LEN, static_cast<std::uint32_t>(e.mask.size()))
                .bytes(NFTNL_EXPR_BITWISE_MASK, e.mask)
                .bytes(NFTNL_EXPR_BITWISE_XOR, e.flip)
                .done();
          },
          [](const Shift& e) {
            return Builder("bitwise")
                .reg(NFTNL_EXPR_BITWISE_SREG, e.from)
                .reg(NFTNL_EXPR_BITWISE_DREG, e.to)
                .u32(NFTNL_EXPR_BITWISE_OP, e.by < 0 ? NFT_BITWISE_RSHIFT : NFT_BITWISE_LSHIFT)
                .u32(NFTNL_EXPR_BITWISE_LEN, 4)
                .bytes(NFTNL_EXPR_BITWISE_DATA, bytes_of_mark(static_cast<std::uint32_t>(e.by < 0 ? -e.by : e.by)))
                .done();
          },
          [](const ToNetworkOrder& e) {
            return Builder("byteorder")
                .reg(NFTNL_EXPR_BYTEORDER_SREG, e.from)
                .reg(NFTNL_EXPR_BYTEORDER_DREG, e.to)
                .u32(NFTNL_EXPR_BYTEORDER_OP, NFT_BYTEORDER_HTON)
                .u32(NFTNL_EXPR_BYTEORDER_LEN, 4)
                .u32(NFTNL_EXPR_BYTEORDER_SIZE, 4)
                .done();
          },
          [](const Load& e) {
            return Builder("immediate").reg(NFTNL_EXPR_IMM_DREG, e.to).bytes(NFTNL_EXPR_IMM_DATA, e.value).done();
          },
          [](const Lookup& e) {
            Builder b("lookup");
            b.text(NFTNL_EXPR_LOOKUP_SET, e.set).reg(NFTNL_EXPR_LOOKUP_SREG, e.from);
            if (e.to) b.reg(NFTNL_EXPR_LOOKUP_DREG, *e.to);
            if (e.inverted) b.u32(NFTNL_EXPR_LOOKUP_FLAGS, NFT_LOOKUP_F_INV);
            return b.done();
          },
          [](const Count& e) {
            return Builder("objref")
                .u32(NFTNL_EXPR_OBJREF_IMM_TYPE, NFT_OBJECT_COUNTER)
                .text(NFTNL_EXPR_OBJREF_IMM_NAME, e.counter)
                .done();
          },
          [](const Verdict& e) {
            Builder b("immediate");
            b.u32(NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
            for (auto& row : kVerdicts)
              if (row.kind == e.kind) b.u32(NFTNL_EXPR_IMM_VERDICT, static_cast<std::uint32_t>(row.number));
            if (!e.chain.empty()) b.text(NFTNL_EXPR_IMM_CHAIN, e.chain);
            return b.done();
          },
          [](const Reject& e) {
            const bool reset = e.kind == Reject::Kind::tcp_reset;
            return Builder("reject")
                .u32(NFTNL_EXPR_REJECT_TYPE, reset ? NFT_REJECT_TCP_RST : NFT_REJECT_ICMPX_UNREACH)
                .u8(NFTNL_EXPR_REJECT_CODE, reset ? 0 : NFT_REJECT_ICMPX_ADMIN_PROHIBITED)
                .done();
          },
          [](const Foreign& e) { return Builder(e.name.c_str()).done(); },
      },
      expr);
}

Expr decode(const nftnl_expr* expr) {
  const std::string name = nftnl_expr_get_str(expr, NFTNL_EXPR_NAME);
  if (auto known = decode_known(name, Reader{expr})) return *known;
  return Foreign{name};
}

}  // namespace microseg::kernel
