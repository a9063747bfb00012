#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "contract/store_samples.h"
#include "store/json.h"
#include "store/schema.h"

using namespace microseg;
using namespace microseg::test;
using store::to_text;
using Json = nlohmann::json;

TEST_CASE("rows come back as they were") {
  for (const auto& network : {full_network("aa"), plain_network("bb")}) {
    const auto text = to_text(network).value();
    CAPTURE(text);
    CHECK(store::network_from_text(text).value() == network);
    CHECK(to_text(store::network_from_text(text).value()).value() == text);
  }
  for (const auto& endpoint : {full_endpoint("e1", "aa"), plain_endpoint("e2", "bb")}) {
    const auto text = to_text(endpoint).value();
    CAPTURE(text);
    CHECK(store::endpoint_from_text(text).value() == endpoint);
  }
  const model::AppliedPolicy policy{18446744073709551615U, "allow a -> b", -1};
  CHECK(store::policy_from_text(to_text(policy).value()).value() == policy);
}

TEST_CASE("every value of every enum comes back") {
  using model::IdentitySource;
  auto endpoint = full_endpoint("e1", "aa");
  for (auto source : {IdentitySource::endpoint_option, IdentitySource::container_label, IdentitySource::swarm_label,
                      IdentitySource::compose_label, IdentitySource::container_name}) {
    endpoint.identity->source = source;
    CHECK(store::endpoint_from_text(to_text(endpoint).value()).value() == endpoint);
  }
  using Op = policy::Term::Op;
  auto network = full_network("aa");
  for (auto op : {Op::equals, Op::differs, Op::present, Op::absent}) {
    network.blocks = {{{1, {{}, {policy::Selector{{{op, "k", "v"}}}}}}, {}}};
    CHECK(store::network_from_text(to_text(network).value()).value() == network);
  }
}

TEST_CASE("whatever policy a person writes can be read back") {
  for (const char* text : {"allow {tier=backend, stage!=test} -> any", "allow {!b, a, c=1} -> {a!=x, a=y, !a}",
                           "allow web -> api : 80; deny {k=2, k=1} -> db"}) {
    CAPTURE(text);
    auto network = full_network("aa");
    network.blocks = {{{1, policy::alphabet_of(policy::parse(text, "option microseg.policy").value())}, {}}};
    CHECK(store::network_from_text(to_text(network).value()).value() == network);
  }
}

TEST_CASE("the file format stays what it is") {
  // Databases in the field hold exactly this. A row here may gain a line beside it, and is never edited.
  CHECK(to_text(full_endpoint("e1", "aa")).value() ==
        R"({"created_ms":1690000000001,"id":"e1","identity":{"container_id":")" + std::string(64, 'a') +
            R"(","container_name":"web_1","identity":{"labels":{"tier":"front"},"service":"web"},)"
            R"("source":"container_name"},"joined_ms":-5,"mac":"02:42:0a:05:00:02","network":"aa",)"
            R"("options":{"microseg.service":"web"},"phase":"joined","quarantined":"",)"
            R"("sandbox":"/var/run/docker/netns/1a2b3c","v4":"10.5.0.2/24","v6":"fd00:5::2/64"})");
  auto endpoint = full_endpoint("e1", "aa");
  endpoint.published = {{kTcp, 80, 8080}};
  endpoint.resolvers = {Ip::parse("192.0.2.53").value()};
  endpoint.gateway4 = Ip::parse("172.18.0.2").value();
  endpoint.gateway_mac = Mac::local(2);
  const auto written = to_text(endpoint).value();
  CHECK(written.find(R"("gateway4":"172.18.0.2","gateway_mac":"02:6d:00:00:00:02")") != std::string::npos);
  CHECK(written.find(R"("published":[{"host_port":8080,"port":80,"protocol":6}])") != std::string::npos);
  CHECK(written.find(R"("resolvers":["192.0.2.53"])") != std::string::npos);
  CHECK(store::endpoint_from_text(written).value() == endpoint);
  CHECK(store::row_sum("network", "aa", "{}") == 8852635296544684671);  // the sum of every stored row hangs on it
}

TEST_CASE("fields that an older microseg did not write take their defaults") {
  const auto network = store::network_from_text(
      R"({"id":"aa","options":{},"settings":{},"subnets":[{"pool":"10.0.0.0/8"}],"blocks":[]})");
  REQUIRE_MESSAGE(network, network.error().text);
  auto want = plain_network("aa");
  want.subnets = {{prefix("10.0.0.0/8"), {}}};
  CHECK(network.value() == want);
  CHECK(!network.value().settings.mtu);
}

