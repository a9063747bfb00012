// A container, as far as a network driver meets one: a namespace, held by a mount as Docker's sandboxes are, into
// which a link is moved and configured as libnetwork does it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "microseg/engine/commands.h"
#include "support/lab_netns.h"

namespace microseg::lab {

// 64 hex digits that nobody had before in this process.
std::string fresh_id();

struct Box {
  explicit Box(engine::CreateEndpoint request);
  ~Box();
  Box(Box&&) = delete;

  engine::CreateEndpoint endpoint;  // as asked for; `mac` is filled in by plug()
  Netns netns;
  std::string sandbox;  // the mount

  Ip v4() const { return endpoint.v4->ip(); }
  Ip v6() const { return endpoint.v6->ip(); }
  // Its address of the family.
  Ip address(bool is_v4) const { return is_v4 ? v4() : v6(); }
  std::string link() const { return "ms" + endpoint.id.brief(); }  // in the segment

 private:
  Shown shown_;
};

// "10.5.0.2/24", "fd05::2/64": one of each family at most.
engine::CreateEndpoint endpoint_request(const NetworkId& network, const std::vector<std::string>& addresses,
                                        model::Options options = {});

struct NetworkSpec {
  std::vector<std::string> pools{"10.5.0.0/24 10.5.0.1", "fd05::/64 fd05::1"};  // pool and, if it has one, gateway
  model::Options options{};
  bool internal = false;
};
engine::CreateNetwork network_request(const NetworkSpec& spec);

// What dockerd does between Join's answer and the container's first instruction. `answered`: the MAC that
// CreateEndpoint answered, when the request had none. Without addresses the box is mute: it answers nothing.
void plug(Box& box, const engine::Joined& joined, const std::optional<Mac>& answered, bool with_addresses = true);

template <class T>
T need(Result<T> result) {
  if (!result) fail(result.error().text);
  return std::move(result).value();
}
inline void need(const Status& status) {
  if (!status) fail(status.error().text);
}

}  // namespace microseg::lab
