// A network's driver options and labels: what is read, and the words in which the rest is refused.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include "microseg/model/network.h"

using namespace microseg;
using namespace microseg::model;

namespace {

const char* const kPrefix = "com.docker.network.container_iface_prefix";
const char* const kMtu = "com.docker.network.driver.mtu";

std::string text(const Settings& s) {
  return fmt::format("{} {}{} vni={} mtu={} prefix={} policy={}{}", s.mode == Mode::enforce ? "enforce" : "monitor",
                     s.refusal == Refusal::reject ? "reject" : "drop",
                     s.publish == Publish::explicitly ? " explicit" : "", s.vni ? std::to_string(*s.vni) : "-", s.mtu ? std::to_string(*s.mtu) : "-",
                     s.interface_prefix, s.policy,
                     s.spans_hosts() ? " encoding=" + std::to_string(*s.encoding) : "");
}

}  // namespace

TEST_CASE("the MTU of a network's links") {
  struct {
    const char* title;
    Options options;
    const char* self;
    int mtu;
  } rows[] = {
      {"of one host", {}, "", 1500},
      {"as given", {{kMtu, "9000"}}, "", 9000},
      {"over IPv4", {{"microseg.encoding", "1"}, {"microseg.vni", "7"}}, "192.0.2.1", 1450},
      {"over IPv6", {{"microseg.encoding", "1"}, {"microseg.vni", "7"}}, "2001:db8::1", 1430},
      {"over what is not known yet", {{"microseg.encoding", "1"}, {"microseg.vni", "7"}}, "", 1450},
      {"as given, over IPv6", {{"microseg.encoding", "1"}, {"microseg.vni", "7"}, {kMtu, "8930"}}, "2001:db8::1", 8930},
  };
  for (auto& row : rows) {
    CAPTURE(row.title);
    Network network{.id = NetworkId::parse("aa").value(), .options = {}, .settings = {}, .subnets = {}, .name = {}, .labels = {},
                    .applied = {}, .blocks = {}};
    network.settings = parse_settings(row.options).value();
    if (*row.self) network.underlay.self = Ip::parse(row.self).value();
    CHECK(mtu_of(network) == row.mtu);
  }
}

TEST_CASE("settings out of driver options") {
  struct {
    const char* title;
    Options options;
    const char* settings;
  } rows[] = {
      {"none", {}, "enforce reject vni=- mtu=- prefix=eth policy="},
      {"all",
       {{"microseg.mode", "monitor"},
        {"microseg.deny", "drop"},
        {"microseg.vni", "16777215"},
        {"microseg.publish", "explicit"},
        {"microseg.policy", "allow a -> b"},
        {kMtu, "9000"},
        {kPrefix, "net"}},
       "monitor drop explicit vni=16777215 mtu=9000 prefix=net policy=allow a -> b"},
      {"the defaults, said",
       {{"microseg.mode", "enforce"}, {"microseg.deny", "reject"}, {"microseg.publish", "implicit"}, {"microseg.vni", "1"}},
       "enforce reject vni=1 mtu=- prefix=eth policy="},
      {"keys in any case",
       {{"MicroSeg.Mode", "monitor"}, {"MICROSEG.POLICY.Web", "allow A -> b"}},
       "monitor reject vni=- mtu=- prefix=eth policy=allow A -> b"},
      {"policies in key order, one per line",
       {{"microseg.policy.b", "allow b -> b # all of b"},
        {"microseg.policy", "allow c -> c;"},
        {"microseg.policy.A", "allow a -> a"}},
       "enforce reject vni=- mtu=- prefix=eth policy=allow c -> c;\nallow a -> a\nallow b -> b # all of b"},
      {"an empty policy",
       {{"microseg.policy", " # nothing yet"}, {"microseg.policy.x", "allow a -> b"}},
       "enforce reject vni=- mtu=- prefix=eth policy=allow a -> b"},
      {"the limits of an MTU and a prefix",
       {{kMtu, "1280"}, {kPrefix, "abcdefghijklm"}},
       "enforce reject vni=- mtu=1280 prefix=abcdefghijklm policy="},
      {"what AllocateNetwork adds", {{"microseg.vni", "4242"}, {"microseg.encoding", "1"}},
       "enforce reject vni=4242 mtu=- prefix=eth policy= encoding=1"},
      {"an MTU of its own across hosts", {{"MICROSEG.Encoding", "65535"}, {kMtu, "8950"}},
       "enforce reject vni=- mtu=8950 prefix=eth policy= encoding=65535"},
      {"what is not ours is left alone",
       {{"com.docker.network.bridge.name", "x"}, {"microsegment", "y"}, {"other.microseg.mode", "z"}, {"", ""}},
       "enforce reject vni=- mtu=- prefix=eth policy="},
  };
  for (auto& row : rows) {
    CAPTURE(row.title);
    auto settings = parse_settings(row.options);
    CHECK((settings ? text(settings.value()) : settings.error().text) == std::string(row.settings));
  }
}

