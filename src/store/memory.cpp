#include <map>

#include "microseg/store/store.h"
#include "store/json.h"

namespace microseg::store {
namespace {

// Obeys the rules of the SQLite store, its refusals included.
class MemoryStore final : public Store {
 public:
  Result<model::State> load() override { return content_.state; }

  Result<std::vector<model::AppliedPolicy>> revisions(const NetworkId& network) override {
    std::vector<model::AppliedPolicy> newest_first;
    auto it = content_.revisions.find(network);
    if (it == content_.revisions.end()) return newest_first;
    for (auto entry = it->second.rbegin(); entry != it->second.rend(); ++entry) newest_first.push_back(entry->second);
    return newest_first;
  }

  Status write(const Change& change) override {
    Content next = content_;
    for (const auto& id : change.remove_endpoints) next.state.endpoints.erase(id);
    for (const auto& id : change.remove_networks) {
      next.state.networks.erase(id);
      next.revisions.erase(id);
      std::erase_if(next.state.endpoints, [&](const auto& entry) { return entry.second.network == id; });
    }
    for (const auto& network : change.put_networks) {
      MS_TRY([[maybe_unused]] const auto text, to_text(network).in("store network " + network.id.str()));
      next.state.networks.insert_or_assign(network.id, network);
    }
    for (const auto& endpoint : change.put_endpoints) {
      const std::string doing = "store endpoint " + endpoint.id.str();
      MS_TRY([[maybe_unused]] const auto text, to_text(endpoint).in(doing));
      MS_CHECK(next.need_network(endpoint.network).in(doing));
      next.state.endpoints.insert_or_assign(endpoint.id, endpoint);
    }
    for (const auto& revision : change.add_revisions) {
      const std::string doing = "store policy of network " + revision.network.str();
      MS_TRY([[maybe_unused]] const auto text, to_text(revision.policy).in(doing));
      MS_CHECK(next.need_network(revision.network).in(doing));
      auto& kept = next.revisions[revision.network];
      kept.insert_or_assign(revision.policy.version, revision.policy);
      std::erase_if(kept, [&](const auto& entry) { return entry.first + kRevisionsKept <= revision.policy.version; });
    }
    content_ = std::move(next);
    return {};
  }

 private:
  struct Content {
    model::State state;
    std::map<NetworkId, std::map<std::uint64_t, model::AppliedPolicy>> revisions;

    Status need_network(const NetworkId& id) const {
      if (state.networks.contains(id)) return {};
      return Error{Errc::invalid, 0, "network " + id.str() + " is not stored"};
    }
  };
  Content content_;
};

}  // namespace

std::unique_ptr<Store> make_memory() { return std::make_unique<MemoryStore>(); }

}  // namespace microseg::store
