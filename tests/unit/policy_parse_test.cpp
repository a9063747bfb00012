// The policy language: what is read, how it is printed, what is refused and in which words.
#include <doctest/doctest.h>

#include <string>

#include "microseg/policy/policy.h"

using namespace microseg;
using namespace microseg::policy;

namespace {

std::string canonical(const std::string& text) {
  auto parsed = parse(text, "test");
  return parsed ? print(parsed.value()) : parsed.error().text;
}

std::string repeated(const std::string& part, std::size_t times) {
  std::string out;
  while (times-- > 0) out += part;
  return out;
}

}  // namespace

TEST_CASE("source text and its canonical form") {
  struct {
    const char *title, *text, *printed;
  } rows[] = {
      {"nothing", "", ""},
      {"blanks and comments", " \t\r\n# all of this\n;;\n", ""},
      {"one statement", "allow web -> api", "allow web -> api\n"},
      {"no blanks are needed", "allow web->api:80,53/udp", "allow web -> api : 80, 53/udp\n"},
      {"a name may end in a dash", "allow web--->-api-",
       "test, line 1, column 14: expected a peer: a service's name, "
       "'any', '{label, ...}', 'world', 'host' or a CIDR after '->', found '-api-': a name that "
       "does not begin with a letter or digit is written in double "
       "quotes"},
      {"... and goes on up to the arrow", "allow web-->api", "allow web- -> api\n"},
      {"separated by ;", "allow a -> b; deny c -> d;", "allow a -> b\ndeny c -> d\n"},
      {"separated by lines of any system", "allow a -> b\r\ndeny c -> d\n", "allow a -> b\ndeny c -> d\n"},
      {"a comment ends with the line", "allow a -> b # ; allow x -> y\nallow c -> d", "allow a -> b\nallow c -> d\n"},
      {"names of compose, Swarm and containers", "allow a_b.c-1 -> 0x2", "allow a_b.c-1 -> 0x2\n"},
      {"verbs are names elsewhere", "allow allow -> deny", "allow allow -> deny\n"},
      {"reserved words as names", "allow \"any\" -> \"host\"; deny \"world\" -> any",
       "allow \"any\" -> \"host\"\ndeny \"world\" -> any\n"},
      {"names that need quotes", "allow \"_a\" -> \"-b\"; allow \"10.0.0.1\" -> \"c\"",
       "allow \"_a\" -> \"-b\"\nallow \"10.0.0.1\" -> c\n"},
      {"names are case-sensitive", "allow Any -> WEB", "allow Any -> WEB\n"},
      {"ports are sorted and unique", "allow a -> b : 90, 80, 90/tcp, 53/udp, 5000/sctp, icmp, 1-65535/udp",
       "allow a -> b : icmp, 80, 90, 1-65535/udp, 53/udp, 5000/sctp\n"},
      {"a range of one port", "allow a -> b : 80-80", "allow a -> b : 80\n"},
      {"selectors are sorted and unique", "allow {tier=web, !b, a, tier=web} -> {stage!=test}",
       "allow {a, !b, tier=web} -> {stage!=test}\n"},
      {"keys as Docker has them", "allow {com.docker.compose.project/x=shop_1} -> any",
       "allow {com.docker.compose.project/x=shop_1} -> any\n"},
      {"quoted keys and values", "allow {\"a b\"=\"x, y}\", c=\"\"} -> {d!=\"say \\\"hi\\\" \\\\\"}",
       "allow {\"a b\"=\"x, y}\", c=\"\"} -> {d!=\"say \\\"hi\\\" \\\\\"}\n"},
      {"quotes that are not needed", "allow {\"a\"=\"b\"} -> any", "allow {a=b} -> any\n"},
      {"values in any language", "allow {team=\"zażółć 東京\"} -> any", "allow {team=\"zażółć 東京\"} -> any\n"},
      {"peers beyond the network", "allow api->world:443;deny host -> {a};allow any->192.0.2.1/24:icmp",
       "allow api -> world : 443\ndeny host -> {a}\nallow any -> 192.0.2.0/24 : icmp\n"},
      {"IPv6 and colons", "allow ::/0->ops;allow ops->2001:DB8::1/32:22; allow ops -> ::ffff:10.0.0.0/104 : 1",
       "allow ::/0 -> ops\nallow ops -> 2001:db8::/32 : 22\nallow ops -> ::ffff:10.0.0.0/104 : 1\n"},
      {"exceptions are sorted and unique",
       "allow a -> 10.0.0.0/8 except 10.2.0.1/16,10.1.0.0/16 , 10.2.0.0/16 : 80; deny ::/0 except ::/128->a",
       "allow a -> 10.0.0.0/8 except 10.1.0.0/16, 10.2.0.0/16 : 80\ndeny ::/0 except ::/128 -> a\n"},
      {"'except' is a name elsewhere", "allow except -> except", "allow except -> except\n"},
      {"a selector without blanks", "allow {a=b,c!=d,!e}->{f}:1", "allow {a=b, c!=d, !e} -> {f} : 1\n"},
  };
  for (auto& row : rows) {
    CAPTURE(row.title);
    CHECK(canonical(row.text) == std::string(row.printed));
    if (auto parsed = parse(row.text, "test")) CHECK(canonical(print(parsed.value())) == std::string(row.printed));
  }
}

