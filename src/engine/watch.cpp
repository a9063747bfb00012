// Docker's side: what it has, who is who, where other hosts and the gateway bridge's addresses are. Asked for on threads of
// their own, and put on the engine's queue.
#include <thread>

#include "look_up.h"
#include "private.h"
#include "underlays.h"

namespace microseg::engine {
namespace {

using std::chrono::steady_clock, std::chrono::milliseconds;

}  // namespace

// What Docker no longer has is removed here too, and who is called otherwise is looked up anew: Docker does not repeat a
// removal that it could not deliver, nor an event that nobody followed. True when something may be such a case and has to
// be asked for again soon.
bool Engine::Private::compare_with_docker() {
  auto ids = view([](Core& c) { return c.network_ids(); });
  bool again = false;
  for (auto& id : ids) {
    const auto asked_ms = unix_ms();
    auto network = config.docker->network(id, steady_clock::now() + std::chrono::seconds(5));
    if (!network && network.error().code != Errc::not_found) return true;
    std::vector<EndpointId> endpoints;
    if (network) {
      for (auto& [ep, name] : network.value().endpoints) endpoints.push_back(ep);
      for (auto& [ep, container] : network.value().container_ids) endpoints.push_back(ep);
    }
    again |= view([&](Core& c) { return c.docker_has(id, network ? &endpoints : nullptr, asked_ms); });
    if (!network) continue;
    for (auto& which : view([&](Core& c) { return c.known_otherwise(id, network->endpoints); })) again |= !resolve(which);
  }
  return again;
}

// Networks that the allocator was refused: their names, for people, until Docker has them no longer.
void Engine::Private::name_refused() {
  for (auto& [id, refused] : allocations.refused()) {
    auto network = config.docker->network(id, steady_clock::now() + std::chrono::seconds(2));
    if (network)
      allocations.name(id, network->name);
    else if (network.error().code == Errc::not_found)
      allocations.free(id);
  }
}

// One attempt to learn whose the endpoint is; true when that is known.
bool Engine::Private::resolve(const Unresolved& which) {
  auto facts = look_up(*config.docker, which, steady_clock::now() + std::chrono::seconds(2));
  queue.post([this, which, facts] {
    if (core) core->learn(which, facts);
  });
  return facts.container.has_value();
}

// One attempt for each network without a name and each endpoint without an identity; true when none is left.
bool Engine::Private::resolve_all() {
  bool all = true;
  // Early, so that a policy error in the labels is told before the first container, and the name can be used.
  for (auto& id : view([](Core& c) { return c.unknown_networks(); })) {
    auto network = config.docker->network(id, steady_clock::now() + std::chrono::seconds(2));
    all = all && network;
    if (!network) continue;
    Facts facts;
    facts.network_name = network->name;
    facts.network_labels = network->labels;
    queue.post([this, id, facts] {
      if (core) core->learn(id, facts);
    });
  }
  for (auto& which : view([](Core& c) { return c.unresolved(); })) all &= resolve(which);
  return all;
}

void Engine::Private::resolve_loop() {
  constexpr milliseconds kFirst{50}, kLast{2000}, kSoon{1000}, kIdle{30'000};
  milliseconds backoff = kFirst;
  auto next_compare = steady_clock::now();
  milliseconds pause = kIdle;
  std::uint64_t seen = 0;
  while (wait(pause, resolver_pokes, seen)) {
    const bool resolved = resolve_all();
    name_refused();
    backoff = resolved ? kFirst : std::min(backoff * 2, kLast);
    if (take_compare_due() || steady_clock::now() >= next_compare)
      next_compare = steady_clock::now() + (compare_with_docker() ? kSoon : kIdle);
    const auto until_compare = std::chrono::ceil<milliseconds>(next_compare - steady_clock::now());
    pause = std::max(milliseconds(1), resolved ? until_compare : std::min(backoff, until_compare));
  }
}

// No event tells of a network's peers, so they are asked for by the clock; sooner for a while after something happened,
// because the nodes tell each other a moment after they have told us.
void Engine::Private::peers_loop() {
  constexpr milliseconds kEach{1000}, kSoon{200}, kIdle{30'000};
  constexpr std::chrono::seconds kSoonFor{3};
  Underlays underlays(*config.docker);
  std::uint64_t seen = 0, before = 0;
  auto soon_until = steady_clock::now();
  milliseconds pause{0};
  while (wait(pause, peers_pokes, seen)) {
    if (seen != before) {
      soon_until = steady_clock::now() + kSoonFor;
      underlays.forget_self();
    }
    before = seen;
    const auto known = view([](Core& c) { return c.underlays(); });
    for (auto& [id, now] : underlays.changes(known, steady_clock::now()))
      queue.post([this, id = id, now = now] {
        if (core) core->learn_underlay(id, now);
      });
    pause = known.empty() ? kIdle : steady_clock::now() < soon_until ? kSoon : kEach;
  }
}

// Addresses of the gateway bridge: asked for again and again while one of ours is about to get one.
void Engine::Private::gateways_loop() {
  constexpr milliseconds kUrgent{20}, kEach{2000};
  std::uint64_t seen = 0;
  milliseconds pause{0};
  while (wait(pause, gateway_pokes, seen)) {
    const auto asked = steady_clock::now();
    auto bridge = list_gateways(*config.docker, asked + std::chrono::seconds(1));
    const auto learn = [&](Core& c) {
      if (bridge) c.learn_gateways(bridge.value(), asked.time_since_epoch().count());
      return c.gateways_urgent();
    };
    const bool urgent = view(learn, Queue::Turn::next);  // a container may wait for its address
    pause = urgent ? kUrgent : kEach;
  }
}

void Engine::watch_docker() {
  auto& p = *p_;
  if (!p.config.docker) return;
  std::thread resolver([&p] { p.resolve_loop(); }), peers([&p] { p.peers_loop(); }),
      gateways([&p] { p.gateways_loop(); });
  auto on_event = [&p](const docker::Event& event) {
    if (event.type == "network" && (event.action == "connect" || event.action == "remove")) p.wake_watcher();
    if (event.type == "network" || event.action == "start" || event.action == "die") p.wake_gateways();
    if (event.type != "container" || event.action != "rename") return;
    const auto name = event.attributes.find("name");  // the new one, without the slash (daemon/events.go)
    if (name == event.attributes.end()) return;
    p.queue.post([&p, id = event.actor_id, name = name->second] {
      if (p.core) p.core->renamed(id, name);
    });
  };
  auto on_open = [&p] {
    p.set_docker_state("connected");
    p.wake_to_compare();
  };
  while (!p.stopping_now()) {
    auto ended = p.config.docker->follow(on_open, on_event, [&p] { return p.stopping_now(); });
    p.set_docker_state("unreachable: " + (ended ? std::string("the engine closed the event stream") : ended.error().text));
    std::unique_lock lock(p.mutex);
    p.poked.wait_for(lock, std::chrono::milliseconds(500), [&p] { return p.stopping; });
  }
  resolver.join();
  peers.join();
  gateways.join();
}

}  // namespace microseg::engine
