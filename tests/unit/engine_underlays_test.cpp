// Who else has a network, asked of an engine that answers, keeps silent, or has left the Swarm; and an Engine that
// follows it.
#include <doctest/doctest.h>

#include <mutex>
#include <thread>

#include "engine/underlays.h"
#include "microseg/base/log.h"
#include "microseg/engine/engine.h"
#include "support/fake_kernel.h"
#include "support/scenario.h"

using namespace microseg;
using namespace microseg::test;
using namespace std::chrono_literals;
using engine::Underlays;
using Known = std::map<NetworkId, model::Underlay>;

namespace {

const Ip kSelf = ip("10.99.0.1"), kTwo = ip("10.99.0.2"), kThree = ip("10.99.0.3");
const NetworkId kA = net_id("a"), kB = net_id("b");

// Thread-safe, but for what a test turns before anybody asks.
struct FakeDocker final : docker::EngineApi {
  std::mutex mutex;
  std::optional<Ip> self = kSelf;
  std::map<NetworkId, std::vector<Ip>> peers;  // of networks that it lists
  std::vector<docker::NetworkInfo> others;     // for networks()
  bool silent = false;
  std::string asked;

  template <class T>
  Result<T> answer(const std::string& what, Result<T> value) {
    std::lock_guard lock(mutex);
    asked += what + " ";
    if (silent) return Error{Errc::unavailable, 0, "no answer in time"};
    return value;
  }
  Result<docker::GatewayBridge> gateway_bridge(docker::Deadline) override {
    return Error{Errc::not_found, 0, "no docker_gwbridge"};
  }
  Result<docker::NetworkInfo> network(const NetworkId& id, docker::Deadline) override {
    std::unique_lock lock(mutex);
    auto it = peers.find(id);
    if (it == peers.end()) {
      lock.unlock();
      return answer<docker::NetworkInfo>(id.str().substr(0, 1), Error{Errc::not_found, 0, "no such network"});
    }
    docker::NetworkInfo info{id, "app", "microseg", "swarm", {}, {}, {}, {}, it->second};
    lock.unlock();
    return answer<docker::NetworkInfo>(id.str().substr(0, 1), info);
  }
  Result<std::vector<docker::NetworkInfo>> networks(docker::Deadline) override {
    return answer<std::vector<docker::NetworkInfo>>("list", others);
  }
  Result<model::Container> container_by_name(const std::string&, docker::Deadline) override {
    return answer<model::Container>("name", Error{Errc::not_found, 0, "none"});
  }
  Result<model::Container> container_by_id(const std::string&, docker::Deadline) override {
    return answer<model::Container>("id", Error{Errc::not_found, 0, "none"});
  }
  Result<std::optional<Ip>> node_address(docker::Deadline) override { return answer("self", Result(self)); }
  Status follow(const std::function<void()>& on_open, const std::function<void(const docker::Event&)>&,
                const std::function<bool()>& stop) override {
    on_open();
    while (!stop()) std::this_thread::sleep_for(5ms);  // as the contract says: looked at every 200 ms at least
    return {};
  }
  std::string take() { return std::exchange(asked, ""); }
};

std::string show(const Known& known) {
  std::string out;
  for (auto& [id, underlay] : known) {
    out += id.str().substr(0, 1) + ":" + (underlay.self ? underlay.self->str() : "none");
    for (auto& peer : underlay.peers) out += "," + peer.str();
    out += " ";
  }
  return out;
}

// An Engine with its threads, over a fake kernel.
struct Running {
  std::shared_ptr<FakeDocker> docker;
  engine::Engine engine;
  std::thread runner, watcher;

  explicit Running(std::shared_ptr<FakeDocker> api)
      : docker(api), engine({.version = "test", .guards_host = true, .vxlan_port = 4799, .docker = api}) {
    set_log_level(LogLevel::error);
    runner = std::thread([this] {
      engine.run([]() -> Result<engine::Parts> {
        return engine::Parts{std::make_unique<FakeKernel>(), store::make_memory(), {}};
      });
    });
    watcher = std::thread([this] { engine.watch_docker(); });
  }
  ~Running() {
    engine.stop();
    runner.join();
    watcher.join();
  }
  // Waits for it, 5 s at most.
  bool reaches(const std::vector<Ip>& peers) {
    const auto until = std::chrono::steady_clock::now() + 5s;
    while (std::chrono::steady_clock::now() < until) {
      auto views = engine.networks();
      if (views.size() == 1 && views[0].underlay == kSelf && views[0].peers == peers) return true;
      std::this_thread::sleep_for(5ms);
    }
    return false;
  }
};

const model::Options kSpanning{{"microseg.vni", "4242"}, {"microseg.encoding", "1"}};

}  // namespace