TEST_CASE("rows that could be misread are refused") {
  struct {
    const char* pointer;  // what is replaced in a full network; null: removed
    const char* value;
    const char* message;
  } rows[] = {
      {"/id", nullptr, "id: is missing"},
      {"/id", "7", "id: expected text"},
      {"/id", R"("not an id")", "id: not a Docker id: 'not an id'"},
      {"/options", "[]", "options: expected an object"},
      {"/options/a", "1", "options.a: expected text"},
      {"/internal", "1", "internal: expected true or false"},
      {"/internal", "null", "internal: expected true or false"},
      {"/name", "null", "name: expected text"},
      {"/labels", "null", "labels: expected an object"},
      {"/settings", nullptr, "settings: is missing"},
      {"/settings/mode", R"("off")", "settings.mode: expected one of enforce, monitor"},
      {"/settings/mtu", "65536", "settings.mtu: expected a whole number from 0 to 65535"},
      {"/settings/mtu", "-1", "settings.mtu: expected a whole number from 0 to 65535"},
      {"/settings/mtu", "1500.0", "settings.mtu: expected a whole number from 0 to 65535"},
      {"/settings/deny_more", "true", "unknown field 'settings.deny_more': a newer microseg wrote it"},
      {"/encrypted", "true", "unknown field 'encrypted': a newer microseg wrote it"},
      {"/subnets/0/pool", R"("10.0.0.0/33")", "subnets[0].pool: "},
      {"/subnets/1", R"("x")", "subnets[1]: expected an object"},
      {"/subnets", "{}", "subnets: expected a list"},
      {"/applied/version", "-1", "applied.version: expected a whole number"},
      {"/created_ms", "9223372036854775808", "created_ms: expected a whole number"},
      {"/blocks/0/numbering/base", "0", "blocks[0]: class numbers are outside 1..65535"},
      {"/blocks/0/numbering/base", "65536", "blocks[0]: class numbers are outside 1..65535"},
      {"/blocks/0/numbering/base", "65534", "blocks[0]: class numbers are outside 1..65535"},
      {"/blocks/0/numbering/alphabet/names", R"(["web","api"])", "blocks[0]: names, selectors and terms are not sort"},
      {"/blocks/0/numbering/alphabet/names", R"(["api","api"])", "blocks[0]: names, selectors and terms are not sort"},
      {"/blocks/1/numbering/alphabet/selectors/0/terms/0/op", R"("like")",
       "blocks[1].numbering.alphabet.selectors[0].terms[0].op: expected one of equals, differs, present, absent"},
  };
  const auto whole = Json::parse(to_text(full_network("aa")).value());
  for (const auto& row : rows) {
    CAPTURE(row.pointer);
    auto json = whole;
    const Json::json_pointer at(row.pointer);
    if (row.value)
      json[at] = Json::parse(row.value);
    else
      json.erase(row.pointer + 1);
    const auto network = store::network_from_text(json.dump());
    REQUIRE_FALSE(network);
    CHECK(network.error().code == Errc::invalid);
    CHECK_MESSAGE(network.error().text.find(row.message) == 0, network.error().text);
  }
}

TEST_CASE("text that is no row is refused") {
  for (const char* text : {"", "{", "nul", "[]", "7", "\"text\"", "{\"id\":\"aa\"} x", "\xff\xfe"}) {
    CAPTURE(text);
    CHECK_FALSE(store::network_from_text(text));
    CHECK_FALSE(store::endpoint_from_text(text));
    CHECK_FALSE(store::policy_from_text(text));
  }
  const std::string deep(200000, '[');
  CHECK_FALSE(store::network_from_text(deep));
  CHECK_FALSE(store::network_from_text(deep + std::string(200000, ']')));
}

TEST_CASE("a check sum changes with any byte of table, key and body") {
  const auto sum = store::row_sum("network", "aa", "body");
  CHECK(store::row_sum("endpoint", "aa", "body") != sum);
  CHECK(store::row_sum("network", "ab", "body") != sum);
  CHECK(store::row_sum("network", "aa", "bodz") != sum);
  CHECK(store::row_sum("network", "aab", "ody") != sum);
}
