// The single owner of the truth: model, store and kernel, one command at a time. Not thread-safe: Engine runs it on
// its thread. Nothing here waits for Docker; what Docker says comes in as arguments.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "gateways.h"
#include "judgement.h"
#include "microseg/engine/commands.h"
#include "microseg/kernel/kernel.h"
#include "microseg/render/gateway.h"
#include "microseg/render/host_table.h"
#include "microseg/store/store.h"

namespace microseg::engine {

// What a look-up found out about an endpoint and its network; each part may be missing.
struct Facts {
  std::optional<std::string> network_name;
  std::optional<policy::Labels> network_labels;
  std::optional<model::Container> container;
  std::string trouble;  // why a part is missing, for people
  std::optional<docker::GatewayBridge> gateway{};  // and when it was asked for (steady clock)
  std::int64_t gateway_asked = 0;
};

struct Unresolved {
  NetworkId network;
  EndpointId endpoint;
};

using Clock = std::function<std::int64_t()>;  // Unix time, ms

struct Setup {
  bool with_docker = true;   // an Engine API will tell names and labels; without one they count as known and empty
  bool guards_host = false;  // networks may span hosts: the host's own table is kept, and VXLAN devices behind it
  std::uint16_t vxlan_port = render::kVxlanPort;  // UDP, of all hosts
  // What passes Docker's gateway bridge is judged. Only with an Engine API: who has which address there, it alone knows.
  bool guards_gateway = false;
  std::function<std::vector<Ip>()> resolvers{};  // where the host's containers ask for names
};

class Core {
 public:
  Core(kernel::Kernel& kernel, store::Store& store, Clock now, Setup setup);

  // Loads the store, puts the host's table in place, adopts the segments it knows, removes those it does not. Only a
  // store that cannot be read fails: a network that cannot be set up now is tried again later.
  Status start();

  Status create_network(const CreateNetwork& request);
  Status delete_network(const NetworkId& id);
  Result<std::optional<Mac>> create_endpoint(const CreateEndpoint& request);
  Status delete_endpoint(const EndpointId& id);
  // Whether Docker has to be asked before join() can place the endpoint.
  bool needs_look_up(const EndpointId& id) const;
  Result<Joined> join(const Join& request, const Facts& facts);
  Status leave(const EndpointId& id);

  // What was learnt later. Unknown ids are fine: they have left.
  void learn(const Unresolved& which, const Facts& facts);
  void learn(const NetworkId& network, const Facts& facts);
  // A container has another name now: endpoints that are known by it are placed anew.
  void renamed(const std::string& container_id, const std::string& name);
  // Joined endpoints whose container has another name in Docker's list than we know it by: a rename that nobody told of.
  std::vector<Unresolved> known_otherwise(const NetworkId& id, const std::map<EndpointId, std::string>& names) const;
  // Joined endpoints whose container, and with it the labels, is not known yet.
  std::vector<Unresolved> unresolved() const;
  // Networks whose name and labels are not known yet.
  std::vector<NetworkId> unknown_networks() const;

  // Networks that span hosts, with the way to their other hosts as far as it is known.
  std::map<NetworkId, model::Underlay> underlays() const;
  // How a network that spans hosts reaches the others now, as Docker says. A peer that is new is let in by the host's
  // table before anything is sent to it, one that is gone the other way round. This host is never its own peer.
  void learn_underlay(const NetworkId& id, model::Underlay underlay);

  // Who has which address on Docker's gateway bridge, as Docker listed it when it was asked at `asked` (steady, ns).
  void learn_gateways(const docker::GatewayBridge& listing, std::int64_t asked);
  // Whether Docker is to be asked again at once.
  bool gateways_urgent() const;
  // A joined endpoint whose container is not on the gateway bridge, as far as Docker has listed.
  bool waits_for_gateway(const model::Endpoint& endpoint) const;

  // Docker's list of a network's endpoints, or that it has no such network: what it does not have is removed, after a
  // while. Docker lists a network or an endpoint a moment after it had us create it; a joined one it has listed before.
  // `asked_ms` is when Docker was asked. True when something is still too young to be told from that: ask again soon.
  static constexpr std::int64_t kCreatedGraceMs = 5'000, kJoinedGraceMs = 2'000;
  bool docker_has(const NetworkId& id, const std::vector<EndpointId>* endpoints, std::int64_t asked_ms);
  std::vector<NetworkId> network_ids() const;

  // Somebody touched the segment, or the host's table (kernel::kHost): look at it again.
  void touched(const std::string& segment);
  // Retries what is due; returns when to call again (Unix ms), absent: no need to.
  std::optional<std::int64_t> retry_due();
  // Looks at every segment, whatever we believe to know.
  void check_all();
  // Segments that lost their mount, or all of themselves.
  void check_mounts();

  Result<std::uint64_t> apply_policy(const std::string& network, const std::string& text);
  Result<HistoryView> policy_history(const std::string& network);
  Status remove_policy(const std::string& network);

