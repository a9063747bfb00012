// Which VXLAN network identifier a network gets.
#include <doctest/doctest.h>

#include "engine/vni.h"
#include "microseg/model/network.h"

using namespace microseg;
using engine::choose_vni;

namespace {

NetworkId id(const std::string& s) { return NetworkId::parse(s).value(); }
const NetworkId kSome = id("etjbsl6j3rgnvxd7kr0trxr96");

}  // namespace

TEST_CASE("what the user asks for is what the user gets, if it is free") {
  CHECK(choose_vni(kSome, 7, {}).value() == 7);
  CHECK(choose_vni(kSome, 7, {6, 8}).value() == 7);
  auto taken = choose_vni(kSome, 7, {7});
  REQUIRE(!taken);
  CHECK(taken.error().code == Errc::exists);
  CHECK(taken.error().text.starts_with("microseg.vni 7 is another network's"));
}

TEST_CASE("a choice is the id's own, the same on every manager and in every version") {
  // Written down: a manager of a later version must choose as the one before it did.
  CHECK(choose_vni(kSome, {}, {}).value() == 11065452);
  CHECK(choose_vni(id("w2k1n0tz9dc0f8e3x5r7y6q4a"), {}, {}).value() == 11039093);
  CHECK(choose_vni(id("0"), {}, {}).value() == 7224495);
}

TEST_CASE("numbers in use are passed over, round the end too") {
  const auto first = choose_vni(kSome, {}, {}).value();
  CHECK(choose_vni(kSome, {}, {first}).value() == first + 1);
  CHECK(choose_vni(kSome, {}, {first, first + 1, first + 3}).value() == first + 2);
  std::set<std::uint32_t> rest;
  for (auto vni = first; vni <= model::kMaxVni; ++vni) rest.insert(rest.end(), vni);
  CHECK(choose_vni(kSome, {}, rest).value() == engine::kFirstVni);
}

TEST_CASE("many ids, few clashes, all in range") {
  std::set<std::uint32_t> seen;
  for (int n = 0; n < 2000; ++n) {
    const auto vni = choose_vni(id("net" + std::to_string(n)), {}, {}).value();
    CHECK(vni >= engine::kFirstVni);
    CHECK(vni <= model::kMaxVni);
    seen.insert(vni);
  }
  CHECK(seen.size() > 1990);  // of 16.7 million numbers: 0.1 clashes are expected
}
