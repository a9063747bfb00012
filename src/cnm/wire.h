// The driver protocol's JSON, and nothing else: bodies -> engine requests, engine answers -> bodies. Field names and
// shapes are those of libnetwork's drivers/remote/api/api.go. Decoding errors (invalid) name the field:
// "IPv4Data[0].Pool: not an address with a prefix length: '10.5.0.0'".
#pragma once

#include <string>

#include "microseg/engine/commands.h"

namespace microseg::cnm::wire {

struct Allocate {
  NetworkId network;
  model::Options options;
};
struct EndpointRef {
  NetworkId network;
  EndpointId endpoint;
};

Result<Allocate> allocate_network(const std::string& body);
Result<NetworkId> network_ref(const std::string& body);  // FreeNetwork, DeleteNetwork
Result<engine::CreateNetwork> create_network(const std::string& body);
Result<engine::CreateEndpoint> create_endpoint(const std::string& body);
// DeleteEndpoint, EndpointOperInfo, Leave, ProgramExternalConnectivity, RevokeExternalConnectivity
Result<EndpointRef> endpoint_ref(const std::string& body);
Result<engine::Join> join(const std::string& body);
Status discovery(const std::string& body);  // well formed; of what it says only that it was said is used

inline constexpr const char* kDone = "{}";
inline constexpr const char* kActivated = R"({"Implements":["NetworkDriver","authz"]})";
std::string capabilities(const std::string& scope);
std::string allocated(const model::Options& options);
// A field may be answered only if the request left it empty: Docker takes even the same value for a change.
std::string created_endpoint(const std::optional<Mac>& chosen);
std::string joined(const engine::Joined& joined);
std::string endpoint_info(const std::map<std::string, std::string>& values);
std::string error(const std::string& text);

}  // namespace microseg::cnm::wire