TEST_CASE("a text that can not be read says where, what was expected and what was found") {
  const std::string peer = "a peer: a service's name, 'any', '{label, ...}', 'world', 'host' or a CIDR after ";
  const std::string item = "expected a port, a range of ports or 'icmp', found ";
  struct {
    std::string text, error;
  } rows[] = {
      {"web -> api", "line 1, column 1: expected 'allow' or 'deny', found 'web'"},
      {"Allow web -> api", "line 1, column 1: expected 'allow' or 'deny', found 'Allow'"},
      {"-> api", "line 1, column 1: expected 'allow' or 'deny', found '->'"},
      {"allow", "line 1, column 6: expected " + peer + "'allow', found the end of the text"},
      {"allow\nweb -> api", "line 1, column 6: expected " + peer + "'allow', found the end of the line"},
      {"deny ; allow a -> b", "line 1, column 6: expected " + peer + "'deny', found ';'"},
      {"allow a -> b\n  allow web api", "line 2, column 13: expected '->' after the first peer, found 'api'"},
      {"allow web", "line 1, column 10: expected '->' after the first peer, found the end of the text"},
      {"allow web => api", "line 1, column 11: expected '->' after the first peer, found '='"},
      {"allow web → api", "line 1, column 11: expected '->' after the first peer, found '→'"},
      {"allow web, api -> db", "line 1, column 10: expected '->' after the first peer, found ','"},
      {"allow web ->", "line 1, column 13: expected " + peer + "'->', found the end of the text"},
      {"allow web -> : 80", "line 1, column 14: expected " + peer + "'->', found ':'"},
      {"allow web -> a/b", "line 1, column 14: expected " + peer + "'->', found 'a/b'"},
      {"allow web -> 10.0.0.1", "line 1, column 14: expected " + peer +
                                    "'->', found the address '10.0.0.1': one address is written 10.0.0.1/32; a "
                                    "service that is called so is written in double quotes"},
      {"allow web -> 10.0.0.0/33", "line 1, column 14: expected " + peer + "'->', found '10.0.0.0/33'"},
      {"allow web -> _x", "line 1, column 14: expected " + peer +
                              "'->', found '_x': a name that does not begin with a letter or digit is "
                              "written in double quotes"},
      {"allow web -> " + repeated("x", 256),
       "line 1, column 14: expected " + peer + "'->', found '" + repeated("x", 40) + "...'"},
      {"allow \"a b\" -> c",
       "line 1, column 7: expected a service's name of 1 to 255 letters, digits, '_', '.' and '-' in quotes, found "
       "'\"a "
       "b\"'"},
      {"allow \"\" -> c",
       "line 1, column 7: expected a service's name of 1 to 255 letters, digits, '_', '.' and '-' in quotes, found "
       "'\"\"'"},
      {"allow a -> b 80",
       "line 1, column 14: expected ':' or the end of the statement after the second peer, found '80'"},
      {"allow a -> b allow c -> d",
       "line 1, column 14: expected ':' or the end of the statement after the second peer, found 'allow'"},
      {"allow a -> b :", "line 1, column 15: " + item + "the end of the text"},
      {"allow a -> b : 80,, 81", "line 1, column 19: " + item + "','"},
      {"allow a -> b : 80,\n81", "line 1, column 19: " + item + "the end of the line"},
      {"allow a -> b : http", "line 1, column 16: " + item + "'http'"},
      {"allow a -> b : 80-", "line 1, column 16: " + item + "'80-'"},
      {"allow a -> b : -80", "line 1, column 16: " + item + "'-80'"},
      {"allow a -> b : 80-81-82", "line 1, column 16: " + item + "'80-81-82'"},
      {"allow a -> b : 80 81", "line 1, column 19: expected ',' or the end of the statement, found '81'"},
      {"allow a -> b : 80 - 90", "line 1, column 19: expected ',' or the end of the statement, found '-'"},
      {"allow a -> b : 0", "line 1, column 16: expected a port from 1 to 65535, found '0'"},
      {"allow a -> b : 80, 65536", "line 1, column 20: expected a port from 1 to 65535, found '65536'"},
      {"allow a -> b : 99999999999", "line 1, column 16: expected a port from 1 to 65535, found '99999999999'"},
      {"allow a -> b : 8100-8000", "line 1, column 16: range 8100-8000 is reversed: write 8000-8100"},
      {"allow a -> b : 80/", "line 1, column 16: expected '/tcp', '/udp' or '/sctp' after a port, found '/'"},
      {"allow a -> b : 80/TCP", "line 1, column 16: expected '/tcp', '/udp' or '/sctp' after a port, found '/TCP'"},
      {"allow a -> b : 80/tcp/udp",
       "line 1, column 16: expected '/tcp', '/udp' or '/sctp' after a port, found '/tcp/udp'"},
      {"allow a -> b : 8/icmp", "line 1, column 16: icmp has no ports: write 'icmp' instead of '8/icmp'"},
      {"allow a -> b : icmp/8", "line 1, column 16: icmp has no ports: write 'icmp' instead of 'icmp/8'"},
      {"allow a -> b : icmp-8", "line 1, column 16: icmp has no ports: write 'icmp' instead of 'icmp-8'"},
      {"allow {} -> b", "line 1, column 8: expected a label's key, found '}'"},
      {"allow {a,} -> b", "line 1, column 10: expected a label's key, found '}'"},
      {"allow {=a} -> b", "line 1, column 8: expected a label's key, found '='"},
      {"allow {a=} -> b", "line 1, column 10: expected a label's value after '=', found '}'"},
      {"allow {a!=,b} -> b", "line 1, column 11: expected a label's value after '!=', found ','"},
      {"allow {a==b} -> b", "line 1, column 10: expected a label's value after '=', found '='"},
      {"allow {!} -> b", "line 1, column 9: expected a label's key after '!', found '}'"},
      {"allow {!a=b} -> b", "line 1, column 10: expected ',' or '}', found '='"},
      {"allow {a b} -> b", "line 1, column 10: expected '=', '!=', ',' or '}' after label 'a', found 'b'"},
      {"allow {a=b c} -> b", "line 1, column 12: expected ',' or '}', found 'c'"},
      {"allow {a:b} -> b", "line 1, column 9: expected '=', '!=', ',' or '}' after label 'a', found ':'"},
      {"allow {a=b -> b", "line 1, column 12: expected ',' or '}', found '->'"},
      {"allow {a=b,\nc} -> b", "line 1, column 12: expected a label's key, found the end of the line"},
      {"allow {\"\"=b} -> b", "line 1, column 8: a label's key can not be empty"},
      {"allow {!\"\"} -> b", "line 1, column 9: a label's key can not be empty"},
      {"allow {a=\"b} -> b\nallow c -> d", "line 1, column 10: expected a closing '\"' before the end of the line"},
      {"allow {a=\"b\\n\"} -> b", "line 1, column 12: expected \\\" or \\\\ after a backslash in quotes"},
      {"allow {a=\"b\\", "line 1, column 12: expected \\\" or \\\\ after a backslash in quotes"},
      {"allow {t=\"東京\"} > b", "line 1, column 16: expected '->' after the first peer, found '>'"},
      {"allow a -> b @",
       "line 1, column 14: expected ':' or the end of the statement after the second peer, found '@'"},
      {"allow a\x01 -> b", "line 1, column 8: expected UTF-8 text without control characters, found byte 0x01"},
      {"allow a -> b # \xff", "line 1, column 16: expected UTF-8 text without control characters, found byte 0xff"},
      {"\nallow \xed\xa0\x80", "line 2, column 7: expected UTF-8 text without control characters, found byte 0xed"},
      {std::string("allow a\0 -> b", 13),
       "line 1, column 8: expected UTF-8 text without control characters, found byte 0x00"},
  };
  for (auto& row : rows) {
    CAPTURE(row.text);
    auto parsed = parse(row.text, "option microseg.policy");
    REQUIRE(!parsed);
    CHECK(parsed.error().code == Errc::invalid);
    CHECK(parsed.error().text == "option microseg.policy, " + row.error);
  }
}

