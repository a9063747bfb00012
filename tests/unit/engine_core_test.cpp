// Core over a fake kernel and a store that can refuse: what is true after each command.
#include <doctest/doctest.h>

#include <cerrno>

#include "engine/core.h"
#include "microseg/base/log.h"
#include "support/fake_kernel.h"
#include "support/rule_vm.h"
#include "support/scenario.h"

using namespace microseg;
using namespace microseg::test;
using engine::Core, engine::Facts;

namespace {

// A store whose disk can be full.
class FailingStore final : public store::Store {
 public:
  bool full = false;
  Result<model::State> load() override { return inner_->load(); }
  Status write(const store::Change& change) override {
    if (full) return Error{Errc::unavailable, ENOSPC, "disk full"};
    return inner_->write(change);
  }
  Result<std::vector<model::AppliedPolicy>> revisions(const NetworkId& network) override {
    return inner_->revisions(network);
  }

 private:
  std::unique_ptr<store::Store> inner_ = store::make_memory();
};

Facts container(const std::string& name, policy::Labels labels = {}, const std::string& id = "") {
  return {"app", policy::Labels{}, model::Container{id.empty() ? long_id(name) : id, name, std::move(labels)}, ""};
}
const Facts kNothingKnown{std::nullopt, std::nullopt, std::nullopt, "no answer in time"};

struct Lab {
  FakeKernel kernel;
  FailingStore store;
  std::int64_t now = 1'000'000;
  std::unique_ptr<Core> core;

  explicit Lab(const std::string& policy = "allow web -> api : 80") {
    set_log_level(LogLevel::error);
    start();
    REQUIRE(core->create_network(request(policy)));
  }
  void start() {
    core = std::make_unique<Core>(kernel, store, [this] { return now; }, engine::Setup{});
    REQUIRE(core->start());
  }
  static engine::CreateNetwork request(const std::string& policy) {
    return {net_id("a"), policy.empty() ? model::Options{} : model::Options{{"microseg.policy", policy}}, false, two_subnets()};
  }
  static engine::CreateEndpoint endpoint(const std::string& id, unsigned n) {
    return {net_id("a"), ep_id(id), prefix("10.5.0." + std::to_string(n) + "/24"),
            prefix("fd05::" + std::to_string(n) + "/64"), std::nullopt, {}};
  }
  void join(const std::string& id, unsigned n, const Facts& facts) {
    auto made = core->create_endpoint(endpoint(id, n));
    REQUIRE_MESSAGE(made, made.error().text);
    auto joined = core->join({net_id("a"), ep_id(id), "/sandbox/" + id}, facts);
    REQUIRE_MESSAGE(joined, joined.error().text);
  }
  std::size_t segments() { return kernel.segments().value().size(); }  // without the host
  const kstate::Segment& segment() const { return kernel.state.at(net_id("a").brief()); }
  std::uint16_t generation() const { return render::generation_in(*segment().table)->number; }

  // What becomes of a first packet to TCP port 80 (or another) from one endpoint to another's address.
  std::string packet(const std::string& from, unsigned source, unsigned target, std::uint16_t port = 80) const {
    std::uint32_t mark = 0;
    Packet p{.link = render::link_name(ep_id(from)).str(), .source = ip("10.5.0." + std::to_string(source)),
             .target = ip("10.5.0." + std::to_string(target)), .target_port = port, .track = {}};
    p.track = {kNew, false, &mark, p.source, p.target};
    return forward(*segment().table, p);
  }
};

}  // namespace

TEST_CASE("an endpoint's life") {
  Lab lab;
  lab.join("e2", 2, container("web"));
  lab.join("e3", 3, container("api"));
  CHECK(lab.packet("e2", 2, 3) == "pass allowed");
  CHECK(lab.packet("e3", 3, 2) == "reset refused");
  CHECK(lab.segment().links.size() == 2);
  const auto before = lab.generation();
  REQUIRE(lab.core->leave(ep_id("e3")));
  CHECK(lab.segment().links.size() == 1);
  CHECK(lab.generation() > before);
  REQUIRE(lab.core->leave(ep_id("e3")));  // twice is fine
  REQUIRE(lab.core->delete_endpoint(ep_id("e3")));
  REQUIRE(lab.core->delete_endpoint(ep_id("e3")));
  REQUIRE(lab.core->delete_network(net_id("a")));
  REQUIRE(lab.core->delete_network(net_id("a")));
  CHECK(lab.segments() == 0);
  CHECK(lab.store.load().value() == model::State{});
}

