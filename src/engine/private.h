// What the engine's two halves share: the thread that owns the core (engine.cpp), and those that follow Docker and hand it
// what they learn (watch.cpp).
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <future>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>

#include "allocations.h"
#include "core.h"
#include "microseg/base/log.h"
#include "microseg/engine/engine.h"
#include "network_reads.h"
#include "queue.h"

namespace microseg::engine {

inline std::int64_t unix_ms() {
  using std::chrono::system_clock, std::chrono::milliseconds;
  return std::chrono::duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
}

struct Engine::Private {
  Config config;
  Queue queue;
  std::int64_t started_ms = unix_ms();

  // On the engine's thread only.
  Parts parts;
  std::unique_ptr<Core> core;
  std::string failure = "microseg is starting";

  Allocations allocations;
  std::shared_ptr<NetworkReads> reads;  // what config.docker is, where there is one

  // Between the engine and the watcher.
  std::mutex mutex;
  std::condition_variable poked;
  // How often each of the watcher's threads was woken.
  std::uint64_t resolver_pokes = 0, peers_pokes = 0, gateway_pokes = 0;
  bool compare_due = false;  // events may have passed unseen
  bool stopping = false;
  std::string docker_state = "off";
  std::set<std::string> touched;  // segments that wait for a look

  // A bug in one piece of work must not end the engine: what it left half done, the next look at the kernel mends.
  static void perform(const Queue::Work& work) {
    try {
      work();
    } catch (const std::exception& e) {
      log_error("internal error", {{"what", e.what()}});
    }
  }

  Error failed(std::string_view what) const { return Error{Errc::unavailable, 0, std::string(what) + ": " + failure}; }

  // Runs `f(core)` on the engine's thread; refuses when there is no core.
  template <class F>
  auto with_core(std::string_view what, F f) -> decltype(f(*core)) {
    using Answer = decltype(f(*core));
    try {
      return queue.ask([&]() -> Answer {
        if (!core) return failed(what);
        return f(*core);
      });
    } catch (const std::future_error&) {
      return Error{Errc::unavailable, 0, std::string(what) + ": microseg is stopping"};
    }
  }
  template <class F, class Answer = decltype(std::declval<F>()(std::declval<Core&>()))>
  Answer view(F f, Queue::Turn turn = Queue::Turn::last) {
    try {
      return queue.ask([&]() -> Answer { return core ? f(*core) : Answer{}; }, turn);
    } catch (const std::future_error&) {
      return Answer{};
    }
  }

  // Many events, one look: what is still waiting to be looked at is not queued again.
  void note_touched(const std::string& segment) {
    if (segment == kernel::kHostPorts) wake_gateways();  // somebody has got an address there, or lost one
    {
      std::lock_guard lock(mutex);
      if (!touched.insert(segment).second) return;
    }
    // A port is bound to its address before its container speaks, or what that says is lost.
    const auto turn = segment == kernel::kHostPorts ? Queue::Turn::next : Queue::Turn::last;
    queue.post(
        [this, segment] {
          {
            std::lock_guard lock(mutex);
            touched.erase(segment);
          }
          core->touched(segment);
        },
        turn);
  }

  void wake(std::uint64_t& pokes) {
    {
      std::lock_guard lock(mutex);
      ++pokes;
    }
    poked.notify_all();
  }
  void wake_watcher() { wake(resolver_pokes); }
  void wake_to_compare() {
    {
      std::lock_guard lock(mutex);
      compare_due = true;
    }
    wake_watcher();
  }
  bool take_compare_due() {
    std::lock_guard lock(mutex);
    return std::exchange(compare_due, false);
  }
  void wake_gateways() { wake(gateway_pokes); }
  bool stopping_now() {
    std::lock_guard lock(mutex);
    return stopping;
  }
  // Waits until woken again since `seen` or until `limit` has passed; false when stopping.
  bool wait(std::chrono::milliseconds limit, const std::uint64_t& pokes, std::uint64_t& seen) {
    std::unique_lock lock(mutex);
    poked.wait_for(lock, limit, [&] { return pokes != seen || stopping; });
    seen = pokes;
    return !stopping;
  }
  void set_docker_state(const std::string& state) {
    std::lock_guard lock(mutex);
    if (docker_state != state) log_info("docker", {{"state", state}});
    docker_state = state;
  }

  bool compare_with_docker();
  bool resolve(const Unresolved& which);
  bool resolve_all();
  void name_refused();
  void resolve_loop();
  void peers_loop();
  void gateways_loop();
};

}  // namespace microseg::engine