TEST_CASE("peers beyond the network that can not be meant") {
  struct {
    const char *text, *error;
  } rows[] = {
      {"allow world -> host",
       "line 1, column 16: 'world' -> 'host' has no endpoint of the network: one of the two must be a service's name, 'any' "
       "or '{label, ...}'"},
      {"allow a -> b\ndeny 10.0.0.0/8 except 10.1.0.0/16->::/0 : 80",
       "line 2, column 37: '10.0.0.0/8 except 10.1.0.0/16' -> '::/0' has no endpoint of the network: one of the two must be a "
       "service's name, 'any' or '{label, ...}'"},
      {"allow host -> host",
       "line 1, column 15: 'host' -> 'host' has no endpoint of the network: one of the two must be a service's name, 'any' "
       "or '{label, ...}'"},
      {"allow a -> 10.0.0.0/8 except",
       "line 1, column 29: expected a CIDR such as 192.0.2.0/24 or 2001:db8::/32 after 'except', found the end of the text"},
      {"allow a -> 10.0.0.0/8 except 10.0.0.1",
       "line 1, column 30: expected a CIDR such as 192.0.2.0/24 or 2001:db8::/32 after 'except', found '10.0.0.1'"},
      {"allow a -> 10.0.0.0/8 except 10.0.0.1/32, 80",
       "line 1, column 43: expected a CIDR such as 192.0.2.0/24 or 2001:db8::/32 after ',', found '80'"},
      {"allow a -> 10.0.0.0/8 except 11.0.0.0/16", "line 1, column 30: exception 11.0.0.0/16 is not inside 10.0.0.0/8"},
      {"allow a -> 10.0.0.0/8 except 10.0.0.0/7", "line 1, column 30: exception 10.0.0.0/7 is not inside 10.0.0.0/8"},
      {"allow a -> 0.0.0.0/0 except ::/0", "line 1, column 29: exception ::/0 is not inside 0.0.0.0/0"},
      {"allow a -> ::/0 except 10.0.0.0/8", "line 1, column 24: exception 10.0.0.0/8 is not inside ::/0"},
      {"allow a -> world except 10.0.0.0/8",
       "line 1, column 18: expected ':' or the end of the statement after the second peer, found 'except'"},
      {"allow a -> 10.0.0.0/8 10.0.0.0/8",
       "line 1, column 23: expected ':' or the end of the statement after the second peer, found '10.0.0.0/8'"},
  };
  for (auto& row : rows) {
    CAPTURE(row.text);
    CHECK(canonical(row.text) == std::string("test, ") + row.error);
  }
}

