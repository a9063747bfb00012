#include "vni.h"

#include "microseg/model/network.h"

namespace microseg::engine {
namespace {

// FNV-1a: the same id gives the same number everywhere.
std::uint64_t hash_of(const std::string& id) {
  std::uint64_t h = 14695981039346656037U;
  for (unsigned char c : id) h = (h ^ c) * 1099511628211U;
  return h;
}

}  // namespace

Result<std::uint32_t> choose_vni(const NetworkId& id, std::optional<std::uint32_t> wanted,
                                 const std::set<std::uint32_t>& used) {
  if (wanted) {
    if (used.contains(*wanted))
      return Error{Errc::exists, 0,
                   "microseg.vni " + std::to_string(*wanted) +
                       " is another network's: choose another number, or leave the option out to get a free one"};
    return *wanted;
  }
  constexpr std::uint32_t kNumbers = model::kMaxVni - kFirstVni + 1;
  const auto start = static_cast<std::uint32_t>(hash_of(id.str()) % kNumbers);
  for (std::uint32_t step = 0; step < kNumbers; ++step)
    if (const auto vni = kFirstVni + (start + step) % kNumbers; !used.contains(vni)) return vni;
  return Error{Errc::unavailable, 0, "no VXLAN network identifier is free: remove a network"};
}

}  // namespace microseg::engine
