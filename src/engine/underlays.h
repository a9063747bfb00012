// Who else has the networks that span hosts, asked of the Docker Engine.
#pragma once

#include <map>
#include <optional>

#include "microseg/docker/engine_api.h"
#include "microseg/model/network.h"

namespace microseg::engine {

// For one thread.
class Underlays {
 public:
  explicit Underlays(docker::EngineApi& api) : api_(api) {}

  // What has changed of `known`. What cannot be asked stays as it is known. One call for each network, each within a
  // second; the first silence ends it, since the others would be silent too.
  std::map<NetworkId, model::Underlay> changes(const std::map<NetworkId, model::Underlay>& known, docker::Deadline now);
  // Something happened: this node's own address is asked for again, too.
  void forget_self() { asked_.reset(); }

 private:
  // `asked_` absent: not known whether it is still so.
  std::optional<Ip> self_;
  std::optional<docker::Deadline> asked_;
  docker::EngineApi& api_;
};

}  // namespace microseg::engine
