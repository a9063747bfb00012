// One suite for every store: what holds for SQLite holds for the memory that other tests use in its place.
#include <doctest/doctest.h>

#include "contract/store_files.h"
#include "contract/store_samples.h"

using namespace microseg;
using namespace microseg::test;

namespace {

struct Memory {
  std::unique_ptr<store::Store> store = store::make_memory();
};

struct Sqlite {
  TempDir dir;
  std::unique_ptr<store::Store> store = store::open_sqlite(dir.path()).value();
};

model::State loaded(store::Store& store) {
  auto state = store.load();
  REQUIRE_MESSAGE(state, state.error().text);
  return std::move(state).value();
}

void write(store::Store& store, const store::Change& change) {
  auto status = store.write(change);
  REQUIRE_MESSAGE(status, status.error().text);
}

store::Change nothing() { return {}; }

}  // namespace

TYPE_TO_STRING(Memory);
TYPE_TO_STRING(Sqlite);

TEST_CASE_TEMPLATE("a new store is empty", S, Memory, Sqlite) {
  S s;
  CHECK(loaded(*s.store) == model::State{});
  CHECK(s.store->revisions(net_id("aa"))->empty());
  write(*s.store, nothing());
  CHECK(loaded(*s.store) == model::State{});
}

TEST_CASE_TEMPLATE("what was written is loaded, every field of it", S, Memory, Sqlite) {
  S s;
  write(*s.store, sample_change());
  CHECK(loaded(*s.store) == sample_state());
}

TEST_CASE_TEMPLATE("putting again replaces, and takes nothing else away", S, Memory, Sqlite) {
  S s;
  write(*s.store, sample_change());
  auto want = sample_state();
  auto& network = want.networks.at(net_id("aa"));
  network = plain_network("aa");
  network.name = "renamed";
  auto& endpoint = want.endpoints.at(ep_id("e1"));
  endpoint = plain_endpoint("e1", "bb");

  auto change = nothing();
  change.put_networks = {network};
  change.put_endpoints = {endpoint};
  write(*s.store, change);
  CHECK(loaded(*s.store) == want);
  CHECK(s.store->revisions(net_id("aa"))->size() == 2);
}

TEST_CASE_TEMPLATE("removals", S, Memory, Sqlite) {
  S s;
  write(*s.store, sample_change());
  auto want = sample_state();
  auto change = nothing();

  SUBCASE("an endpoint") {
    change.remove_endpoints = {ep_id("e1")};
    want.endpoints.erase(ep_id("e1"));
  }
  SUBCASE("a network takes its endpoints and revisions with it") {
    change.remove_networks = {net_id("aa")};
    want.networks.erase(net_id("aa"));
    want.endpoints.erase(ep_id("e1"));
    want.endpoints.erase(ep_id("e2"));
  }
  SUBCASE("what is not there") {
    change.remove_networks = {net_id("cc")};
    change.remove_endpoints = {ep_id("e9")};
  }
  SUBCASE("removed and put in one change: there, without what it had") {
    change.remove_networks = {net_id("aa")};
    change.put_networks = {plain_network("aa")};
    change.put_endpoints = {plain_endpoint("e2", "aa")};
    want.networks.at(net_id("aa")) = plain_network("aa");
    want.endpoints.erase(ep_id("e1"));
  }
  write(*s.store, change);
  CHECK(loaded(*s.store) == want);
  const bool network_went = !change.remove_networks.empty() && change.remove_networks[0] == net_id("aa");
  CHECK(s.store->revisions(net_id("aa"))->size() == (network_went ? 0 : 2));
  CHECK(s.store->revisions(net_id("bb"))->size() == 1);
}

TEST_CASE_TEMPLATE("revisions come newest first, whatever the order of writing", S, Memory, Sqlite) {
  S s;
  auto change = nothing();
  change.put_networks = {plain_network("aa")};
  for (std::uint64_t version : {9, 10, 2, 1}) change.add_revisions.push_back({net_id("aa"), {version, "", 0}});
  write(*s.store, change);
  change = nothing();
  change.add_revisions = {{net_id("aa"), {2, "allow a -> b", 7}}};  // written again after a lost answer
  write(*s.store, change);
  const std::vector<model::AppliedPolicy> want = {{10, "", 0}, {9, "", 0}, {2, "allow a -> b", 7}, {1, "", 0}};
  CHECK(s.store->revisions(net_id("aa")).value() == want);
  CHECK(s.store->revisions(net_id("bb"))->empty());
}

TEST_CASE_TEMPLATE("a network keeps its newest revisions, and those of others", S, Memory, Sqlite) {
  S s;
  auto change = nothing();
  change.put_networks = {plain_network("aa"), plain_network("bb")};
  change.add_revisions = {{net_id("bb"), {1, "", 0}}};
  for (std::uint64_t version = 1; version <= store::kRevisionsKept + 3; ++version)
    change.add_revisions.push_back({net_id("aa"), {version, "", 0}});
  write(*s.store, change);
  const auto kept = s.store->revisions(net_id("aa")).value();
  REQUIRE(kept.size() == store::kRevisionsKept);
  CHECK(kept.front().version == store::kRevisionsKept + 3);
  CHECK(kept.back().version == 4);
  CHECK(s.store->revisions(net_id("bb"))->size() == 1);
}

TEST_CASE_TEMPLATE("a refused change leaves nothing of itself", S, Memory, Sqlite) {
  S s;
  write(*s.store, sample_change());
  auto change = nothing();
  change.remove_endpoints = {ep_id("e3")};
  change.put_networks = {plain_network("cc")};
  const char* message = nullptr;

  SUBCASE("an endpoint of no network") {
    change.put_endpoints = {plain_endpoint("e4", "dd")};
    message = "store endpoint e4: network dd is not stored";
  }
  SUBCASE("an endpoint of a network that goes in the same change") {
    change.remove_networks = {net_id("bb")};
    change.put_endpoints = {plain_endpoint("e4", "bb")};
    message = "store endpoint e4: network bb is not stored";
  }
  SUBCASE("a revision of no network") {
    change.add_revisions = {{net_id("dd"), {1, "", 0}}};
    message = "store policy of network dd: network dd is not stored";
  }
  SUBCASE("text that is not UTF-8") {
    auto endpoint = plain_endpoint("e4", "cc");
    endpoint.sandbox = "/run/\xff";
    change.put_endpoints = {endpoint};
    message = "store endpoint e4: cannot be stored as JSON";
  }
  auto status = s.store->write(change);
  REQUIRE_FALSE(status);
  CHECK(status.error().code == Errc::invalid);
  CHECK_MESSAGE(status.error().text.find(message) == 0, status.error().text);
  CHECK(loaded(*s.store) == sample_state());
  CHECK(s.store->revisions(net_id("aa"))->size() == 2);
}
