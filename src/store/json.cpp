#include "store/json.h"

#include <algorithm>
#include <functional>
#include <tuple>

#include "store/codec.h"

// The lists of fields live beside the types, where argument-dependent look-up finds them. The names in quotes are the
// file format: a new field is a new line, a renamed one needs a migration.

namespace microseg::store {

template <>
struct EnumNames<model::Mode> {
  static constexpr const char* names[] = {"enforce", "monitor"};
};
template <>
struct EnumNames<model::Refusal> {
  static constexpr const char* names[] = {"reject", "drop"};
};
template <>
struct EnumNames<model::Publish> {
  static constexpr const char* names[] = {"implicit", "explicit"};
};
template <>
struct EnumNames<model::Endpoint::Phase> {
  static constexpr const char* names[] = {"created", "joined"};
};
template <>
struct EnumNames<model::IdentitySource> {
  static constexpr const char* names[] = {"endpoint_option", "container_label", "swarm_label", "compose_label",
                                          "container_name"};
};
template <>
struct EnumNames<policy::Term::Op> {
  static constexpr const char* names[] = {"equals", "differs", "present", "absent"};
};

// Every field below that has no default of its own is `required`, so none of these values outlives a reading.
template <>
struct Blank<Ip> {
  static Ip make() { return Ip::v4({}); }
};
template <>
struct Blank<Mac> {
  static Mac make() { return Mac::local(0); }
};
template <>
struct Blank<Prefix> {
  static Prefix make() { return Prefix::host(Blank<Ip>::make()); }
};
template <>
struct Blank<model::Subnet> {
  static model::Subnet make() { return {Blank<Prefix>::make(), {}}; }
};
template <>
struct Blank<model::Network> {
  static model::Network make() { return {NetworkId::parse("0").value(), {}, {}, false, {}, {}, {}, {}, {}, {}, 0}; }
};
template <>
struct Blank<model::Endpoint> {
  static model::Endpoint make() {
    return {
        EndpointId::parse("0").value(), NetworkId::parse("0").value(), {}, {}, Mac::local(0), {}, {}, {}, {}, {}, 0, 0};
  }
};

}  // namespace microseg::store

namespace microseg::policy {
using store::Of;

void fields(auto& io, Of<Term> auto& term) {
  io.required("op", term.op);
  io.required("key", term.key);
  io("value", term.value);
}

void fields(auto& io, Of<Selector> auto& selector) { io.required("terms", selector.terms); }

void fields(auto& io, Of<Alphabet> auto& alphabet) {
  io.required("names", alphabet.names);
  io.required("selectors", alphabet.selectors);
}

void fields(auto& io, Of<Numbering> auto& numbering) {
  io.required("base", numbering.base);
  io.required("alphabet", numbering.alphabet);
}

void fields(auto& io, Of<Identity> auto& identity) {
  io.required("service", identity.service);
  io("labels", identity.labels);
}

}  // namespace microseg::policy