TEST_CASE("no source is without bounds") {
  const std::string line = "allow a -> b\n";
  CHECK(parse(repeated(line, kMaxStatements), "test"));
  CHECK(canonical(repeated(line, kMaxStatements + 1)) ==
        "test, line 2001, column 1: one source holds at most 2000 statements");
  CHECK(parse(std::string(kMaxText, ' '), "test"));
  CHECK(canonical(std::string(kMaxText + 1, ' ')) == "test: 65537 bytes of policy, at most 65536 fit");
  CHECK(parse("allow a -> b : 1" + repeated(", 1", kMaxItems - 1), "test"));
  CHECK(canonical("allow a -> b : 1" + repeated(", 1", kMaxItems)) ==
        "test, line 1, column 400: one statement holds at most 128 ports and ranges");
  CHECK(parse("allow {a" + repeated(",a", kMaxTerms - 1) + "} -> b", "test"));
  CHECK(canonical("allow {a" + repeated(",a", kMaxTerms) + "} -> b") ==
        "test, line 1, column 40: one selector holds at most 16 labels");
  const std::string cidr = "allow a -> 10.0.0.0/8 except 10.0.0.0/32";
  CHECK(parse(cidr + repeated(",10.0.0.0/32", kMaxExcept - 1), "test"));
  CHECK(canonical(cidr + repeated(",10.0.0.0/32", kMaxExcept)) ==
        "test, line 1, column 1566: one CIDR holds at most 128 exceptions");
}

