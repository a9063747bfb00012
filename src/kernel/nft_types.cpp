#include "nft_types.h"

#include <netinet/in.h>
// libc's header goes before the kernel's.
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include <algorithm>

namespace microseg::kernel {
namespace {

using kstate::Field;

// nft's own numbers of its data types, and how many bits each takes in the number of a concatenation.
struct Row { Field field; std::uint32_t number; };
constexpr Row kTypes[] = {{Field::ipv4, 7},      {Field::ipv6, 8},  {Field::protocol, 12}, {Field::port, 13},
                          {Field::mark, 19},     {Field::number, 19}, {Field::ifname, 41},
                          {Field::mac, 9},       {Field::index, 20}};
constexpr unsigned kTypeBits = 6;

struct HookRow { kstate::Hook::Place place; std::uint32_t number; };
constexpr HookRow kHooks[] = {{kstate::Hook::Place::prerouting, NF_INET_PRE_ROUTING},
                              {kstate::Hook::Place::input, NF_INET_LOCAL_IN},
                              {kstate::Hook::Place::forward, NF_INET_FORWARD},
                              {kstate::Hook::Place::output, NF_INET_LOCAL_OUT}};

}  // namespace

std::uint32_t nft_type_of(const std::vector<Field>& fields) {
  std::uint32_t out = 0;
  for (auto field : fields)
    for (auto& row : kTypes)
      if (row.field == field) {
        out = out << kTypeBits | row.number;
        break;
      }
  return out;
}

std::optional<std::vector<Field>> fields_of(std::uint32_t nft_type, bool interval) {
  std::vector<Field> out;
  for (; nft_type; nft_type >>= kTypeBits) {
    auto row = std::find_if(std::begin(kTypes), std::end(kTypes),
                            [&](const Row& r) { return r.number == (nft_type & ((1U << kTypeBits) - 1)); });
    if (row == std::end(kTypes)) return std::nullopt;
    out.push_back(row->field == Field::mark && interval ? Field::number : row->field);
  }
  std::reverse(out.begin(), out.end());
  return out;
}

std::uint32_t flags_of(const kstate::SetType& type) {
  return (type.data ? std::uint32_t{NFT_SET_MAP} : 0) |
         (type.interval ? std::uint32_t{NFT_SET_INTERVAL} | NFT_SET_CONCAT : 0);
}

std::uint32_t key_length(const kstate::SetType& type) {
  std::uint32_t out = 0;
  for (auto field : type.key) out += (kstate::length_of(field) + 3) / 4 * 4;
  return out;
}

std::uint32_t hook_number(kstate::Hook::Place place) {
  for (auto& row : kHooks)
    if (row.place == place) return row.number;
  return 0;
}

std::optional<kstate::Hook::Place> hook_place(std::uint32_t number) {
  for (auto& row : kHooks)
    if (row.number == number) return row.place;
  return std::nullopt;
}

}  // namespace microseg::kernel