TEST_CASE("what is asked, and what is made of the answers") {
  FakeDocker docker;
  Underlays underlays(docker);
  auto now = std::chrono::steady_clock::now();
  CHECK(underlays.changes({}, now).empty());
  CHECK(docker.take() == "");  // nothing spans hosts

  docker.peers = {{kA, {kSelf, kTwo}}, {kB, {kSelf}}};
  Known known{{kA, {}}, {kB, {}}};
  auto changes = underlays.changes(known, now);
  CHECK(show(changes) == "a:10.99.0.1,10.99.0.2 b:10.99.0.1 ");
  CHECK(docker.take() == "self a b ");
  known = changes;
  CHECK(underlays.changes(known, now += 1s).empty());
  CHECK(docker.take() == "a b ");  // the address is not asked for each time

  SUBCASE("a peer comes") {
    docker.peers[kB].push_back(kThree);
    CHECK(show(underlays.changes(known, now)) == "b:10.99.0.1,10.99.0.3 ");
  }
  SUBCASE("all are gone") {
    docker.peers[kA].clear();
    CHECK(show(underlays.changes(known, now)) == "a:10.99.0.1 ");
  }
  SUBCASE("Docker does not list the network yet: its peers stay, and this host's address is known") {
    docker.peers.erase(kA);
    CHECK(underlays.changes(known, now).empty());
    known[kA] = {};
    CHECK(show(underlays.changes(known, now)) == "a:10.99.0.1 ");
  }
  SUBCASE("silence keeps what is known, and is met once") {
    docker.silent = true;
    CHECK(underlays.changes(known, now).empty());
    CHECK(docker.take() == "a ");
    underlays.forget_self();
    CHECK(underlays.changes(known, now).empty());
    CHECK(docker.take() == "self ");
  }
  SUBCASE("the node has left the Swarm") {
    docker.self.reset();
    CHECK(underlays.changes(known, now).empty());
    CHECK(show(underlays.changes(known, now += 15s)) == "a:none b:none ");
  }
  SUBCASE("the node has another address: it is not among the peers that it lists") {
    docker.self = kThree;
    docker.peers = {{kA, {kTwo, kThree}}, {kB, {kThree}}};
    (void)underlays.changes(known, now);
    CHECK(show(underlays.changes(known, now)) == "a:10.99.0.3,10.99.0.2 b:10.99.0.3 ");
  }
}

TEST_CASE("an engine follows the peers of what it has, by the clock and at a hint") {
  auto docker = std::make_shared<FakeDocker>();
  docker->peers = {{kA, {kSelf, kTwo}}};
  Running running(docker);
  REQUIRE(running.engine.create_network({kA, kSpanning, false, two_subnets()}));
  CHECK(running.reaches({kTwo}));
  {
    std::lock_guard lock(docker->mutex);
    docker->peers[kA] = {kSelf, kThree};
  }
  running.engine.nodes_changed();
  CHECK(running.reaches({kThree}));
  {
    std::lock_guard lock(docker->mutex);
    docker->peers[kA] = {kSelf, kTwo, kThree};
  }
  CHECK(running.reaches({kTwo, kThree}));
}

TEST_CASE("a manager passes over the VNIs of the networks that Docker lists, and does not wait for the list") {
  auto docker = std::make_shared<FakeDocker>();
  Running running(docker);
  const auto first = model::vni_in(running.engine.allocate_network(kA, {}).value());
  REQUIRE(first);
  REQUIRE(running.engine.free_network(kA));
  const model::Options taken{{"microseg.vni", std::to_string(*first)}};
  {
    std::lock_guard lock(docker->mutex);
    docker->others = {{kB, "b", "localhost:5000/other:1", "swarm", {}, taken, {}, {}, {}},
                      {kA, "a", "microseg:latest", "swarm", {}, {{"microseg.vni", "77"}}, {}, {}, {}}};
  }
  const auto second = running.engine.allocate_network(kA, {});
  CHECK(model::vni_in(second.value()) == *first + 1);
  CHECK(running.engine.allocate_network(kA, {{"microseg.vni", "77"}}));  // its own is no other's
  CHECK(!running.engine.allocate_network(kA, taken));
  {
    std::lock_guard lock(docker->mutex);
    docker->silent = true;
  }
  CHECK(running.engine.allocate_network(kA, second.value()).value() == second.value());
}