  // For views.
  struct Runtime {
    Verdict verdict;
    std::optional<kstate::Segment> known;  // what the segment holds; absent: must be observed
    std::uint16_t generation = 0;          // the last one we know of
    std::string trouble;                   // of the whole segment, "" when there is none
    std::map<EndpointId, std::string> link_trouble;
    std::string vxlan_trouble;             // why the way to other hosts is not as desired, "" when it is
    std::set<Ip> flooded;                  // peers that the VXLAN device may send to, whatever is desired
    std::optional<std::int64_t> retry_at;
    std::int64_t backoff_ms = 0;
  };
  // The host's own table, the guard of the underlay.
  struct Host {
    std::optional<kstate::Segment> known;  // what the host's namespace holds of ours; absent: must be observed
    bool stands = false;                   // the table is in place, so VXLAN devices may be
    std::set<render::Tunnel> open;         // and lets these in
    std::string trouble;                   // "" when there is none
    std::optional<std::int64_t> retry_at;
    std::int64_t backoff_ms = 0;
  };
  // The gateway bridge's ports.
  struct Ports {
    std::set<kstate::PortIndex> present;  // of the gateway bridge
    std::set<Ip> unplaced;                // of ours, at a port that is not known yet
    std::set<Ip> kept;                    // addresses that the table keeps from everybody but their own ports
    std::string trouble;
    std::optional<std::int64_t> retry_at;
  };
  const Host& host() const { return host_; }
  const Ports& ports() const { return ports_; }
  const Gateways& gateways() const { return gateways_; }
  // Why containers of ours have no permissions beyond their networks, by an endpoint of theirs.
  const std::map<EndpointId, std::string>& north_troubles() const { return north_troubles_; }
  const Setup& setup() const { return setup_; }
  const model::State& state() const { return state_; }
  const std::map<NetworkId, Runtime>& runtimes() const { return runtimes_; }
  kernel::Kernel& kernel() { return kernel_; }
  Result<const model::Network*> find_network(const std::string& name_or_id) const;

 private:
  // Computes the verdict anew; stores the network when its blocks changed.
  Status reconsider(model::Network& network);
  struct RoundOptions {
    const EndpointId* fresh = nullptr;  // its container end is to be born in the host's namespace
    bool later = false;                 // what need not be done before the answer is done a moment later
  };
  // Observe if need be, diff, apply. Trouble is kept in the runtime and retried; it is returned as well. A link's own
  // trouble is not the segment's.
  Status round(const NetworkId& id, RoundOptions options);
  Status round(const NetworkId& id) { return round(id, RoundOptions{}); }
  Status run_plan(const NetworkId& id, const kstate::Plan& plan, Runtime& runtime);
  void set_trouble(const NetworkId& id, Runtime& runtime, const Status& outcome);
  // The same for the host's table. Cheap when nothing has changed. When it comes to stand, or to stand no more, every
  // network that spans hosts is due for a round.
  Status host_round();
  std::optional<kstate::Table> desired_host_table(const std::set<render::Tunnel>& tunnels);
  Status run_host_plan(const std::optional<kstate::Table>& desired);
  void set_host_trouble(const Status& outcome);
  std::set<render::Tunnel> tunnels() const;
  // What the segment should hold, as far as the host's table allows it by now.
  kstate::Segment desired(const model::Network& network, const Runtime& runtime) const;
  // ---- the gateway bridge (gateway.cpp) ----
  std::map<std::string, std::vector<const model::Endpoint*>> sandboxes() const;
  std::uint16_t class_in_force(const model::Endpoint& endpoint) const;
  // `judged`: published ports that policy has to decide about, for each endpoint.
  using Judged = std::map<EndpointId, std::set<render::Port>>;
  Result<policy::North> north_of(const std::vector<const model::Endpoint*>& sandbox, const Judged& judged);
  std::vector<render::Port> proxied_for(const std::vector<const model::Endpoint*>& sandbox,
                                        const std::vector<const model::Endpoint*>& other) const;
  render::Gateway gateway();
  bool uses_gateway(const model::Endpoint& endpoint) const;
  void restore_gateways();
  // Sandboxes have come or gone.
  void follow_sandboxes();
  // One is about to come to the bridge, or is there already.
  void expect_gateway(const Facts& facts);
  std::optional<kstate::GatewayPorts> desired_ports();
  // What the ports' table keeps now, whoever wrote it.
  std::set<Ip> kept_addresses();
  // `once_bound` is called when the table has bound the ports, before their own settings, which may have to wait.
  Status ports_round(std::function<void()> once_bound = {});

  // Fills identity or quarantine reason from what is known; true when anything changed.
  bool place(model::Endpoint& endpoint, const Facts& facts) const;
  bool take_network_facts(model::Network& network, const Facts& facts);
  std::vector<const model::Endpoint*> endpoints_of(const NetworkId& id) const;
  Status set_policy(const std::string& network, const std::string& text);

  kernel::Kernel& kernel_;
  store::Store& store_;
  Clock now_;
  Setup setup_;
  model::State state_;
  std::map<NetworkId, Runtime> runtimes_;
  Host host_;
  Gateways gateways_;
  Ports ports_;
  // For each network its class and the published ports that are judged; emptied when any policy changes.
  using NorthKey = std::vector<std::tuple<NetworkId, std::uint16_t, std::set<render::Port>>>;
  std::map<NorthKey, Result<policy::North>> norths_;
  std::map<EndpointId, std::string> north_troubles_;
};

}  // namespace microseg::engine
