// Core and Docker's gateway bridge: who may do what there, from when on, and what nobody may meanwhile.
#include <doctest/doctest.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "engine/core.h"
#include "engine/views.h"
#include "microseg/base/log.h"
#include "microseg/render/ports_table.h"
#include "support/fake_kernel.h"
#include "support/scenario.h"

using namespace microseg;
using namespace microseg::test;
using engine::Core, engine::Facts;

template <>
struct doctest::StringMaker<std::set<std::string>> {
  static doctest::String convert(const std::set<std::string>& texts) {
    std::string out;
    for (auto& text : texts) out += (out.empty() ? "" : ", ") + text;
    return out.c_str();
  }
};

namespace {

const IfName kBridge = IfName::parse("docker_gwbridge").value();
using Texts = std::set<std::string>;

Facts facts(const std::string& name, policy::Labels of_network = {}) {
  return {"app", std::move(of_network), model::Container{long_id(name), name, {}}, ""};
}

struct More {
  std::string box{}, network = "a";  // box: its sandbox, else called as the service is
  std::vector<model::PublishedPort> published{};
  std::vector<Ip> resolvers{};
  bool listed = true;  // Docker listed its bridge when it was asked for this Join
};

struct Lab {
  FakeKernel kernel;
  std::unique_ptr<store::Store> store = store::make_memory();
  std::int64_t now = 1'000'000;
  std::vector<Ip> resolvers;
  docker::GatewayBridge bridge{"docker_gwbridge", {ip("172.18.0.1")}, {}};
  engine::Setup setup{.with_docker = true, .guards_gateway = true, .resolvers = [this] { return resolvers; }};
  std::unique_ptr<Core> core;

  Lab() {
    set_log_level(LogLevel::error);
    start();
  }
  void start() {
    core = std::make_unique<Core>(kernel, *store, [this] { return now; }, setup);
    REQUIRE(core->start());
  }
  void create(const std::string& policy, const std::string& id = "a", model::Options options = {}, bool internal = false) {
    options["microseg.policy"] = policy;
    auto done = core->create_network({net_id(id), options, internal, two_subnets()});
    REQUIRE_MESSAGE(done, done.error().text);
  }

  static std::int64_t steady() { return std::chrono::steady_clock::now().time_since_epoch().count(); }
  static Mac mac(unsigned n) { return Mac::local(n); }
  // Docker attaches sandbox `box` to its gateway bridge: 172.18.0.<n>, by port <n>.
  void attach(const std::string& box, unsigned n) {
    bridge.sandboxes[box] = {ip("172.18.0." + std::to_string(n)), ip("fd18::" + std::to_string(n)), mac(n)};
    kernel.state[kernel::kHostPorts].ports.insert(
        {n, kstate::BridgePort{IfName::parse("veth" + std::to_string(n)).value(), kBridge}});
    kernel.ends["/var/run/docker/netns/" + box] = n;
  }
  void detach(const std::string& box, unsigned n) {
    bridge.sandboxes.erase(box);
    kernel.state[kernel::kHostPorts].ports.erase(n);
    kernel.ends.erase("/var/run/docker/netns/" + box);
  }
  void list() { core->learn_gateways(bridge, steady()); }

  // Service `name` at 10.5.0.<n>.
  Result<engine::Joined> try_join(const std::string& name, unsigned n, More more = {}) {
    const auto last = std::to_string(n);
    const auto id = ep_id("e" + last);
    REQUIRE(core->create_endpoint({net_id(more.network), id, prefix("10.5.0." + last + "/24"),
                                   prefix("fd05::" + last + "/64"), std::nullopt, {}, more.resolvers}));
    Facts known = facts(name);
    if (more.listed) known.gateway = bridge, known.gateway_asked = steady();
    const auto& box = more.box.empty() ? name : more.box;
    return core->join({net_id(more.network), id, "/var/run/docker/netns/" + box, more.published}, known);
  }
  void join(const std::string& name, unsigned n, More more = {}) {
    auto joined = try_join(name, n, std::move(more));
    REQUIRE_MESSAGE(joined, joined.error().text);
  }
  // Joined, attached and listed: all that a container has.
  void run(const std::string& name, unsigned n, More more = {}) {
    join(name, n, more);
    attach(more.box.empty() ? name : more.box, n);
    list();
  }