TEST_CASE("a statement knows where it was written") {
  auto policy = parse("# one\n\nallow a -> b; deny c -> d\nallow e -> f", "option microseg.policy").value();
  REQUIRE(policy.statements.size() == 3);
  CHECK(policy.statements[0].origin == "option microseg.policy, line 3");
  CHECK(policy.statements[1].origin == "option microseg.policy, line 3");
  CHECK(policy.statements[2].origin == "option microseg.policy, line 4");
}

TEST_CASE("peers outside the network have a text of their own") {
  const Peer world{Peer::Kind::world, {}, {}, {}}, host{Peer::Kind::host, {}, {}, {}};
  Peer cidr{Peer::Kind::cidr, {}, {}, {}};
  cidr.cidr = Prefix::parse("2001:db8::/32").value();
  CHECK(world.str() == "world");
  CHECK(host.str() == "host");
  CHECK(cidr.str() == "2001:db8::/32");
  CHECK(!world.is_endpoint());
  CHECK(!host.is_endpoint());
  CHECK(!cidr.is_endpoint());
  CHECK(Peer{}.is_endpoint());
}

TEST_CASE("merged policies have the statements of all") {
  auto merged =
      merge({parse("allow a -> b", "one").value(), parse("", "two").value(), parse("deny c -> d", "three").value()});
  CHECK(print(merged) == "allow a -> b\ndeny c -> d\n");
  CHECK(merged.statements[1].origin == "three, line 1");
}

TEST_CASE("what a selector matches") {
  const Labels labels{{"tier", "web"}, {"stage", ""}};
  struct {
    const char* selector;
    bool matches;
  } rows[] = {
      {"{tier=web}", true},
      {"{tier=db}", false},
      {"{tier!=db}", true},
      {"{tier!=web}", false},
      {"{tier}", true},
      {"{!tier}", false},
      {"{other}", false},
      {"{!other}", true},
      {"{other=x}", false},
      {"{other!=x}", true},
      {"{stage}", true},
      {"{stage=\"\"}", true},
      {"{tier=web, !other}", true},
      {"{tier=web, other}", false},
      {"{other=\"\"}", false},
      {"{Tier=web}", false},
  };
  for (auto& row : rows) {
    CAPTURE(row.selector);
    auto policy = parse(std::string("allow ") + row.selector + " -> any", "test").value();
    CHECK(policy.statements[0].from.selector.matches(labels) == row.matches);
  }
}

TEST_CASE("which names the language can write") {
  struct {
    std::string name;
    bool ok;
  } rows[] = {{"web", true},
              {"any", true},
              {"10.0.0.1", true},
              {"-x", true},
              {std::string(255, 'x'), true},
              {"", false},
              {"a b", false},
              {"a/b", false},
              {"a\n", false},
              {std::string(256, 'x'), false},
              {"caf\xc3\xa9", false},
              {"a:1", false}};
  for (auto& row : rows) {
    CAPTURE(row.name);
    CHECK(is_name(row.name) == row.ok);
    if (row.ok) CHECK(parse("allow \"" + row.name + "\" -> any", "test"));
  }
}
