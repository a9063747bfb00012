// Whose address is it on Docker's gateway bridge, and when nobody's may pass.
#include <doctest/doctest.h>

#include "engine/gateways.h"

using namespace microseg;
using engine::Gateways;

namespace {

constexpr std::int64_t kNow = 1'000'000;

Ip ip(const char* text) { return Ip::parse(text).value(); }

docker::GatewayBridge listing(std::initializer_list<std::pair<const char*, const char*>> rows) {
  docker::GatewayBridge out;
  out.link = "docker_gwbridge";
  for (auto& [sandbox, address] : rows) out.sandboxes[sandbox].v4 = ip(address);
  return out;
}

}  // namespace

TEST_CASE("from Join until the address is listed, unknown addresses are held") {
  Gateways g;
  CHECK_FALSE(g.holding());
  g.follow({"aaa"}, kNow);
  CHECK(g.holding());
  g.take(listing({{"zzz", "172.18.0.2"}}), 1);
  CHECK(g.holding());
  CHECK(g.foreign() == std::set<Ip>{ip("172.18.0.2")});
  g.take(listing({{"zzz", "172.18.0.2"}, {"aaa", "172.18.0.3"}}), 2);
  CHECK_FALSE(g.holding());
  CHECK(g.ours().at("aaa").v4 == ip("172.18.0.3"));
  CHECK_FALSE(g.urgent(kNow));
}

TEST_CASE("a listing asked for earlier does not undo a later one") {
  Gateways g;
  g.follow({"aaa"}, kNow);
  const std::int64_t early = 1, late = 2;
  g.take(listing({{"aaa", "172.18.0.3"}}), late);
  g.take(listing({{"aaa", "172.18.0.2"}, {"zzz", "172.18.0.3"}}), early);
  CHECK(g.ours().at("aaa").v4 == ip("172.18.0.3"));
  CHECK(g.foreign().empty());
}

TEST_CASE("an address is never handed on: not from us to others, not from others to us") {
  Gateways g;
  g.follow({"aaa"}, kNow);
  g.take(listing({{"aaa", "172.18.0.2"}, {"zzz", "172.18.0.3"}}), 3);
  g.follow({"aaa", "bbb"}, kNow);
  g.doubt(4);  // zzz may be gone, and its address bbb's
  CHECK(g.foreign().empty());
  CHECK(g.holding());
  g.follow({"bbb"}, kNow);
  CHECK_FALSE(g.ours().contains("aaa"));
  g.take(listing({{"zzz", "172.18.0.2"}, {"bbb", "172.18.0.3"}}), 5);
  CHECK(g.foreign() == std::set<Ip>{ip("172.18.0.2")});
  CHECK(g.ours().at("bbb").v4 == ip("172.18.0.3"));
}

TEST_CASE("one of ours that is not listed keeps its address until it left, or until it is another's") {
  Gateways g;
  g.follow({"aaa"}, kNow);
  g.take(listing({{"aaa", "172.18.0.2"}}), 5);
  g.take(listing({}), 6);
  CHECK(g.ours().contains("aaa"));
  CHECK_FALSE(g.holding());
  g.take(listing({{"zzz", "172.18.0.2"}}), 7);
  CHECK_FALSE(g.ours().contains("aaa"));
  CHECK(g.holding());
  CHECK(g.foreign().contains(ip("172.18.0.2")));
}

TEST_CASE("one with another way out is waited for no longer, but held for") {
  Gateways g;
  g.follow({"aaa"}, kNow);
  g.take(listing({{"zzz", "172.18.0.2"}}), 8);
  CHECK(g.urgent(kNow + 4'000));
  CHECK_FALSE(g.urgent(kNow + 5'000));
  CHECK(g.holding());
  g.take(listing({{"aaa", "172.18.0.3"}}), 9);
  CHECK_FALSE(g.holding());
}

TEST_CASE("doubt without holding changes nothing: nobody else is looked at then") {
  Gateways g;
  g.take(listing({{"zzz", "172.18.0.2"}}), 10);
  g.doubt(11);
  CHECK(g.foreign() == std::set<Ip>{ip("172.18.0.2")});
}

TEST_CASE("a listing that was asked for before the doubt does not end it, nor does who joins after it") {
  Gateways g;
  g.take(listing({{"zzz", "172.18.0.2"}}), 10);
  SUBCASE("while holding") {
    g.follow({"aaa"}, kNow);
    g.doubt(12);
  }
  SUBCASE("before") {
    g.doubt(12);
    g.follow({"aaa"}, kNow);
  }
  CHECK(g.foreign().empty());
  g.take(listing({{"zzz", "172.18.0.2"}}), 11);
  CHECK(g.foreign().empty());
  g.take(listing({{"yyy", "172.18.0.5"}}), 13);
  CHECK(g.foreign() == std::set<Ip>{ip("172.18.0.5")});
}

TEST_CASE("a restarted daemon goes on with what it knew") {
  Gateways g;
  g.restore("aaa", {ip("172.18.0.2"), {}, {}});
  g.restore_foreign({ip("172.18.0.3")});
  CHECK_FALSE(g.holding());
  CHECK(g.foreign().contains(ip("172.18.0.3")));
  g.restore("bbb", {});
  CHECK(g.holding());
  CHECK_FALSE(g.urgent(kNow * 100));
}

TEST_CASE("an address that we left is allowed nothing until Docker has taken it back") {
  Gateways g;
  g.follow({"aaa", "bbb"}, kNow);
  g.take(listing({{"aaa", "172.18.0.2"}, {"bbb", "172.18.0.3"}}), 1);
  g.follow({"bbb"}, kNow);
  REQUIRE(g.parting().size() == 1);
  CHECK(g.parting()[0].v4 == ip("172.18.0.2"));
  CHECK_FALSE(g.holding());
  // Still listed: on its way out, and nobody's else.
  g.take(listing({{"aaa", "172.18.0.2"}, {"bbb", "172.18.0.3"}}), 2);
  CHECK(g.parting().size() == 1);
  CHECK_FALSE(g.foreign().contains(ip("172.18.0.2")));
  g.take(listing({{"zzz", "172.18.0.2"}, {"bbb", "172.18.0.3"}}), 3);
  CHECK(g.parting().empty());
  CHECK(g.foreign().contains(ip("172.18.0.2")));
  // Disconnected, but living on: somebody else's container after a while.
  g.follow({}, kNow);
  g.take(listing({{"bbb", "172.18.0.3"}}), 4);
  CHECK(g.parting().size() == 1);
  g.take(listing({{"bbb", "172.18.0.3"}}), 4 + 2'000'000'000);
  CHECK(g.parting().empty());
  CHECK(g.foreign().contains(ip("172.18.0.3")));
  // Ours again.
  g.follow({"bbb"}, kNow);
  CHECK(g.parting().empty());
}

TEST_CASE("the sandbox's name is the end of its key") {
  CHECK(engine::sandbox_name("/var/run/docker/netns/47347166ebf0") == "47347166ebf0");
  CHECK(engine::sandbox_name("47347166ebf0") == "47347166ebf0");
  CHECK(engine::sandbox_name("") == "");
}
