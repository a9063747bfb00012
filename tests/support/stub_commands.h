// Engines for the tests of the two protocol edges: they record what they were asked, one readable line each, and
// answer what the test put in.
#pragma once

#include "microseg/engine/commands.h"

namespace microseg::test {

inline std::string published(const engine::Join& r) {
  std::string out;
  for (auto& p : r.published)
    out += " " + std::to_string(p.host_port) + ":" + std::to_string(p.port) + "/" + std::to_string(p.protocol);
  return out;
}

inline std::string resolvers(const engine::CreateEndpoint& r) {
  std::string out;
  for (auto& ip : r.resolvers) out += " dns " + ip.str();
  return out;
}

class StubDriverCommands : public engine::DriverCommands {
 public:
  std::vector<std::string> calls;
  std::optional<Error> fail;  // every call fails with this
  engine::Joined join_answer{IfName::parse("ms3f2a").value(), "eth", {}};
  std::map<std::string, std::string> info;
  Mac mac = Mac::local(7);

  Status admit_network(const engine::NewNetwork& r) override {
    return note("admit_network " + r.driver + print(r.options) + " labels" + print(r.labels));
  }
  Status create_network(const engine::CreateNetwork& r) override {
    std::string line = "create_network " + r.id.brief() + (r.internal ? " internal" : "");
    for (auto& subnet : r.subnets)
      line += " " + subnet.pool.str() + (subnet.gateway ? " via " + subnet.gateway->str() : "");
    return note(line + print(r.options));
  }
  Status delete_network(const NetworkId& id) override { return note("delete_network " + id.brief()); }
  Result<std::optional<Mac>> create_endpoint(const engine::CreateEndpoint& r) override {
    MS_CHECK(note("create_endpoint " + r.network.brief() + " " + r.id.brief() + (r.v4 ? " " + r.v4->str() : "") +
                  (r.v6 ? " " + r.v6->str() : "") + (r.mac ? " " + r.mac->str() : "") + print(r.options) + resolvers(r)));
    return std::optional<Mac>(mac);
  }
  Status delete_endpoint(const NetworkId& network, const EndpointId& id) override {
    return note("delete_endpoint " + network.brief() + " " + id.brief());
  }
  Result<engine::Joined> join(const engine::Join& r) override {
    MS_CHECK(note("join " + r.network.brief() + " " + r.endpoint.brief() + " " + r.sandbox + published(r)));
    return join_answer;
  }
  Status leave(const NetworkId& network, const EndpointId& id) override {
    return note("leave " + network.brief() + " " + id.brief());
  }
  Result<model::Options> allocate_network(const NetworkId& id, const model::Options& options) override {
    MS_CHECK(note("allocate_network " + id.brief() + print(options)));
    auto echoed = options;
    echoed["microseg.vni"] = "4242";
    return echoed;
  }
  Status free_network(const NetworkId& id) override { return note("free_network " + id.brief()); }
  void nodes_changed() override { (void)note("nodes_changed"); }
  std::map<std::string, std::string> endpoint_info(const NetworkId& network, const EndpointId& id) override {
    (void)note("endpoint_info " + network.brief() + " " + id.brief());
    return info;
  }

 private:
  static std::string print(const model::Options& options) {
    std::string out;
    for (auto& [key, value] : options) out += " [" + key + "=" + value + "]";
    return out;
  }
  Status note(std::string line) {
    calls.push_back(std::move(line));
    if (fail) return *fail;
    return {};
  }
};

class StubAdminCommands : public engine::AdminCommands {
 public:
  std::vector<std::string> calls;
  std::optional<Error> fail;  // every call that can fail fails with this
  engine::StatusView status_answer;
  std::vector<engine::NetworkView> networks_answer;
  std::vector<engine::EndpointView> endpoints_answer;
  std::optional<engine::PolicyView> policy_answer;  // set it before asking for a policy
  std::optional<engine::HistoryView> history_answer;  // likewise
  std::uint64_t version_answer = 1;
  engine::ExplainView explain_answer;
  engine::CheckView check_answer;

  engine::StatusView status() override {
    (void)note("status");
    return status_answer;
  }
  std::vector<engine::NetworkView> networks() override {
    (void)note("networks");
    return networks_answer;
  }
  std::vector<engine::EndpointView> endpoints() override {
    (void)note("endpoints");
    return endpoints_answer;
  }
  Result<engine::PolicyView> policy(const std::string& network) override {
    MS_CHECK(note("policy " + network));
    return policy_answer.value();
  }
  Result<engine::HistoryView> policy_history(const std::string& network) override {
    MS_CHECK(note("policy_history " + network));
    return history_answer.value();
  }
  Result<std::uint64_t> apply_policy(const std::string& network, const std::string& text) override {
    MS_CHECK(note("apply_policy " + network + " [" + text + "]"));
    return version_answer;
  }
  Status remove_policy(const std::string& network) override { return note("remove_policy " + network); }
  Result<engine::ExplainView> explain(const engine::ExplainRequest& r) override {
    MS_CHECK(note("explain [" + r.network + "] " + r.from + " -> " + r.to + " " + std::to_string(r.port) + "/" +
                  std::to_string(r.protocol)));
    return explain_answer;
  }
  Result<engine::CheckView> check_policy(const std::string& text) override {
    MS_CHECK(note("check_policy [" + text + "]"));
    return check_answer;
  }

 private:
  Status note(std::string line) {
    calls.push_back(std::move(line));
    if (fail) return *fail;
    return {};
  }
};

}  // namespace microseg::test
