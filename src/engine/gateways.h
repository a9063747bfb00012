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
#include <vector>

#include "microseg/docker/engine_api.h"

namespace microseg::engine {

class Gateways {
 public:
  using Addresses = docker::GatewayBridge::Addresses;

  // Sandboxes of ours, all of them: from a new one on an address is expected (`now`: ms); of one that is not there any
  // more the address is nobody's that we know.
  void follow(const std::set<std::string>& sandboxes, std::int64_t now);
  // One that has had an address since before we were started.
  void restore(const std::string& sandbox, const Addresses& addresses);
  // What Docker listed when it was asked at `asked` (a steady clock's time); older ones than the newest, or than a doubt, are passed over.
  void take(const docker::GatewayBridge& listing, std::int64_t asked);
  // Addresses that were somebody else's when we were started.
  void restore_foreign(std::set<Ip> addresses) { foreign_ = std::move(addresses); }
  // At `now` (the same clock) somebody's address may have become free, or Docker did not answer: while holding, nobody is
  // known to be foreign until it has listed what is so since.
  void doubt(std::int64_t now) { doubted_ = now; }

  bool holding() const { return sandboxes_.size() > ours_.size(); }
  // An address is about to be listed: Docker is to be asked again at once. For a while; then it has another way out.
  bool urgent(std::int64_t now) const;  // ms
  const std::map<std::string, Addresses>& ours() const { return ours_; }
  // Addresses of sandboxes that we have just left: what is still in there may speak from them until Docker takes them
  // back. Allowed nothing, and not let go until a listing no longer has the sandbox, or has had it for long enough for
  // its container to live on without us.
  std::vector<Addresses> parting() const;
  std::set<Ip> foreign() const { return holding() && doubted_ > taken_ ? std::set<Ip>{} : foreign_; }
  const std::string& link() const { return link_; }

 private:
  std::map<std::string, std::int64_t> sandboxes_;  // of ours; since when an address is expected, ms
  std::map<std::string, Addresses> ours_;          // of these, those with an address
  struct Parting {
    Addresses addresses;
    std::int64_t listed = 0;  // since when listings have had it all the same; 0: none has yet
  };
  std::map<std::string, Parting> parting_;
  std::set<Ip> foreign_;
  std::string link_ = "docker_gwbridge";
  std::int64_t taken_ = 0, doubted_ = 0;
};

// The last component of a SandboxKey, as the gateway bridge's listing names it.
std::string sandbox_name(const std::string& sandbox_key);

}  // namespace microseg::engine
