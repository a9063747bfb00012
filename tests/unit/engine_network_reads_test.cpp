// Reads of a network keep apart from Docker's removal of its endpoints, and neither waits for ever.
#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <latch>
#include <memory>
#include <string>

#include "engine/network_reads.h"

using namespace microseg;
using engine::NetworkReads;
using std::chrono::steady_clock, std::chrono::milliseconds;

namespace {

const NetworkId kApp = NetworkId::parse(std::string(64, 'a')).value(), kOther = NetworkId::parse(std::string(64, 'b')).value();
const EndpointId kWeb = EndpointId::parse(std::string(64, '1')).value(), kApi = EndpointId::parse(std::string(64, '2')).value();

// An engine that answers a read when it is told to.
struct SlowEngine : docker::EngineApi {
  std::latch asked{1}, may_answer{1};
  std::atomic<int> reads = 0;
  std::atomic<bool> answered = false;

  Result<docker::NetworkInfo> network(const NetworkId& id, docker::Deadline) override {
    ++reads;
    asked.count_down();
    may_answer.wait();
    answered = true;
    return docker::NetworkInfo{id, "app", "microseg", "local", {}, {}, {}, {}, {}};
  }
  Result<std::vector<docker::NetworkInfo>> networks(docker::Deadline) override { return none(); }
  Result<docker::GatewayBridge> gateway_bridge(docker::Deadline) override { return none(); }
  Result<model::Container> container_by_name(const std::string&, docker::Deadline) override { return none(); }
  Result<model::Container> container_by_id(const std::string&, docker::Deadline) override { return none(); }
  Result<std::optional<Ip>> node_address(docker::Deadline) override { return none(); }
  Status follow(const std::function<void()>&, const std::function<void(const docker::Event&)>&,
                const std::function<bool()>&) override {
    return none();
  }
  static Error none() { return Error{Errc::not_found, 0, "not here"}; }
};

// So long that a test which waits for it has failed, and so short that one may.
constexpr milliseconds kLong{60'000}, kShort{50};

struct Lab {
  std::shared_ptr<SlowEngine> engine = std::make_shared<SlowEngine>();
  NetworkReads reads;

  explicit Lab(milliseconds patience, milliseconds forgotten = kLong) : reads(engine, patience, forgotten) {}

  bool read(const NetworkId& network, docker::Deadline deadline = steady_clock::now() + kLong) {
    return bool(reads.network(network, deadline));
  }
  std::future<bool> reading(const NetworkId& network) {
    return std::async(std::launch::async, [this, network] { return read(network); });
  }
};

steady_clock::duration time_of(const auto& what) {
  const auto began = steady_clock::now();
  what();
  return steady_clock::now() - began;
}

}  // namespace

TEST_CASE("a read waits until Docker has removed every endpoint that leaves its network") {
  Lab lab(kLong);
  lab.engine->may_answer.count_down();
  lab.reads.removal_begins(kApp, kWeb);
  lab.reads.removal_begins(kApp, kApi);
  auto read = lab.reading(kApp);
  lab.reads.removal_ends(kApp, kWeb);
  CHECK(read.wait_for(kShort) == std::future_status::timeout);
  CHECK(lab.engine->reads == 0);
  lab.reads.removal_ends(kApp, kApi);
  CHECK(read.get());
}

TEST_CASE("another network is read meanwhile") {
  Lab lab(kLong);
  lab.engine->may_answer.count_down();
  lab.reads.removal_begins(kApp, kWeb);
  CHECK(time_of([&] { CHECK(lab.read(kOther)); }) < kLong);
}

TEST_CASE("Leave is answered when the reads under way have ended") {
  Lab lab(kLong);
  auto read = lab.reading(kApp);
  lab.engine->asked.wait();
  lab.reads.removal_begins(kApp, kWeb);
  auto left = std::async(std::launch::async, [&] { lab.reads.await_reads(kApp); });
  CHECK(left.wait_for(kShort) == std::future_status::timeout);
  lab.engine->may_answer.count_down();
  left.get();
  CHECK(lab.engine->answered);
  CHECK(read.get());
}

TEST_CASE("Leave does not wait for an engine that hangs") {
  Lab lab(kShort);
  auto read = lab.reading(kApp);
  lab.engine->asked.wait();
  lab.reads.removal_begins(kApp, kWeb);
  CHECK(time_of([&] { lab.reads.await_reads(kApp); }) >= kShort);
  CHECK(!lab.engine->answered);
  lab.engine->may_answer.count_down();
  CHECK(read.get());
}

TEST_CASE("a read does not wait for a removal that does not end") {
  Lab lab(kShort);
  lab.engine->may_answer.count_down();
  lab.reads.removal_begins(kApp, kWeb);
  CHECK(time_of([&] { CHECK(lab.read(kApp)); }) >= kShort);
}

TEST_CASE("a removal that has not ended in its time holds nobody any longer") {
  Lab lab(kLong, milliseconds(0));
  lab.engine->may_answer.count_down();
  lab.reads.removal_begins(kApp, kWeb);
  CHECK(time_of([&] { CHECK(lab.read(kApp)); }) < kLong);
}

TEST_CASE("a read's own deadline holds while it waits") {
  Lab lab(kLong);
  lab.engine->may_answer.count_down();
  lab.reads.removal_begins(kApp, kWeb);
  CHECK(time_of([&] { CHECK(lab.read(kApp, steady_clock::now() + kShort)); }) < kLong);
}
