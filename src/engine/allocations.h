// What the manager of a Swarm answers when Docker asks for a network's allocation. Any manager may be asked at any time,
// so the answer is made of the question, and what is remembered only keeps two fresh networks apart.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <set>

#include "microseg/model/network.h"

namespace microseg::engine {

// Thread-safe.
class Allocations {
 public:
  // `options` and, where they lack them, microseg.vni and microseg.encoding: what every node is handed in CreateNetwork.
  // An earlier answer comes back unchanged. `used`: VNIs of other networks, as far as they are known.
  // invalid: options, or a policy, that a node would refuse. exists: the VNI that is asked for is another network's.
  Result<model::Options> allocate(const NetworkId& id, const model::Options& options, std::set<std::uint32_t> used);
  void free(const NetworkId& id);

  // Networks that were refused when they were asked for last. Docker has answered the user by then, and tells nobody why
  // such a network stays as it is.
  struct Refused {
    std::string why;
    std::string name{};  // "" until it is known
  };
  std::map<NetworkId, Refused> refused();
  // Of a refused one; others have none here.
  void name(const NetworkId& id, const std::string& name);

 private:
  Result<model::Options> answer(const NetworkId& id, const model::Options& options, std::set<std::uint32_t> used);

  std::mutex mutex_;
  std::map<NetworkId, std::uint32_t> given_;
  std::map<NetworkId, Refused> refused_;
};

}  // namespace microseg::engine