TEST_CASE("the same again is success without an op; other content is `exists`") {
  Lab lab;
  lab.join("e2", 2, container("web"));
  const auto applied = lab.kernel.applies;
  CHECK(lab.core->create_network(Lab::request("allow web -> api : 80")));
  CHECK(lab.core->create_endpoint(Lab::endpoint("e2", 2)));
  CHECK(lab.kernel.applies == applied);
  CHECK(lab.core->create_network(Lab::request("")).error().code == Errc::exists);
  CHECK(lab.core->create_endpoint(Lab::endpoint("e2", 9)).error().code == Errc::exists);
}

TEST_CASE("a join that the kernel refuses leaves nothing") {
  Lab lab;
  REQUIRE(lab.core->create_endpoint(Lab::endpoint("e2", 2)));
  lab.kernel.refuse_all = EPERM;
  CHECK(!lab.core->join({net_id("a"), ep_id("e2"), "/sandbox"}, container("web")));
  lab.kernel.refuse_all = 0;
  lab.now += 60'000;
  (void)lab.core->retry_due();
  CHECK(lab.segment().links.empty());
  CHECK(lab.segment().table->sets.at("tag4").elements->empty());
  CHECK(lab.core->join({net_id("a"), ep_id("e2"), "/sandbox"}, container("web")));
}

TEST_CASE("any one op that fails at join is overcome or undone") {
  for (std::size_t n = 0; n < 6; ++n) {
    CAPTURE(n);
    Lab lab;
    lab.join("e3", 3, container("api"));
    REQUIRE(lab.core->create_endpoint(Lab::endpoint("e2", 2)));
    lab.kernel.fail[lab.kernel.applies + n] = EBUSY;
    if (!lab.core->join({net_id("a"), ep_id("e2"), "/sandbox"}, container("web"))) {
      CHECK(lab.segment().links.size() == 1);
      CHECK(lab.core->join({net_id("a"), ep_id("e2"), "/sandbox"}, container("web")));
    }
    CHECK(lab.packet("e2", 2, 3) == "pass allowed");
    CHECK(lab.segment().links.size() == 2);
  }
}

TEST_CASE("a store that refuses keeps the kernel closed") {
  Lab lab;
  lab.join("e3", 3, container("api"));
  REQUIRE(lab.core->create_endpoint(Lab::endpoint("e2", 2)));
  lab.store.full = true;
  CHECK(!lab.core->join({net_id("a"), ep_id("e2"), "/sandbox"}, container("web")));
  CHECK(lab.segment().links.size() == 1);
  CHECK(!lab.core->create_endpoint(Lab::endpoint("e4", 4)));
  CHECK(!lab.core->apply_policy("app", "allow api -> web"));
  CHECK(lab.core->find_network("app").value()->applied.version == 0);
  CHECK(!lab.core->leave(ep_id("e3")));  // the permission goes, whatever the disk says
  CHECK(lab.segment().links.empty());
}

TEST_CASE("quarantined until it is known, and judged anew when its name changes") {
  Lab lab;
  lab.join("e3", 3, container("api"));
  lab.join("e2", 2, kNothingKnown);
  CHECK(lab.packet("e2", 2, 3) == "reset quarantined");
  CHECK(lab.core->unresolved().size() == 1);
  lab.core->learn({net_id("a"), ep_id("e2")}, container("web"));
  CHECK(lab.packet("e2", 2, 3) == "pass allowed");
  CHECK(lab.core->unresolved().empty());
  const auto before = lab.generation();
  lab.core->renamed(long_id("web"), "other");
  CHECK(lab.packet("e2", 2, 3) == "reset refused");
  CHECK(lab.generation() > before);
}

TEST_CASE("whom Docker lists under another name than we know is to be looked up") {
  Lab lab;
  lab.join("e3", 3, container("api"));
  lab.join("e2", 2, container("web"));
  lab.join("e4", 4, kNothingKnown);  // looked up anyway, again and again
  const auto listed = [&](const std::string& web) {
    return lab.core->known_otherwise(net_id("a"), {{ep_id("e2"), web}, {ep_id("e3"), "api"}, {ep_id("e4"), "db"}, {ep_id("e5"), "new"}});
  };
  CHECK(listed("web").empty());
  REQUIRE(listed("other").size() == 1);
  CHECK(listed("other")[0].endpoint == ep_id("e2"));
  CHECK(lab.core->known_otherwise(net_id("b"), {{ep_id("e2"), "other"}}).empty());
}

