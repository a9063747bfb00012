// Which service an endpoint is.
#include <fmt/format.h>

#include <array>

#include "keys.h"
#include "microseg/model/network.h"

namespace microseg::model {
namespace {

const std::string* find_service(const Options& options) {
  for (auto& [key, value] : options)
    if (lower(key) == kServiceKey) return &value;
  return nullptr;
}

const std::string* find(const policy::Labels& labels, const char* key) {
  const auto found = labels.find(key);
  return found == labels.end() ? nullptr : &found->second;
}

// Swarm names a stack's services STACK_SERVICE; people write SERVICE in their compose files.
std::string without_stack(const std::string& service, const policy::Labels& labels) {
  const auto* stack = find(labels, "com.docker.stack.namespace");
  if (!stack || !service.starts_with(*stack + "_") || service.size() == stack->size() + 1) return service;
  return service.substr(stack->size() + 1);
}

struct Named {
  std::string service;
  IdentitySource source;
};

// A source that is there decides, whatever it says. A value that policy can not write (empty, or with spaces) names a
// service that no NAME matches: going on to the next source would let a mistyped label hand out another service's
// rights.
std::optional<Named> service_of(const Options& endpoint_options, const Container* container) {
  if (auto* name = find_service(endpoint_options)) return Named{*name, IdentitySource::endpoint_option};
  if (!container) return {};
  const auto& labels = container->labels;
  if (auto* name = find(labels, "microseg.service")) return Named{*name, IdentitySource::container_label};
  if (auto* name = find(labels, "com.docker.swarm.service.name"))
    return Named{without_stack(*name, labels), IdentitySource::swarm_label};
  if (auto* name = find(labels, "com.docker.compose.service")) return Named{*name, IdentitySource::compose_label};
  if (container->name.empty()) return {};
  return Named{container->name, IdentitySource::container_name};
}

}  // namespace

std::string_view to_string(IdentitySource source) {
  switch (source) {
    case IdentitySource::endpoint_option: return "endpoint option microseg.service";
    case IdentitySource::container_label: return "container label microseg.service";
    case IdentitySource::swarm_label: return "label com.docker.swarm.service.name";
    case IdentitySource::compose_label: return "label com.docker.compose.service";
    case IdentitySource::container_name: break;
  }
  return "container name";
}

std::optional<ResolvedIdentity> resolve_identity(const Options& endpoint_options, const Container* container) {
  auto named = service_of(endpoint_options, container);
  if (!named) return {};
  ResolvedIdentity out;
  out.identity.service = std::move(named->service);
  out.source = named->source;
  if (container) {
    out.identity.labels = container->labels;
    out.container_id = container->id;
    out.container_name = container->name;
  }
  return out;
}

Status check_endpoint_options(const Options& options) {
  bool seen = false;
  for (auto& [given, value] : options) {
    const auto key = lower(given);
    if (!key.starts_with(kOurs)) continue;
    if (key != kServiceKey) {
      constexpr std::array known{kServiceKey};
      return Error{Errc::invalid, 0,
                   fmt::format("unknown endpoint option {}: did you mean '{}'?", shown(key), nearest(key, known))};
    }
    if (std::exchange(seen, true))
      return Error{Errc::invalid, 0, fmt::format("endpoint option {} is given twice, in different case", shown(key))};
    if (!policy::is_name(value))
      return Error{
          Errc::invalid, 0,
          fmt::format("endpoint option {}: expected a service's name of 1 to 255 letters, digits, '_', '.' and "
                      "'-', found {}",
                      key, shown(value))};
  }
  return {};
}

}  // namespace microseg::model
