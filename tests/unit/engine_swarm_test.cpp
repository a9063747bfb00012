// Core and networks that span hosts: who is let in, in which order, and what keeps such a network closed.
#include <doctest/doctest.h>

#include <algorithm>
#include <cerrno>

#include "engine/allocations.h"
#include "engine/core.h"
#include "engine/judgement.h"
#include "engine/views.h"
#include "microseg/base/log.h"
#include "support/fake_kernel.h"
#include "support/scenario.h"

using namespace microseg;
using namespace microseg::test;
using engine::Core, engine::Facts;
using render::Tunnel;

namespace {

constexpr std::uint32_t kVni = 4242;
const Ip kSelf = ip("10.99.0.1"), kTwo = ip("10.99.0.2"), kThree = ip("10.99.0.3");

model::Options spanning(const std::string& policy = "allow web -> api : 80", std::uint32_t vni = kVni) {
  return {{"microseg.policy", policy}, {"microseg.vni", std::to_string(vni)}, {"microseg.encoding", "1"}};
}

Facts facts(const std::string& name, policy::Labels of_network = {}, policy::Labels of_container = {}) {
  return {"app", std::move(of_network), model::Container{long_id(name), name, std::move(of_container)}, ""};
}
Facts network_facts(policy::Labels labels) { return {"app", std::move(labels), std::nullopt, ""}; }

struct Lab {
  FakeKernel kernel;
  std::unique_ptr<store::Store> store = store::make_memory();
  std::int64_t now = 1'000'000;
  engine::Setup setup{.with_docker = true, .guards_host = true, .vxlan_port = 4799};
  std::unique_ptr<Core> core;