TEST_CASE("a policy in labels that cannot be read closes the network until it can") {
  Lab lab;
  auto broken = container("web");
  broken.network_labels = policy::Labels{{"microseg.policy", "allow web api"}};
  lab.join("e3", 3, container("api"));
  CHECK(lab.packet("e3", 3, 3) == "reset refused");
  lab.join("e2", 2, broken);
  CHECK(lab.packet("e2", 2, 3) == "reset quarantined");
  CHECK(lab.packet("e3", 3, 2) == "reset quarantined");
  lab.core->learn({net_id("a"), ep_id("e2")}, container("web"));
  CHECK(lab.packet("e2", 2, 3) == "pass allowed");
}

TEST_CASE("an address that is given out again evicts its holder, and its stamps") {
  Lab lab;
  lab.join("e3", 3, container("api"));
  lab.join("e2", 2, container("web"));
  const auto before = lab.generation();
  lab.join("f2", 2, container("db"));
  CHECK(lab.segment().links.size() == 2);
  CHECK(!lab.core->state().endpoints.contains(ep_id("e2")));
  CHECK(lab.packet("f2", 2, 3) == "reset refused");
  CHECK(lab.packet("e2", 2, 3) == "drop spoofed");
  CHECK(lab.generation() > before);
}

TEST_CASE("what Docker does not have any more goes, if it is not too young to be known") {
  Lab lab;
  lab.join("e2", 2, container("web"));
  const std::vector<EndpointId> none;
  CHECK(lab.core->docker_has(net_id("a"), nullptr, lab.now));
  CHECK(lab.core->docker_has(net_id("a"), &none, lab.now));
  CHECK(lab.core->state().endpoints.size() == 1);
  lab.now += Core::kCreatedGraceMs + 1;
  const std::vector<EndpointId> both = {ep_id("e1"), ep_id("e2")};
  CHECK(!lab.core->docker_has(net_id("a"), &both, lab.now));
  CHECK(lab.core->state().endpoints.size() == 1);
  CHECK(!lab.core->docker_has(net_id("a"), &none, lab.now));
  CHECK(lab.core->state().endpoints.empty());
  CHECK(lab.segment().links.empty());
  CHECK(!lab.core->docker_has(net_id("a"), nullptr, lab.now));
  CHECK(lab.segments() == 0);
}

TEST_CASE("a restarted daemon adopts what is there and writes nothing") {
  Lab lab;
  lab.join("e2", 2, container("web"));
  lab.join("e3", 3, container("api"));
  REQUIRE(lab.kernel.create_segment("unknown"));
  const auto applied = lab.kernel.applies;
  const auto generation = lab.generation();
  lab.start();
  CHECK(lab.kernel.applies == applied);
  CHECK(lab.generation() == generation);
  CHECK(lab.segments() == 1);  // the segment of no network is gone
  CHECK(lab.packet("e2", 2, 3) == "pass allowed");
}

TEST_CASE("drift is repaired when somebody touched the segment") {
  Lab lab;
  lab.kernel.sandboxes = {"/sandbox/e2", "/sandbox/e3"};
  lab.join("e2", 2, container("web"));
  lab.join("e3", 3, container("api"));
  auto& segment = lab.kernel.state.at(net_id("a").brief());
  const auto before = lab.generation();
  SUBCASE("the table") { segment.table.reset(); }
  SUBCASE("an element") { segment.table->sets.at("class4").elements = kstate::make_elements({}); }
  SUBCASE("a rule") { segment.table->chains.at("tag").rules.clear(); }
  SUBCASE("a link") { segment.links.erase(segment.links.begin()); }
  SUBCASE("all of it") { lab.kernel.state.clear(); }
  if (lab.segments() == 0) lab.core->check_mounts();
  else lab.core->touched(net_id("a").brief());
  CHECK(lab.packet("e2", 2, 3) == "pass allowed");
  CHECK(lab.segment().links.size() == 2);
  CHECK(lab.generation() >= before);
}

TEST_CASE("applied policies are versioned; a refused one keeps what was there") {
  Lab lab("");
  lab.join("e2", 2, container("web"));
  lab.join("e3", 3, container("api"));
  CHECK(lab.packet("e2", 2, 3) == "reset refused");
  CHECK(lab.core->apply_policy("app", "allow web -> api : 80").value() == 1);
  CHECK(lab.packet("e2", 2, 3) == "pass allowed");
  auto refused = lab.core->apply_policy("app", "allow web api");
  REQUIRE(!refused);
  CHECK(refused.error().text.find("line 1") != std::string::npos);
  CHECK(lab.packet("e2", 2, 3) == "pass allowed");
  CHECK(lab.core->apply_policy("app", "").value() == 2);
  CHECK(lab.packet("e2", 2, 3) == "reset refused");
  CHECK(lab.core->apply_policy("nowhere", "").error().code == Errc::not_found);
}