TEST_CASE("options that are refused") {
  const std::string names(300, 'x');
  struct {
    Options options;
    std::string error;
  } rows[] = {
      {{{"microseg.polcy", "allow a -> b"}}, "unknown option 'microseg.polcy': did you mean 'microseg.policy'?"},
      {{{"microseg.policies", ""}}, "unknown option 'microseg.policies': did you mean 'microseg.policy'?"},
      {{{"microseg.policy.", ""}}, "unknown option 'microseg.policy.': did you mean 'microseg.policy'?"},
      {{{"Microseg.Moed", "monitor"}}, "unknown option 'microseg.moed': did you mean 'microseg.mode'?"},
      {{{"microseg.vlan", "5"}}, "unknown option 'microseg.vlan': did you mean 'microseg.vni'?"},
      {{{"microseg.", ""}}, "unknown option 'microseg.': did you mean 'microseg.vni'?"},
      {{{"microseg.service", "db"}}, "unknown option 'microseg.service': did you mean 'microseg.policy'?"},
      {{{"microseg." + names, ""}},
       "unknown option 'microseg." + names.substr(0, 71) + "...': did you mean 'microseg.policy'?"},
      {{{"microseg.\x01\xff", ""}}, "unknown option 'microseg.\\x01\\xff': did you mean 'microseg.vni'?"},
      {{{"microseg.mode", "Monitor"}}, "option microseg.mode: expected 'enforce' or 'monitor', found 'Monitor'"},
      {{{"microseg.mode", ""}}, "option microseg.mode: expected 'enforce' or 'monitor', found ''"},
      {{{"microseg.deny", "refuse\n"}}, "option microseg.deny: expected 'reject' or 'drop', found 'refuse\\x0a'"},
      {{{"microseg.vni", "0"}}, "option microseg.vni: expected a number from 1 to 16777215, found '0'"},
      {{{"microseg.vni", "16777216"}}, "option microseg.vni: expected a number from 1 to 16777215, found '16777216'"},
      {{{"microseg.vni", "99999999999"}},
       "option microseg.vni: expected a number from 1 to 16777215, found '99999999999'"},
      {{{"microseg.encoding", "0"}}, "option microseg.encoding: expected a number from 1 to 65535, found '0'"},
      {{{"microseg.encoding", "one"}}, "option microseg.encoding: expected a number from 1 to 65535, found 'one'"},
      {{{"microseg.vni", "-1"}}, "option microseg.vni: expected a number from 1 to 16777215, found '-1'"},
      {{{"microseg.vni", "0x10"}}, "option microseg.vni: expected a number from 1 to 16777215, found '0x10'"},
      {{{"microseg.vni", " 5"}}, "option microseg.vni: expected a number from 1 to 16777215, found ' 5'"},
      {{{kMtu, "1279"}}, "option com.docker.network.driver.mtu: expected a number from 1280 to 65535, found '1279'"},
      {{{kMtu, "1500 "}}, "option com.docker.network.driver.mtu: expected a number from 1280 to 65535, found '1500 '"},
      {{{kMtu, ""}}, "option com.docker.network.driver.mtu: expected a number from 1280 to 65535, found ''"},
      {{{kPrefix, ""}},
       "option com.docker.network.container_iface_prefix: expected 1 to 13 characters of an interface's name, found "
       "''"},
      {{{kPrefix, "abcdefghijklmn"}},
       "option com.docker.network.container_iface_prefix: expected 1 to 13 characters of an interface's name, found "
       "'abcdefghijklmn'"},
      {{{kPrefix, "a/b"}},
       "option com.docker.network.container_iface_prefix: expected 1 to 13 characters of an interface's name, found "
       "'a/b'"},
      {{{"microseg.mode", "enforce"}, {"microseg.Mode", "monitor"}},
       "option 'microseg.mode' is given twice, in different case"},
      {{{"microseg.policy", "allow a b"}},
       "option microseg.policy, line 1, column 9: expected '->' after the first peer, found 'b'"},
      {{{"microseg.policy", "allow a -> b"}, {"microseg.policy.X", "\nallow a -> b : 0"}},
       "option microseg.policy.x, line 2, column 16: expected a port from 1 to 65535, found '0'"},
      {{{"microseg.policy", "allow world -> host"}},
       "option microseg.policy, line 1, column 16: 'world' -> 'host' has no endpoint of the network: one of the two must be "
       "a service's name, 'any' or '{label, ...}'"},
      {{{"microseg.publish", "yes"}}, "option microseg.publish: expected 'implicit' or 'explicit', found 'yes'"},
      {{{"microseg.publsh", "explicit"}}, "unknown option 'microseg.publsh': did you mean 'microseg.publish'?"},
  };
  for (auto& row : rows) {
    auto settings = parse_settings(row.options);
    REQUIRE(!settings);
    CHECK(settings.error().code == Errc::invalid);
    CHECK(settings.error().text == row.error);
  }
}