  Lab() {
    set_log_level(LogLevel::error);
    start();
  }
  void start() {
    core = std::make_unique<Core>(kernel, *store, [this] { return now; }, setup);
    REQUIRE(core->start());
  }
  Status create(const std::string& id = "a", const model::Options& options = spanning()) {
    return core->create_network({net_id(id), options, false, two_subnets()});
  }
  void learn(std::vector<Ip> peers, std::optional<Ip> self = kSelf) {
    core->learn_underlay(net_id("a"), {self, std::move(peers)});
  }
  void join(const std::string& id, unsigned n, const Facts& known, model::Options options = {}) {
    const auto last = std::to_string(n);
    REQUIRE(core->create_endpoint({net_id("a"), ep_id(id), prefix("10.5.0." + last + "/24"),
                                   prefix("fd05::" + last + "/64"), std::nullopt, std::move(options)}));
    auto joined = core->join({net_id("a"), ep_id(id), "/sandbox/" + id}, known);
    REQUIRE_MESSAGE(joined, joined.error().text);
  }
  // Lets what is due be done, as the engine's loop does.
  void settle() {
    for (int i = 0; i < 20; ++i) {
      auto next = core->retry_due();
      if (!next) return;
      now = std::max(now, *next);
    }
  }
  const kstate::Segment& segment() const { return kernel.state.at(net_id("a").brief()); }
  std::set<Ip> flooded() const { return segment().vxlan ? segment().vxlan->peers : std::set<Ip>{}; }
  bool guarded(const std::set<Tunnel>& tunnels) const {
    auto it = kernel.state.find(kernel::kHost);
    return it != kernel.state.end() && it->second.table == render::host_table(setup.vxlan_port, tunnels);
  }
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

}  // namespace

TEST_CASE("the guard stands from the start, with nobody in it, and not where the scope is local") {
  Lab lab;
  CHECK(lab.guarded({}));
  CHECK(lab.core->host().stands);
  lab.setup.guards_host = false;
  lab.start();
  CHECK(!lab.kernel.state.at(kernel::kHost).table);
  const auto applied = lab.kernel.applies;
  lab.start();
  CHECK(lab.kernel.applies == applied);
}

TEST_CASE("a network has its device as soon as this host's address is known, and its peers as they are") {
  Lab lab;
  REQUIRE(lab.create());
  CHECK(!lab.segment().vxlan);
  CHECK(has(lab.problems(), "Docker has not told this node's address"));
  lab.learn({});
  REQUIRE(lab.segment().vxlan);
  CHECK(lab.segment().vxlan->local == kSelf);
  CHECK(lab.segment().vxlan->vni == kVni);
  CHECK(lab.segment().vxlan->port == 4799);
  lab.learn({kThree, kSelf, kTwo, kTwo});  // this host is listed, too
  CHECK(lab.flooded() == std::set<Ip>{kTwo, kThree});
  CHECK(lab.guarded({{kTwo, kVni}, {kThree, kVni}}));
  CHECK(lab.core->state().networks.at(net_id("a")).underlay.peers == std::vector<Ip>{kTwo, kThree});
  CHECK(lab.problems() == "");
  const auto applied = lab.kernel.applies;
  lab.learn({kTwo, kThree});
  CHECK(lab.kernel.applies == applied);
  // A second network of the same host has its device at once.
  REQUIRE(lab.create("b", spanning("", 7)));
  CHECK(lab.kernel.state.at(net_id("b").brief()).vxlan);
  REQUIRE(lab.core->delete_network(net_id("a")));
  CHECK(lab.guarded({}));
}

TEST_CASE("a peer is let in before it is sent to, and let out after") {
  Lab lab;
  REQUIRE(lab.create());
  lab.learn({kTwo});
  lab.kernel.log.clear();
  lab.learn({kTwo, kThree});
  auto guard = lab.find({"nft", "peers4"}), flood = lab.find({"vxlan mend", "peer 10.99.0.3"});
  REQUIRE(flood < lab.kernel.log.size());
  CHECK(guard < flood);
  lab.kernel.log.clear();
  lab.learn({kThree});
  guard = lab.find({"nft", "peers4"}), flood = lab.find({"vxlan mend", "peer 10.99.0.3"});
  REQUIRE(guard < lab.kernel.log.size());
  CHECK(flood < guard);
  CHECK(lab.guarded({{kThree, kVni}}));
  // One goes, one comes.
  lab.kernel.log.clear();
  lab.learn({kTwo});
  guard = lab.find({"nft", "peers4"}), flood = lab.find({"vxlan mend", "peer 10.99.0.2"});
  const auto out = lab.find({"nft", "peers4"}, flood);
  CHECK(guard < flood);
  CHECK(flood < out);
  REQUIRE(out < lab.kernel.log.size());
  CHECK(lab.guarded({{kTwo, kVni}}));
}

TEST_CASE("who joins is announced to the other hosts, after its link has come") {
  Lab lab;
  REQUIRE(lab.create());
  lab.learn({kTwo});
  lab.kernel.log.clear();
  lab.join("e2", 2, facts("web"));
  const auto link = lab.find({"link add ms"}), told = lab.find({"announce 10.5.0.2 fd05::2"});
  REQUIRE(told < lab.kernel.log.size());
  CHECK(link < told);
  CHECK(lab.segment().vxlan->proxies == std::set<Ip>{ip("10.5.0.2"), ip("fd05::2")});
  lab.kernel.log.clear();
  REQUIRE(lab.core->leave(ep_id("e2")));
  CHECK(lab.find({"announce"}) == lab.kernel.log.size());
  CHECK(lab.segment().vxlan->proxies.empty());
}

TEST_CASE("any one op that fails when peers change is made up for, and no peer is sent to that is not let in") {
  for (std::size_t n = 0; n < 6; ++n) {
    CAPTURE(n);
    Lab lab;
    REQUIRE(lab.create());
    lab.learn({kTwo});
    // Busy for as long as both attempts of a round take.
    for (std::size_t again : {0U, 1U}) lab.kernel.fail[lab.kernel.applies + n + again] = EBUSY;
    lab.learn({kThree});
    const auto open = lab.core->host().open;
    for (auto& peer : lab.flooded()) CHECK(open.contains({peer, kVni}));
    lab.settle();
    CHECK(lab.flooded() == std::set<Ip>{kThree});
    CHECK(lab.guarded({{kThree, kVni}}));
    CHECK(lab.problems() == "");
  }
}

TEST_CASE("without the guard there is no device, and it comes as soon as the guard stands") {
  Lab lab;
  REQUIRE(lab.create());
  lab.learn({kTwo});
  lab.join("e2", 2, facts("web"));
  REQUIRE(lab.segment().vxlan);
  auto& host = lab.kernel.state.at(kernel::kHost);
  host.table.reset();
  lab.kernel.refuse_all = EPERM;
  lab.core->touched(kernel::kHost);
  CHECK(!lab.core->host().stands);
  CHECK(has(lab.problems(), "the host's table, which guards the underlay, is not"));
  lab.kernel.refuse_all = 0;
  host.table.reset();
  // Now only the host's own table is refused.
  lab.now += 60'000;
  for (std::size_t n = 0; n < 4; ++n) lab.kernel.fail[lab.kernel.applies + n] = EPERM;
  (void)lab.core->retry_due();
  CHECK(!lab.segment().vxlan);
  CHECK(lab.segment().links.size() == 1);  // the containers of this host go on
  lab.settle();
  CHECK(lab.flooded() == std::set<Ip>{kTwo});
  CHECK(lab.guarded({{kTwo, kVni}}));
  CHECK(lab.problems() == "");
}

TEST_CASE("somebody who deletes the guard, or opens it, is undone") {
  Lab lab;
  REQUIRE(lab.create());
  lab.learn({kTwo});
  auto& table = lab.kernel.state.at(kernel::kHost).table;
  SUBCASE("deleted") { table.reset(); }
  SUBCASE("opened") { table = render::host_table(4799, {{kTwo, kVni}, {kThree, kVni}}); }
  SUBCASE("emptied") { table->chains.begin()->second.rules.clear(); }
  lab.core->touched(kernel::kHost);
  CHECK(lab.guarded({{kTwo, kVni}}));
}

TEST_CASE("a guard that is another daemon's guards all the same, for those who are in it") {
  Lab lab;
  REQUIRE(lab.create());
  lab.learn({kTwo});
  lab.kernel.state.at(kernel::kHost).table->owner = kstate::Owner::other;
  lab.start();
  CHECK(lab.flooded() == std::set<Ip>{kTwo});
  CHECK(has(lab.problems(), "is not as it should be"));
  lab.learn({kTwo, kThree});
  CHECK(lab.flooded() == std::set<Ip>{kTwo});
  lab.kernel.state.at(kernel::kHost).table->owner = kstate::Owner::gone;  // it has ended
  lab.settle();
  CHECK(lab.flooded() == std::set<Ip>{kTwo, kThree});
  CHECK(lab.guarded({{kTwo, kVni}, {kThree, kVni}}));
  CHECK(lab.problems() == "");
}

TEST_CASE("a kernel without VXLAN serves the containers of its host") {
  Lab lab;
  REQUIRE(lab.create());
  lab.join("e2", 2, facts("web"));
  const auto before = lab.kernel.applies;
  lab.kernel.fail[before] = EOPNOTSUPP;
  lab.kernel.fail[before + 1] = EOPNOTSUPP;
  lab.learn({});
  CHECK(!lab.segment().vxlan);
  CHECK(has(lab.problems(), "pending: way to other hosts: "));
  lab.settle();
  CHECK(lab.segment().vxlan);
  CHECK(lab.problems() == "");
}

TEST_CASE("a restarted daemon keeps the peers it knew, without asking and without a gap") {
  Lab lab;
  REQUIRE(lab.create());
  lab.learn({kTwo, kThree});
  lab.join("e2", 2, facts("web"));
  const auto applied = lab.kernel.applies;
  lab.start();
  CHECK(lab.kernel.applies == applied);
  CHECK(lab.flooded() == std::set<Ip>{kTwo, kThree});
  CHECK(lab.guarded({{kTwo, kVni}, {kThree, kVni}}));
}

TEST_CASE("a node that has left the Swarm reaches nobody") {
  Lab lab;
  REQUIRE(lab.create());
  lab.learn({kTwo});
  lab.learn({}, std::nullopt);
  CHECK(!lab.segment().vxlan);
  CHECK(lab.guarded({}));
}

TEST_CASE("with the scope local there is no device: nothing would guard it") {
  Lab lab;
  lab.setup.guards_host = false;
  lab.start();
  REQUIRE(lab.create());
  lab.learn({kTwo});
  CHECK(!lab.segment().vxlan);
  CHECK(has(lab.problems(), "set MICROSEG_SCOPE=global"));
}

TEST_CASE("one VNI, one network") {
  Lab lab;
  REQUIRE(lab.create("a"));
  auto second = lab.create("b");
  REQUIRE(!second);
  CHECK(second.error().code == Errc::exists);
  CHECK(has(second.error().text, "its VNI 4242 is that of the network a00000000000 on this node"));
  lab.core->learn(net_id("a"), network_facts({}));
  CHECK(has(lab.create("b").error().text, "is that of the network app on this node"));
  REQUIRE(lab.create("a"));  // the same again
  REQUIRE(lab.create("c", {{"microseg.vni", "4242"}}));  // of no meaning where nothing spans hosts
  REQUIRE(lab.core->delete_network(net_id("a")));
  CHECK(lab.create("b"));
}

TEST_CASE("what keeps a network that spans hosts closed") {
  Lab lab;
  auto options = spanning();
  policy::Labels labels;
  std::string why, problem;
  SUBCASE("an encoding that this microseg does not know") {
    options["microseg.encoding"] = "2";
    why = problem = "the network uses class encoding 2, this microseg knows 1: update the plugin on this node";
  }
  SUBCASE("labels that are not known yet") { why = "the network's labels are not known yet"; }
  SUBCASE("labels that nobody will tell") {
    lab.setup.with_docker = false;
    lab.start();
    why = problem = "let microsegd ask Docker (--docker-socket)";
  }
  SUBCASE("labels with an error") {
    labels = {{"microseg.policy", "allow web api"}};
    why = problem = "policy error: ";
  }
  SUBCASE("labels that do not fit") {
    std::string text;
    for (int i = 0; i < 16; ++i) text += "allow {k" + std::to_string(i) + "} -> any;";
    labels = {{"microseg.policy", text}};
    why = problem = "classes, at most 65535 fit";
  }
  SUBCASE("labels that have changed since the classes were numbered") {
    REQUIRE(lab.create("a", options));
    lab.core->learn(net_id("a"), network_facts({}));
    CHECK(lab.core->runtimes().at(net_id("a")).verdict.closed.empty());
    labels = {{"microseg.policy", "allow api -> db"}};
    why = problem = "labels have changed since its classes were numbered";
  }
  REQUIRE(lab.create("a", options));
  const bool unknown = why == "the network's labels are not known yet" || !lab.setup.with_docker;
  lab.join("e2", 2, {"app", unknown ? std::nullopt : std::optional(labels),
                     model::Container{long_id("web"), "web", {}}, ""}, {{"microseg.service", "web"}});
  CHECK(has(lab.core->runtimes().at(net_id("a")).verdict.closed, why.c_str()));
  CHECK(engine::view_endpoints(*lab.core)[0].class_number == 0);
  CHECK(!engine::view_endpoints(*lab.core)[0].quarantined.empty());
  CHECK(has(lab.problems(), problem.c_str()));
  const bool said = has(engine::view_networks(*lab.core)[0].state, problem.c_str());
  CHECK(said);
}

TEST_CASE("classes have the same numbers on every host, and are judged whether here or not") {
  Lab one, two;
  for (auto* lab : {&one, &two}) REQUIRE(lab->create("a", spanning("allow {tier=a} -> api : 80; allow web -> api : 81")));
  const policy::Labels labels{{"microseg.policy", "allow api -> db : 5432"}};
  // What each host sees first differs; what it makes of it does not.
  one.join("e2", 2, facts("web", labels, {{"tier", "a"}}));
  two.join("e3", 3, facts("db", labels));
  two.join("e4", 4, facts("web", labels, {{"tier", "a"}}));
  auto& first = one.core->runtimes().at(net_id("a")).verdict;
  auto& second = two.core->runtimes().at(net_id("a")).verdict;
  REQUIRE(first.judgement.numbering);
  CHECK(first.judgement.numbering->base == 1);
  CHECK(first.judgement.numbering == second.judgement.numbering);
  CHECK(*first.judgement.allow == *second.judgement.allow);
  CHECK(!first.judgement.allow->empty());
  // Compiled once, not at every join.
  const auto* elements = second.judgement.allow.get();
  two.join("e5", 5, facts("api", labels));
  CHECK(two.core->runtimes().at(net_id("a")).verdict.judgement.allow.get() == elements);
}

TEST_CASE("a policy is applied on networks of one host alone") {
  Lab lab;
  REQUIRE(lab.create("a"));
  REQUIRE(lab.create("b", {}));
  CHECK(lab.core->apply_policy(net_id("b").str(), "allow x -> y"));
  auto refused = lab.core->apply_policy(net_id("a").str(), "allow x -> y");
  REQUIRE(!refused);
  CHECK(refused.error().code == Errc::unsupported);
  CHECK(has(refused.error().text, "options (microseg.policy) or labels"));
  CHECK(!lab.core->remove_policy(net_id("a").str()));
}

TEST_CASE("views of a network that spans hosts") {
  Lab lab;
  REQUIRE(lab.create());
  lab.learn({kTwo});
  auto view = engine::view_networks(*lab.core)[0];
  CHECK(view.spans_hosts);
  CHECK(view.vni == kVni);
  CHECK(view.underlay == kSelf);
  CHECK(view.peers == std::vector<Ip>{kTwo});
  REQUIRE(lab.create("b", {{"microseg.vni", "7"}}));
  view = engine::view_networks(*lab.core)[1];
  CHECK(!view.spans_hosts);
  CHECK(!view.vni);
}

TEST_CASE("explain says what it cannot know of other nodes") {
  Lab lab;
  REQUIRE(lab.create("a", spanning("allow web -> api : 80; allow {tier=a} -> db : 5432")));
  lab.join("e2", 2, facts("web", {}, {{"tier", "a"}}));
  auto ask = [&](const std::string& from, const std::string& to, std::uint16_t port) {
    return engine::explain(*lab.core, {"", from, to, kTcp, port});
  };
  auto known = ask("web", "web", 80);
  REQUIRE(known);
  CHECK(known->note == "");
  auto allowed = ask("web", "api", 80);
  REQUIRE(allowed);
  CHECK(allowed->allowed);
  CHECK(allowed->note.starts_with("no endpoint of this node is api, so it was judged by its name alone"));
  auto elsewhere = ask("front", "db", 5432);
  REQUIRE(elsewhere);
  CHECK(!elsewhere->allowed);
  CHECK(elsewhere->note.starts_with("no endpoint of this node is front and db, "));
  auto address = ask("web", "10.5.0.9", 80);
  REQUIRE(!address);
  CHECK(has(address.error().text, "no endpoint of this node has the address 10.5.0.9"));
  CHECK(ask("10.5.0.2", "api", 80)->allowed);
}

TEST_CASE("what a manager answers") {
  engine::Allocations manager, other;
  const model::Options asked{{"microseg.policy", "allow web -> db : 5432/tcp"}, {"com.docker.network.x", "y"}};
  const auto id = NetworkId::parse("etjbsl6j3rgnvxd7kr0trxr96").value(), next = NetworkId::parse("w2k1n0tz9").value();
  auto answer = manager.allocate(id, asked, {});
  REQUIRE(answer);
  for (auto& [key, value] : asked) CHECK(answer->at(key) == value);
  CHECK(answer->size() == asked.size() + 2);
  CHECK(answer->at("microseg.encoding") == "1");
  const auto vni = model::vni_in(answer.value());
  REQUIRE(vni);
  // Asked again: the same question, the answer as the question, another manager, whatever is in use by then.
  CHECK(manager.allocate(id, asked, {}).value() == answer.value());
  CHECK(other.allocate(id, asked, {}).value() == answer.value());
  engine::Allocations third;
  CHECK(third.allocate(id, answer.value(), {*vni}).value() == answer.value());
  // Another network never gets the same.
  auto shifted = manager.allocate(next, {{"microseg.vni", std::to_string(*vni)}}, {});
  REQUIRE(!shifted);
  CHECK(shifted.error().code == Errc::exists);
  manager.free(id);
  CHECK(manager.allocate(next, {{"microseg.vni", std::to_string(*vni)}}, {}));
  CHECK(model::vni_in(other.allocate(id, asked, {*vni}).value()) == *vni + 1);
}

TEST_CASE("what a manager answers to the options of people") {
  std::string many;
  for (int i = 0; i < 16; ++i) many += "allow {k" + std::to_string(i) + "} -> any;";
  struct {
    const char* title;
    model::Options options;
    std::string answer;  // the keys and values, or the error
  } rows[] = {
      {"a VNI of their own", {{"microseg.vni", "7"}}, "microseg.encoding=1 microseg.vni=7 "},
      {"in capitals", {{"Microseg.VNI", "7"}}, "Microseg.VNI=7 microseg.encoding=1 "},
      {"one that is in use", {{"microseg.vni", "9"}}, "microseg.vni 9 is another network's: choose another number"},
      {"an earlier answer of a later version", {{"microseg.vni", "9"}, {"microseg.encoding", "2"}},
       "microseg.encoding=2 microseg.vni=9 "},
      {"a policy that does not parse", {{"microseg.policy", "allow web db"}}, "option microseg.policy, line 1"},
      {"one that does not fit", {{"microseg.policy", many}}, "classes, at most 65535 fit"},
      {"an unknown option", {{"microseg.polcy", ""}}, "did you mean 'microseg.policy'?"},
  };
  for (auto& row : rows) {
    CAPTURE(row.title);
    engine::Allocations manager;
    auto answer = manager.allocate(net_id("a"), row.options, {9});
    std::string text = answer ? "" : answer.error().text;
    if (answer)
      for (auto& [key, value] : answer.value()) text += key + "=" + value + " ";
    CHECK_MESSAGE(has(text, row.answer.c_str()), text);
    // What was refused is remembered for people, until the network is allocated or gone.
    CHECK(manager.refused().contains(net_id("a")) == !answer);
    if (answer) continue;
    CHECK(manager.refused().at(net_id("a")).why == text);
    manager.name(net_id("a"), "app");
    (void)manager.allocate(net_id("a"), row.options, {9});
    CHECK(manager.refused().at(net_id("a")).name == "app");
    CHECK(manager.allocate(net_id("a"), {}, {9}));
    CHECK(manager.refused().empty());
    (void)manager.allocate(net_id("a"), row.options, {9});
    manager.free(net_id("a"));
    manager.name(net_id("a"), "app");
    CHECK(manager.refused().empty());
  }
}

TEST_CASE("a network is admitted before Docker makes it, or told what is wrong with it") {
  std::string many, wide = "allow {a} -> {b};";
  for (int i = 0; i < 16; ++i) many += "allow {k" + std::to_string(i) + "} -> any;";
  for (int i = 0; i < 12; ++i) wide += "allow {z" + std::to_string(i) + "} -> any : 9;";
  struct {
    const char* title;
    model::Options options;
    policy::Labels labels;
    std::string here, across;  // the errors
  } rows[] = {
      {"nothing", {}, {}, "", ""},
      {"a policy in both", {{"microseg.policy", "allow a -> b"}}, {{"microseg.policy", "allow b -> a"}}, "", ""},
      {"a mistake in the labels", {}, {{"microseg.policy.x", "allow a b"}}, "label microseg.policy, line 1, column 9", "line 1, column 9"},
      {"an unknown option", {{"microseg.polcy", ""}}, {}, "did you mean 'microseg.policy'?", "did you mean"},
      {"too many classes in the labels", {}, {{"microseg.policy", many}}, "= 65536 classes", "= 65536 classes"},
      {"too many together", {{"microseg.policy", "allow n -> n"}}, {{"microseg.policy", many.substr(0, many.rfind("allow"))}},
       "= 65536 classes", "= 65536 classes"},
      {"too large across hosts", {{"microseg.policy", wide}}, {}, "", "policy "},
  };
  for (auto& row : rows) {
    CAPTURE(row.title);
    for (bool across : {false, true}) {
      auto done = engine::admit({"microseg", row.options, row.labels}, across);
      const auto& expected = across ? row.across : row.here;
      const std::string said = done ? "" : done.error().text;
      CHECK_MESSAGE((expected.empty() ? said.empty() : has(said, expected.c_str())), said);
    }
  }
}

TEST_CASE("a policy is checked by itself") {
  auto fine = engine::check("allow web->api : 80; allow {tier=x} -> web");
  REQUIRE(fine);
  CHECK(fine->statements == 2);
  CHECK(fine->classes == 6);
  CHECK(fine->effective == "allow web -> api : 80\nallow {tier=x} -> web\n");
  CHECK(fine->across_hosts == "");
  CHECK(engine::check("")->statements == 0);

  auto broken = engine::check("allow web api");
  REQUIRE(!broken);
  CHECK(has(broken.error().text, "policy, line 1, column 11: expected '->'"));
  std::string many;
  for (int i = 0; i < 16; ++i) many += "allow {k" + std::to_string(i) + "} -> any;";
  auto large = engine::check(many);
  REQUIRE(!large);
  CHECK(has(large.error().text, "= 65536 classes, at most 65535 fit"));

  // Fits by its classes, and is too much where all of them have to be written out.
  std::string wide = "allow {a} -> {b};";
  for (int i = 0; i < 12; ++i) wide += "allow {z" + std::to_string(i) + "} -> any : 9;";
  auto across = engine::check(wide);
  REQUIRE(across);
  CHECK_MESSAGE(has(across->across_hosts, "policy "), across->across_hosts);
}
