#include "allocations.h"

#include "judgement.h"
#include "vni.h"

namespace microseg::engine {

Result<model::Options> Allocations::allocate(const NetworkId& id, const model::Options& options,
                                             std::set<std::uint32_t> used) {
  std::lock_guard lock(mutex_);
  auto out = answer(id, options, std::move(used));
  if (out)
    refused_.erase(id);
  else
    refused_[id].why = out.error().text;
  return out;
}

Result<model::Options> Allocations::answer(const NetworkId& id, const model::Options& options,
                                           std::set<std::uint32_t> used) {
  MS_TRY(auto settings, model::parse_settings(options));
  const bool had_vni = settings.vni.has_value(), had_encoding = settings.encoding.has_value();
  if (!had_encoding) settings.encoding = policy::kEncodingVersion;
  MS_CHECK(check_across_hosts(settings));

  auto answer = options;
  // With both it is an earlier answer, this manager's or another's: nodes live by it, so nothing is asked of it.
  if (!had_vni || !had_encoding) {
    for (auto& [other, vni] : given_)
      if (other != id) used.insert(vni);
    // Asked again because the answer was lost: it still holds, unless the number was given away meanwhile.
    auto given = given_.find(id);
    if (!had_vni && given != given_.end() && !used.contains(given->second)) settings.vni = given->second;
    MS_TRY(settings.vni, choose_vni(id, settings.vni, used));
    if (!had_vni) answer["microseg.vni"] = std::to_string(*settings.vni);
    if (!had_encoding) answer["microseg.encoding"] = std::to_string(*settings.encoding);
  }
  given_[id] = *settings.vni;
  return answer;
}

void Allocations::free(const NetworkId& id) {
  std::lock_guard lock(mutex_);
  given_.erase(id);
  refused_.erase(id);
}

std::map<NetworkId, Allocations::Refused> Allocations::refused() {
  std::lock_guard lock(mutex_);
  return refused_;
}

void Allocations::name(const NetworkId& id, const std::string& name) {
  std::lock_guard lock(mutex_);
  if (auto it = refused_.find(id); it != refused_.end()) it->second.name = name;
}

}  // namespace microseg::engine