TEST_CASE("policies that are right one by one must fit together") {
  Options many, long_, dense;
  for (int i = 0; i < 16; ++i) many[fmt::format("microseg.policy.{:02}", i)] = fmt::format("allow {{l{}}} -> any", i);
  CHECK(parse_settings(many).error().text ==
        "policy needs (0 names + 1) * 2^16 selectors = 65536 classes, at most 65535 fit: use fewer label selectors");
  many.erase("microseg.policy.15");
  CHECK(parse_settings(many));

  long_["microseg.policy.1"] = long_["microseg.policy.2"] = "allow a -> b #" + std::string(40000, 'x');
  CHECK(parse_settings(long_).error().text ==
        "options microseg.policy and microseg.policy.*, taken together: 80029 bytes of policy, at most 65536 fit");

  for (int i = 0; i < 15; ++i)
    dense[fmt::format("microseg.policy.{}", i)] = fmt::format("allow {{l{0}}} -> {{l{0}}} : {1}", i, i + 1);
  CHECK(parse_settings(dense));  // many classes, of which few have endpoints: only those cost anything
}

TEST_CASE("policy in a network's labels") {
  struct {
    const char* title;
    policy::Labels labels;
    const char* text;
  } rows[] = {
      {"none", {}, ""},
      {"one", {{"microseg.policy", "allow a -> b"}}, "allow a -> b"},
      {"in key order, one per line",
       {{"microseg.policy.2", "allow c -> d"},
        {"microseg.policy", "allow a -> b"},
        {"microseg.policy.10", "deny x -> y"}},
       "allow a -> b\ndeny x -> y\nallow c -> d"},
      {"two that differ in case both count",
       {{"Microseg.Policy", "deny x -> y"}, {"microseg.policy", "allow a -> b"}},
       "deny x -> y\nallow a -> b"},
      {"others are left alone",
       {{"microseg.mode", "monitor"}, {"microseg.policyx", "allow a -> b"}, {"microseg.policy.", "x"}, {"policy", "y"}},
       ""},
      {"also when it is wrong: who parses it says so", {{"microseg.policy", "alow a -> b"}}, "alow a -> b"},
  };
  for (auto& row : rows) {
    CAPTURE(row.title);
    CHECK(policy_in_labels(row.labels) == std::string(row.text));
  }
}

TEST_CASE("the VNI in options, whatever else they say") {
  struct {
    Options options;
    std::optional<std::uint32_t> vni;
  } rows[] = {{{}, {}},
              {{{"microseg.vni", "4242"}, {"microseg.from-the-future", "x"}}, 4242},
              {{{"Microseg.VNI", "16777215"}}, 16777215},
              {{{"microseg.vni", "16777216"}}, {}},
              {{{"microseg.vni", "x"}}, {}},
              {{{"vni", "7"}}, {}}};
  for (auto& row : rows) CHECK(vni_in(row.options) == row.vni);
}