  const kstate::Table& table() const { return *kernel.state.at(kernel::kHost).table; }
  const std::optional<kstate::Table>& ports() const { return kernel.state.at(kernel::kHostPorts).table; }
  // A set's elements, as text.
  Texts in(const char* set, const kstate::Table& of) const {
    Texts out;
    auto& [type, elements] = of.sets.at(set);
    for (auto& element : *elements) out.insert(kstate::to_text(type, element));
    return out;
  }
  Texts in(const char* set) const { return in(set, table()); }
  bool holding() const { return !in("held").empty(); }
  // All that 172.18.0.<n> may do, over IPv4.
  Texts rights(unsigned n) const {
    const std::string ours = "172.18.0." + std::to_string(n) + " . ";
    Texts out;
    for (auto* set : {"out4", "in4", "resolve4", "to_host4", "from_host4", "published4", "proxied4"})
      for (auto& text : in(set))
        if (text.starts_with(ours)) out.insert(std::string(set) + " " + text.substr(ours.size()));
    return out;
  }
  bool is_ours(unsigned n) const { return in("ours4").contains("172.18.0." + std::to_string(n)); }
  // The first op since `from` whose text has all of these in one line; the log's size when there is none.
  std::size_t find(std::initializer_list<const char*> words, std::size_t from = 0) const {
    for (std::size_t i = from; i < kernel.log.size(); ++i)
      if (std::ranges::all_of(words, [&](auto* w) { return kernel.log[i].find(w) != std::string::npos; })) return i;
    return kernel.log.size();
  }
  std::string problems() const {
    std::string out;
    for (auto& problem : engine::problems(*core)) out += problem + "\n";
    return out;
  }
};

bool has(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

const char* const kPolicy =
    "allow web -> 192.0.2.0/24 : 443; allow 198.51.100.0/24 -> web : 8080; allow web -> host : 9100; allow host -> web : 22";

}  // namespace

TEST_CASE("held from Join until Docker lists the address, and then allowed what policy says") {
  Lab lab;
  lab.attach("others", 9);
  lab.create(kPolicy);
  CHECK(!lab.holding());
  lab.join("web", 2, {.published = {{kTcp, 80, 8080}}});
  CHECK(lab.in("held") == Texts{"docker_gwbridge"});
  CHECK(lab.in("known4") == Texts{"172.18.0.1", "172.18.0.9"});
  CHECK(lab.in("ours4").empty());
  CHECK(lab.core->gateways_urgent());
  lab.list();
  CHECK(lab.holding());
  lab.attach("web", 2);
  lab.list();
  CHECK(!lab.holding());
  CHECK(!lab.core->gateways_urgent());
  CHECK(lab.in("ours4") == Texts{"172.18.0.2"});
  CHECK(lab.in("ours6") == Texts{"fd18::2"});
  CHECK(lab.rights(2) == Texts{"out4 192.0.2.0-192.0.2.255 . 6 . 443", "in4 198.51.100.0-198.51.100.255 . 6 . 8080",
                               "to_host4 6 . 9100", "from_host4 6 . 22", "published4 6 . 80"});
  CHECK(lab.rights(9).empty());
  CHECK(lab.in("to_host6") == Texts{"fd18::2 . 6 . 9100"});
  CHECK(lab.in("out6").empty());
}

TEST_CASE("the port is bound to the address before the address may do anything") {
  Lab lab;
  lab.create(kPolicy);
  lab.kernel.log.clear();
  SUBCASE("learnt from a listing") {
    lab.join("web", 2);
    lab.kernel.log.clear();
    lab.attach("web", 2);
    lab.list();
  }
  SUBCASE("known at Join: the container was on the bridge already") {
    lab.attach("web", 2);
    lab.join("web", 2);
  }
  // The table's word comes first; the port's own settings may have to wait for whoever else changes links.
  const auto bound = lab.find({"bound4 { 2 . "}), open = lab.find({"nft", "to_host4"}), isolated = lab.find({"port 2 isolated on"});
  REQUIRE(isolated < lab.kernel.log.size());
  CHECK(bound < open);
  CHECK(open < isolated);
  REQUIRE(lab.ports());
  CHECK(lab.in(render::kTaken4, *lab.ports()) == Texts{"172.18.0.2"});
  CHECK(render::bindings_of(*lab.ports()).at(2).mac == Lab::mac(2));
  CHECK(lab.kernel.state.at(kernel::kHostPorts).ports.at(2).isolated);
  auto& stored = lab.core->state().endpoints.at(ep_id("e2"));
  CHECK(stored.gateway4 == ip("172.18.0.2"));
  CHECK(stored.gateway_mac == Lab::mac(2));
}

TEST_CASE("an address at a port that cannot be found is nobody's to send from, and Docker is asked again") {
  Lab lab;
  lab.create(kPolicy);
  lab.join("web", 2);
  lab.attach("web", 2);
  lab.kernel.ends.clear();
  lab.list();
  REQUIRE(lab.ports());
  CHECK(render::bindings_of(*lab.ports()).empty());
  CHECK(lab.in(render::kTaken4, *lab.ports()) == Texts{"172.18.0.2"});
  CHECK(lab.core->gateways_urgent());
  lab.attach("web", 2);
  lab.list();
  CHECK(render::bindings_of(*lab.ports()).contains(2));
  CHECK(!lab.core->gateways_urgent());
}

TEST_CASE("an address that is not kept from others is worth nothing") {
  Lab lab;
  lab.create(kPolicy);
  lab.run("web", 2);
  const auto all = lab.rights(2);
  REQUIRE(!all.empty());
  auto& ports = lab.kernel.state.at(kernel::kHostPorts);
  ports.table->owner = kstate::Owner::other;  // whatever is written is refused
  SUBCASE("the next one's permissions wait, and who is bound keeps its own") {
    lab.run("web", 3, {.box = "another"});
    CHECK(lab.rights(2) == all);
    CHECK(lab.is_ours(3));
    CHECK(lab.rights(3).empty());
    CHECK(has(lab.problems(), "the ports of Docker's gateway bridge"));
  }
  SUBCASE("what binds it is gone") {
    ports.table->chains.erase("bound");
    lab.core->touched(kernel::kHostPorts);
    CHECK(lab.is_ours(2));
    CHECK(lab.rights(2).empty());
  }
  ports.table->owner = kstate::Owner::gone;
  lab.now += 1000;
  (void)lab.core->retry_due();
  CHECK(lab.rights(2) == all);
  CHECK(lab.problems() == "");
}

TEST_CASE("a Join is refused while the host's table cannot be put in place") {
  Lab lab;
  lab.create(kPolicy);
  // Only the host's own table is refused, in both attempts of each round that a Join has.
  lab.kernel.state.at(kernel::kHost).table->owner = kstate::Owner::other;
  lab.core->touched(kernel::kHost);
  CHECK(has(lab.problems(), "the host's table"));
  CHECK(has(lab.problems(), "Docker's gateway"));
  auto joined = lab.try_join("web", 2);
  REQUIRE(!joined);
  CHECK(joined.error().code == Errc::unavailable);
  CHECK(has(joined.error().text, "what passes Docker's gateway bridge cannot be guarded"));
  CHECK(lab.core->state().endpoints.at(ep_id("e2")).phase == model::Endpoint::Phase::created);
  CHECK(!lab.core->gateways().holding());
  lab.kernel.state.at(kernel::kHost).table->owner = kstate::Owner::gone;
  Facts known = facts("web");
  known.gateway = lab.bridge, known.gateway_asked = Lab::steady();
  CHECK(lab.core->join({net_id("a"), ep_id("e2"), "/var/run/docker/netns/web"}, known));
  CHECK(lab.holding());
  CHECK(lab.problems() == "");
}

TEST_CASE("without a network, nothing of ours is left on the host once Docker has its addresses back") {
  Lab lab;
  auto stands = [&] { return lab.kernel.state[kernel::kHost].table.has_value(); };
  CHECK(!stands());
  lab.create(kPolicy);
  CHECK(stands());
  lab.run("web", 2);
  REQUIRE(lab.core->delete_network(net_id("a")));
  CHECK(stands());
  lab.detach("web", 2);
  lab.list();
  CHECK(!stands());
  CHECK(!lab.ports());
}

TEST_CASE("who leaves may do nothing at once, and its address is judged until Docker has it back") {
  Lab lab;
  lab.create("", "b");
  lab.create(kPolicy);
  lab.run("web", 2, {.published = {{kTcp, 80, 80}}});
  REQUIRE(!lab.rights(2).empty());
  SUBCASE("leave") { REQUIRE(lab.core->leave(ep_id("e2"))); }
  SUBCASE("delete endpoint") { REQUIRE(lab.core->delete_endpoint(ep_id("e2"))); }
  SUBCASE("delete network") { REQUIRE(lab.core->delete_network(net_id("a"))); }
  CHECK(lab.rights(2).empty());
  CHECK(lab.is_ours(2));
  lab.detach("web", 2);
  lab.core->touched(kernel::kHostPorts);
  CHECK(!lab.ports());
  lab.list();
  CHECK(!lab.is_ours(2));
  CHECK(!lab.in("known4").contains("172.18.0.2"));
}

TEST_CASE("a container of two networks may do what either allows; a deny takes from its own network's alone") {
  Lab lab;
  lab.create("allow web -> host : 1; allow web -> host : 2");
  lab.create("deny web -> host : 1; allow web -> host : 3; allow web -> world : 443", "b");
  lab.run("web", 2);
  lab.join("web", 3, {.box = "web", .network = "b"});
  CHECK(lab.rights(2) == Texts{"to_host4 6 . 1-3", "out4 0.0.0.0-255.255.255.255 . 6 . 443"});
  CHECK(!lab.holding());
  REQUIRE(lab.core->leave(ep_id("e2")));
  CHECK(lab.rights(2) == Texts{"to_host4 6 . 3", "out4 0.0.0.0-255.255.255.255 . 6 . 443"});
  REQUIRE(lab.core->leave(ep_id("e3")));
  CHECK(lab.rights(2).empty());
}

TEST_CASE("whom nobody knows, or whose policy is closed, is ours and may do nothing") {
  Lab lab;
  Facts known;
  SUBCASE("quarantined") { known = {"app", policy::Labels{}, std::nullopt, "Docker did not tell"}; }
  SUBCASE("closed") { known = facts("web", {{"microseg.policy", "allow web db"}}); }
  lab.create(kPolicy);
  REQUIRE(lab.core->create_endpoint({net_id("a"), ep_id("e2"), prefix("10.5.0.2/24"), std::nullopt, std::nullopt, {}}));
  REQUIRE(lab.core->join({net_id("a"), ep_id("e2"), "/var/run/docker/netns/web", {{kTcp, 80, 80}}}, known));
  lab.attach("web", 2);
  lab.list();
  CHECK(lab.is_ours(2));
  CHECK(lab.rights(2).empty());
  lab.core->learn({net_id("a"), ep_id("e2")}, facts("web"));
  CHECK(lab.rights(2).size() == 5);
}

TEST_CASE("a network in monitor mode refuses nothing") {
  Lab lab;
  lab.create("deny web -> world; deny world -> web : 80", "a", {{"microseg.mode", "monitor"}});
  lab.create("", "b");
  Facts known = facts("web");
  SUBCASE("a service") {}
  SUBCASE("nobody knows whom") { known.container.reset(); }
  lab.attach("web", 2);
  known.gateway = lab.bridge, known.gateway_asked = Lab::steady();
  REQUIRE(lab.core->create_endpoint({net_id("a"), ep_id("e2"), prefix("10.5.0.2/24"), std::nullopt, std::nullopt, {}}));
  REQUIRE(lab.core->join({net_id("a"), ep_id("e2"), "/var/run/docker/netns/web", {{kTcp, 80, 80}}}, known));
  const Texts all = {"out4 0.0.0.0-255.255.255.255 . 0-255 . 0-65535", "in4 0.0.0.0-255.255.255.255 . 0-255 . 0-65535",
                     "to_host4 0-255 . 0-65535", "from_host4 0-255 . 0-65535"};
  auto rights = lab.rights(2);
  rights.erase("published4 6 . 80");
  CHECK(rights == all);
  lab.join("web", 3, {.box = "web", .network = "b"});
  REQUIRE(lab.core->leave(ep_id("e2")));
  CHECK(lab.rights(2).empty());
}

TEST_CASE("published ports open nothing where the network says so") {
  Lab lab;
  lab.create("allow world -> web : 80", "a", {{"microseg.publish", "explicit"}});
  lab.run("web", 2, {.published = {{kTcp, 80, 80}, {kTcp, 81, 81}}});
  CHECK(lab.rights(2) == Texts{"in4 0.0.0.0-255.255.255.255 . 6 . 80"});
}

TEST_CASE("a deny takes from published ports, too") {
  Lab lab;
  lab.create("deny 198.51.100.0/24 -> web : 80; deny host -> web : 81; deny world -> web : 82; deny world -> web : 90");
  lab.run("web", 2, {.published = {{kTcp, 80, 80}, {kTcp, 81, 81}, {kTcp, 82, 82}, {kUdp, 80, 80}}});
  CHECK(lab.rights(2) == Texts{
                             "published4 17 . 80",
                             "in4 0.0.0.0-198.51.99.255 . 6 . 80-81", "in4 198.51.100.0-198.51.100.255 . 6 . 81",
                             "in4 198.51.101.0-255.255.255.255 . 6 . 80-81", "from_host4 6 . 80",
                             "from_host4 6 . 82"});
}

TEST_CASE("what policy apply changes is in force when it returns") {
  Lab lab;
  lab.create("");
  lab.run("web", 2);
  CHECK(lab.rights(2).empty());
  REQUIRE(lab.core->apply_policy(net_id("a").str(), "allow web -> host : 9100"));
  CHECK(lab.rights(2) == Texts{"to_host4 6 . 9100"});
  REQUIRE(lab.core->apply_policy(net_id("a").str(), "allow web -> 192.0.2.7/32 : 53/udp"));
  CHECK(lab.rights(2) == Texts{"out4 192.0.2.7 . 17 . 53"});
  REQUIRE(lab.core->remove_policy(net_id("a").str()));
  CHECK(lab.rights(2).empty());
  CHECK(lab.is_ours(2));
}

TEST_CASE("a restarted daemon takes all over as it stands, and asks nobody") {
  Lab lab;
  lab.attach("others", 9);
  lab.create(kPolicy);
  lab.run("web", 2);
  SUBCASE("with nobody waiting") {}
  SUBCASE("while holding") {
    lab.join("api", 3);
    REQUIRE(lab.holding());
  }
  const auto before = lab.table();
  const auto ports_before = lab.ports();
  lab.kernel.log.clear();
  SUBCASE("the tables' owner is gone") { lab.kernel.lose_owner(); }
  SUBCASE("it is the same one") {}
  lab.start();
  CHECK(lab.table() == before);
  CHECK(lab.ports() == ports_before);
  for (auto& line : lab.kernel.log) CHECK_MESSAGE(!has(line, "del"), line);
  CHECK(lab.in("known4") == Texts{"172.18.0.1", "172.18.0.2", "172.18.0.9"});
}

TEST_CASE("an address of ours that did not get into the store is not taken for another's") {
  Lab lab;
  lab.create(kPolicy);
  lab.run("web", 2);
  lab.join("api", 3, {.listed = true});
  // As a daemon leaves it that ends between the table and the store.
  auto endpoint = lab.core->state().endpoints.at(ep_id("e2"));
  endpoint.gateway4.reset(), endpoint.gateway6.reset(), endpoint.gateway_mac.reset();
  REQUIRE(lab.store->write({.put_endpoints = {endpoint}}));
  lab.start();
  CHECK(lab.holding());
  CHECK(lab.in("known4") == Texts{"172.18.0.1"});
  lab.list();
  CHECK(lab.is_ours(2));
  CHECK(!lab.rights(2).empty());
}

TEST_CASE("an address is never handed on") {
  Lab lab;
  lab.attach("others", 9);
  lab.create(kPolicy);
  SUBCASE("from another's to ours: its port went while we hold") {
    lab.list();
    lab.join("web", 2);
    CHECK(lab.in("known4").contains("172.18.0.9"));
    lab.detach("others", 9);
    lab.core->touched(kernel::kHostPorts);
    CHECK(lab.in("known4").empty());
    CHECK(lab.holding());
    lab.list();
    CHECK(lab.in("known4") == Texts{"172.18.0.1"});
    lab.attach("web", 9);
    lab.list();
    CHECK(lab.is_ours(9));
  }
  SUBCASE("by a listing that is older than the port's end") {
    lab.list();
    const auto asked = Lab::steady();
    const auto listing = lab.bridge;
    lab.detach("others", 9);
    lab.core->touched(kernel::kHostPorts);
    lab.join("web", 2, {.listed = false});
    CHECK(lab.in("known4").empty());
    lab.core->learn_gateways(listing, asked);
    CHECK(lab.in("known4").empty());
    lab.list();
    CHECK(lab.in("known4") == Texts{"172.18.0.1"});
  }
  SUBCASE("at a Join that could not ask") {
    lab.list();
    lab.join("web", 2, {.listed = false});
    CHECK(lab.in("known4").empty());
  }
  SUBCASE("from ours to another's: who left is nobody") {
    lab.run("web", 2);
    REQUIRE(lab.core->leave(ep_id("e2")));
    lab.join("api", 3);
    lab.bridge.sandboxes.erase("web");
    lab.list();
    CHECK(!lab.in("known4").contains("172.18.0.2"));
    lab.attach("more", 2);
    lab.list();
    CHECK(lab.in("known4").contains("172.18.0.2"));
    CHECK(!lab.is_ours(2));
  }
}

TEST_CASE("nobody is waited for where nobody comes to the bridge") {
  Lab lab;
  SUBCASE("an internal network") { lab.create(kPolicy, "a", {}, true); }
  SUBCASE("without the guard") {
    lab.setup.guards_gateway = false;
    lab.start();
    lab.create(kPolicy);
  }
  lab.join("web", 2);
  CHECK(!lab.core->gateways().holding());
  CHECK(!lab.core->gateways_urgent());
  auto& table = lab.kernel.state.at(kernel::kHost).table;
  CHECK((!table || lab.in("held").empty()));
}

TEST_CASE("others' published ports by the host's address: as inside the network, and only where the host's port is known") {
  Lab lab;
  lab.create("allow web -> api : 80; allow web -> api : 81");
  lab.run("api", 2, {.published = {{kTcp, 80, 8080}, {kTcp, 81, 0}, {kTcp, 82, 8082}}});
  lab.run("web", 3);
  lab.run("db", 4);
  CHECK(lab.rights(3) == Texts{"proxied4 6 . 8080"});
  CHECK(lab.rights(4).empty());
  CHECK(lab.rights(2) == Texts{"published4 6 . 80", "published4 6 . 81", "published4 6 . 82"});
  REQUIRE(lab.core->leave(ep_id("e2")));
  CHECK(lab.rights(3).empty());
}

TEST_CASE("what status and endpoints say of the gateway") {
  Lab lab;
  lab.create(kPolicy);
  lab.join("web", 2);
  auto view = engine::view_endpoints(*lab.core)[0];
  CHECK(view.waiting == "waiting for its gateway address");
  CHECK(!view.gateway_v4);
  lab.attach("web", 2);
  lab.list();
  view = engine::view_endpoints(*lab.core)[0];
  CHECK(view.waiting == "");
  CHECK(view.gateway_v4 == ip("172.18.0.2"));
  CHECK(view.gateway_v6 == ip("fd18::2"));
  CHECK(lab.problems() == "");
  lab.kernel.state.at(kernel::kHostPorts).table->owner = kstate::Owner::other;
  lab.kernel.state.at(kernel::kHostPorts).table->chains.clear();
  lab.core->touched(kernel::kHostPorts);
  CHECK(has(lab.problems(), "the ports of Docker's gateway bridge are not as they should be: "));
  lab.setup.with_docker = lab.setup.guards_gateway = false;
  lab.start();
  CHECK(has(lab.problems(), "without the Docker API"));
  CHECK(has(lab.problems(), "the statements about world, host or addresses of app have no effect"));
}

TEST_CASE("explain says what enters and leaves") {
  Lab lab;
  lab.create("allow web -> world : 443; allow web -> 192.0.2.0/24 : 25; deny web -> 192.0.2.7/32; allow web -> host : 9100;"
             "allow host -> web : 22; deny 198.51.100.0/24 -> web : 80; allow \"world\" -> web : 7");
  lab.run("web", 2, {.published = {{kTcp, 80, 8080}}});
  struct {
    const char *from, *to;
    std::uint16_t port;
    const char *answer, *note;
  } rows[] = {
      {"web", "world", 443, "allowed by `allow web -> world : 443`", "statements about addresses may say otherwise"},
      {"web", "world", 25, "no statement allows it", "statements about addresses"},
      {"web", "192.0.2.8", 25, "allowed by `allow web -> 192.0.2.0/24 : 25`", ""},
      {"web", "192.0.2.7", 443, "refused by `deny web -> 192.0.2.7/32`", ""},
      {"web", "2001:db8::1", 443, "allowed by `allow web -> world : 443`", ""},
      {"web", "host", 9100, "allowed by", ""},
      {"web", "host", 443, "no statement allows it", ""},
      {"host", "web", 22, "allowed by", ""},
      {"host", "web", 80, "published by docker run -p", ""},
      {"world", "web", 80, "published by docker run -p", "statements about addresses"},
      {"world", "web", 81, "no statement allows it", ""},
      {"198.51.100.9", "web", 80, "refused by `deny 198.51.100.0/24 -> web : 80`", ""},
      {"203.0.113.9", "10.5.0.2", 80, "published by docker run -p", ""},
      {"203.0.113.9", "172.18.0.2", 80, "published by docker run -p", ""},
      {"\"world\"", "web", 7, "allowed by", ""},
      {"172.18.0.2", "10.5.0.9", 443, "no statement allows it", ""},  // the network's own address, nobody's
  };
  for (auto& row : rows) {
    CAPTURE(row.from);
    CAPTURE(row.to);
    CAPTURE(row.port);
    auto view = engine::explain(*lab.core, {"", row.from, row.to, kTcp, row.port});
    REQUIRE(view);
    CHECK_MESSAGE(has(view->reason, row.answer), view->reason);
    CHECK_MESSAGE(has(view->note, row.note), view->note);
    CHECK(view->allowed == (std::string(row.answer).starts_with("allowed") || has(row.answer, "published")));
  }
  auto neither = engine::explain(*lab.core, {"", "world", "192.0.2.1", kTcp, 1});
  REQUIRE(!neither);
  CHECK(has(neither.error().text, "neither world nor 192.0.2.1 is a container"));
  lab.create("", "b");
  lab.join("web", 3, {.box = "web", .network = "b"});
  auto other = engine::explain(*lab.core, {"b00000000000", "web", "host", kTcp, 9100});
  REQUIRE(other);
  CHECK(has(other->note, "is on app as well, which may allow it"));
}

TEST_CASE("resolvers are for those who go beyond, and each one's own for it alone") {
  Lab lab;
  lab.resolvers = {ip("192.0.2.53"), ip("2001:db8::53")};
  lab.create("allow web -> 198.51.100.7/32 : 443; allow api -> world : 80; deny api -> 192.0.2.53/32 : 53/udp");
  lab.run("web", 2, {.resolvers = {ip("192.0.2.54")}});
  lab.run("api", 3);
  lab.run("db", 4);
  CHECK(lab.rights(2) == Texts{"out4 198.51.100.7 . 6 . 443", "resolve4 192.0.2.53 . 6 . 53",
                               "resolve4 192.0.2.53 . 17 . 53", "resolve4 192.0.2.54 . 6 . 53",
                               "resolve4 192.0.2.54 . 17 . 53"});
  CHECK(lab.rights(3) == Texts{"out4 0.0.0.0-255.255.255.255 . 6 . 80", "resolve4 192.0.2.53 . 6 . 53"});
  CHECK(lab.rights(4).empty());
  CHECK(lab.in("resolve6").contains("fd18::2 . 2001:db8::53 . 17 . 53"));
}

TEST_CASE("a policy that needs too many boxes leaves the container with nothing, and says so") {
  Lab lab;
  // Each address with ports of its own, none beside another: nothing to merge. One source would not hold it.
  std::string halves[2];
  for (int i = 0; i < 202; ++i) {
    auto& policy = halves[i % 2];
    policy += "allow web -> 192.0.2." + std::to_string(i) + "/32:";
    for (int p = 0; p < 100; ++p) policy += (p ? "," : "") + std::to_string(4 * p + 2 * (i % 2) + 1);
    policy += ";";
  }
  lab.create(halves[0]);
  REQUIRE(lab.core->apply_policy(net_id("a").str(), halves[1] + "allow api -> host : 9100"));
  lab.run("web", 2);
  lab.run("api", 3);
  CHECK(lab.is_ours(2));
  CHECK(lab.rights(2).empty());
  CHECK(lab.rights(3) == Texts{"to_host4 6 . 9100"});
  CHECK_MESSAGE(has(lab.problems(), "web reaches nothing beyond its networks"), lab.problems());
}
