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

 private:
  std::mutex mutex_;
  std::map<NetworkId, std::uint32_t> given_;
};

}  // namespace microseg::engine