namespace microseg::model {
using store::Of;

void fields(auto& io, Of<Settings> auto& settings) {
  io("mode", settings.mode);
  io("deny", settings.refusal);
  io("publish", settings.publish);
  io("vni", settings.vni);
  io("encoding", settings.encoding);
  io("mtu", settings.mtu);
  io("interface_prefix", settings.interface_prefix);
  io("policy", settings.policy);
}

void fields(auto& io, Of<Subnet> auto& subnet) {
  io.required("pool", subnet.pool);
  io("gateway", subnet.gateway);
}

void fields(auto& io, Of<AppliedPolicy> auto& applied) {
  io.required("version", applied.version);
  io.required("text", applied.text);
  io("at_ms", applied.at_ms);
}

void fields(auto& io, Of<Block> auto& block) {
  io.required("numbering", block.numbering);
  io("retired_ms", block.retired_ms);
}

void fields(auto& io, Of<Underlay> auto& underlay) {
  io("self", underlay.self);
  io("peers", underlay.peers);
}

void fields(auto& io, Of<Network> auto& network) {
  io.required("id", network.id);
  io.required("options", network.options);
  io.required("settings", network.settings);
  io("internal", network.internal);
  io.required("subnets", network.subnets);
  io("name", network.name);
  io("labels", network.labels);
  io("applied", network.applied);
  io.required("blocks", network.blocks);
  io("underlay", network.underlay);
  io("created_ms", network.created_ms);
}

void fields(auto& io, Of<PublishedPort> auto& port) {
  io.required("protocol", port.protocol);
  io.required("port", port.port);
  io("host_port", port.host_port);
}

void fields(auto& io, Of<ResolvedIdentity> auto& resolved) {
  io.required("identity", resolved.identity);
  io.required("source", resolved.source);
  io("container_id", resolved.container_id);
  io("container_name", resolved.container_name);
}

void fields(auto& io, Of<Endpoint> auto& endpoint) {
  io.required("id", endpoint.id);
  io.required("network", endpoint.network);
  io("v4", endpoint.v4);
  io("v6", endpoint.v6);
  io.required("mac", endpoint.mac);
  io("options", endpoint.options);
  io.required("phase", endpoint.phase);
  io("sandbox", endpoint.sandbox);
  io("identity", endpoint.identity);
  io("quarantined", endpoint.quarantined);
  io("created_ms", endpoint.created_ms);
  io("joined_ms", endpoint.joined_ms);
  io.later("published", endpoint.published);
  io.later("resolvers", endpoint.resolvers);
  io("gateway4", endpoint.gateway4);
  io("gateway6", endpoint.gateway6);
  io("gateway_mac", endpoint.gateway_mac);
}

}  // namespace microseg::model

namespace microseg::store {
namespace {

template <class T>
Result<std::string> write(const T& value) {
  Writer writer;
  fields(writer, value);
  try {
    return writer.take().dump();
  } catch (const Json::type_error& error) {  // the library's only way to say that text is not UTF-8
    return Error{Errc::invalid, 0, std::string("cannot be stored as JSON: ") + error.what()};
  }
}

template <class T>
Result<T> read(std::string_view text) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return Error{Errc::invalid, 0, "is not JSON"};
  T value = Blank<T>::make();
  Reader reader(json, "");
  fields(reader, value);
  MS_CHECK(reader.done());
  return value;
}

template <class T, class Less = std::less<>>
bool sorted_and_unique(const std::vector<T>& values, Less less = {}) {
  return std::adjacent_find(values.begin(), values.end(), [&](const T& a, const T& b) { return !less(a, b); }) ==
         values.end();
}

// The order in which the parser leaves a selector's terms: by key, which is not the order of Term itself.
bool term_before(const policy::Term& a, const policy::Term& b) {
  return std::tie(a.key, a.op, a.value) < std::tie(b.key, b.op, b.value);
}

// A block that breaks the rules of policy::Numbering would give endpoints other classes than those their packets and
// the kernel's rules were numbered with.
Status check_numbering(const policy::Numbering& numbering) {
  const auto& alphabet = numbering.alphabet;
  bool sorted = sorted_and_unique(alphabet.names) && sorted_and_unique(alphabet.selectors);
  for (const auto& selector : alphabet.selectors) sorted = sorted && sorted_and_unique(selector.terms, term_before);
  if (!sorted) return Error{Errc::invalid, 0, "names, selectors and terms are not sorted"};
  const std::uint64_t room = policy::kMaxClass + std::uint64_t{1};
  if (numbering.base < 1 || numbering.base > policy::kMaxClass || policy::class_count(alphabet) > room - numbering.base)
    return Error{Errc::invalid, 0, "class numbers are outside 1.." + std::to_string(policy::kMaxClass)};
  return {};
}

}  // namespace

Result<std::string> to_text(const model::Network& network) { return write(network); }
Result<std::string> to_text(const model::Endpoint& endpoint) { return write(endpoint); }
Result<std::string> to_text(const model::AppliedPolicy& policy) { return write(policy); }

Result<model::Network> network_from_text(std::string_view text) {
  MS_TRY(auto network, read<model::Network>(text));
  for (std::size_t i = 0; i < network.blocks.size(); ++i)
    MS_CHECK(check_numbering(network.blocks[i].numbering).in("blocks[" + std::to_string(i) + "]"));
  return network;
}

Result<model::Endpoint> endpoint_from_text(std::string_view text) { return read<model::Endpoint>(text); }

Result<model::AppliedPolicy> policy_from_text(std::string_view text) { return read<model::AppliedPolicy>(text); }

}  // namespace microseg::store
