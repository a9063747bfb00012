// Whose address is it on Docker's gateway bridge? From what Docker lists and from who joined: values in, values out.
//
// Docker gives a container's sandbox its address there after it has our answer to Join, and may give it one that was
// another container's a moment ago. So from before that answer until the sandbox's address is known we are *holding*:
// only addresses that are listed as somebody else's pass unjudged, all unknown ones are dropped. A container that has
// another way out never gets one there, but may any time later (docker network disconnect): as long as it is ours and
// has none, we hold as well, and Docker is asked less often.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "microseg/docker/engine_api.h"

namespace microseg::engine {

class Gateways {
 public:
  using Addresses = docker::GatewayBridge::Addresses;

  // A sandbox of ours is about to get an address. Success to say it again.
  void expect(const std::string& sandbox);
  // None of ours is left in it: its address is nobody's that we know from now on.
  void forget(const std::string& sandbox);
  // The sandbox's container runs, and a listing asked for after that has no address of it: nothing to be waited for.
  void settle(const std::string& sandbox);
  // What Docker lists. `asked`: the number that ask() gave when it was asked for; older ones than the newest are passed over.
  void take(const docker::GatewayBridge& listing, std::uint64_t asked);
  std::uint64_t ask() { return ++asked_; }
  // Somebody's address may have become free, or Docker does not answer: while holding, nobody is known to be foreign.
  void doubt();

  bool holding() const { return sandboxes_.size() > ours_.size(); }
  // Those whose address is about to be listed: Docker is to be asked again at once.
  const std::set<std::string>& expected() const { return expected_; }
  const std::map<std::string, Addresses>& ours() const { return ours_; }
  const std::set<Ip>& foreign() const { return foreign_; }
  const std::string& link() const { return link_; }

 private:
  std::set<std::string> sandboxes_;          // of ours
  std::set<std::string> expected_;           // of these
  std::map<std::string, Addresses> ours_;    // of these, those with an address
  std::set<Ip> foreign_;
  std::string link_ = "docker_gwbridge";
  std::uint64_t asked_ = 0, taken_ = 0;
};

// The last component of a SandboxKey, as the gateway bridge's listing names it.
std::string sandbox_name(const std::string& sandbox_key);

}  // namespace microseg::engine
