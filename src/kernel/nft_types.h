// Our set types and hooks in the kernel's numbers. The data types are nft(8)'s own (its internal numbering, which the
// kernel stores without looking at it): with them `nft list ruleset` prints our elements readably.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "microseg/kstate/nft.h"

namespace microseg::kernel {

// Table flag: it outlives its owner (Linux 6.9, NFT_TABLE_F_PERSIST; Debian 12's headers lack it).
inline constexpr std::uint32_t kPersist = 0x4;

std::uint32_t nft_type_of(const std::vector<kstate::Field>& fields);
// Reads it back; absent for types that are not ours. In an interval set a mark is a `number`: there nft keeps marks in
// network order.
std::optional<std::vector<kstate::Field>> fields_of(std::uint32_t nft_type, bool interval);
std::uint32_t flags_of(const kstate::SetType& type);
std::uint32_t key_length(const kstate::SetType& type);  // bytes, padded

std::uint32_t hook_number(kstate::Hook::Place place);
std::optional<kstate::Hook::Place> hook_place(std::uint32_t number);

}  // namespace microseg::kernel
