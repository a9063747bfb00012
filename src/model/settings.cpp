// A network's driver options -> Settings; its labels -> policy text.
#include <fmt/format.h>

#include <array>
#include <charconv>

#include "keys.h"
#include "microseg/model/network.h"

namespace microseg::model {
namespace {

constexpr std::string_view kModeKey = "microseg.mode", kDenyKey = "microseg.deny", kVniKey = "microseg.vni",
                           kEncodingKey = "microseg.encoding", kPublishKey = "microseg.publish";
constexpr std::string_view kMtuKey = "com.docker.network.driver.mtu";
constexpr std::string_view kPrefixKey = "com.docker.network.container_iface_prefix";

Error bad_option(std::string_view key, std::string_view expected, std::string_view found) {
  return {Errc::invalid, 0, fmt::format("option {}: expected {}, found {}", key, expected, shown(found))};
}

Result<std::uint32_t> number(std::string_view key, std::string_view text, std::uint32_t least, std::uint32_t most) {
  std::uint32_t value = 0;
  const auto [end, bad] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (bad != std::errc() || end != text.data() + text.size() || value < least || value > most)
    return bad_option(key, fmt::format("a number from {} to {}", least, most), text);
  return value;
}

template <class Value>
Result<Value> choice(std::string_view key, std::string_view text, std::string_view first, Value if_first,
                     std::string_view second, Value if_second) {
  if (text == first) return if_first;
  if (text == second) return if_second;
  return bad_option(key, fmt::format("'{}' or '{}'", first, second), text);
}

void append_line(std::string& text, std::string_view line) {
  if (!text.empty()) text += '\n';
  text += line;
}

Status read_option(Settings& out, const std::string& key, const std::string& value) {
  if (is_policy_key(key)) {
    MS_TRY(auto parsed, policy::parse(value, "option " + key));
    if (!parsed.statements.empty()) append_line(out.policy, value);
    return {};
  }
  if (key == kModeKey) {
    MS_TRY(out.mode, choice(key, value, "enforce", Mode::enforce, "monitor", Mode::monitor));
  } else if (key == kDenyKey) {
    MS_TRY(out.refusal, choice(key, value, "reject", Refusal::reject, "drop", Refusal::drop));
  } else if (key == kPublishKey) {
    MS_TRY(out.publish, choice(key, value, "implicit", Publish::implicitly, "explicit", Publish::explicitly));
  } else if (key == kVniKey) {
    MS_TRY(out.vni, number(key, value, 1, kMaxVni));
  } else if (key == kEncodingKey) {
    MS_TRY(out.encoding, number(key, value, 1, 65535));
  } else if (key == kMtuKey) {
    MS_TRY(auto mtu, number(key, value, 1280, 65535));
    out.mtu = static_cast<std::uint16_t>(mtu);
  } else if (key == kPrefixKey) {
    // Docker appends a number; two digits must fit.
    if (value.empty() || !IfName::parse(value + "99"))
      return bad_option(key, "1 to 13 characters of an interface's name", value);
    out.interface_prefix = value;
  } else if (key.starts_with(kOurs)) {
    // The encoding is for AllocateNetwork to set.
    constexpr std::array known{kPolicyKey, kModeKey, kDenyKey, kVniKey, kPublishKey};
    return Error{Errc::invalid, 0,
                 fmt::format("unknown option {}: did you mean '{}'?", shown(key), nearest(key, known))};
  }
  return {};
}

}  // namespace

std::uint16_t mtu_of(const Network& network) {
  constexpr std::uint16_t kEthernet = 1500;
  // Outer IP 20 or 40, UDP 8, VXLAN 8, inner Ethernet 14.
  constexpr std::uint16_t kVxlanOverIpv4 = 50, kVxlanOverIpv6 = 70;
  if (network.settings.mtu) return *network.settings.mtu;
  if (!network.settings.spans_hosts()) return kEthernet;
  const auto& self = network.underlay.self;
  return kEthernet - (self && !self->is_v4() ? kVxlanOverIpv6 : kVxlanOverIpv4);
}

Result<Settings> parse_settings(const Options& options) {
  Options by_key;
  for (auto& [key, value] : options)
    if (!by_key.emplace(lower(key), value).second)
      return Error{Errc::invalid, 0, fmt::format("option {} is given twice, in different case", shown(lower(key)))};
  Settings out;
  for (auto& [key, value] : by_key) MS_CHECK(read_option(out, key, value));
  // Each source fits by itself; together they must too, in length and in classes.
  MS_TRY(auto whole, policy::parse(out.policy, "options microseg.policy and microseg.policy.*, taken together"));
  MS_CHECK(policy::check_fits(policy::alphabet_of(whole)));
  return out;
}

std::optional<std::uint32_t> vni_in(const Options& options) {
  for (auto& [key, value] : options)
    if (lower(key) == kVniKey)
      if (auto vni = number(kVniKey, value, 1, kMaxVni)) return vni.value();
  return std::nullopt;
}

std::string policy_in_labels(const policy::Labels& labels) {
  std::map<std::string, std::string> by_key;  // labels keep their case, so two may differ in it: both count
  for (auto& [key, value] : labels)
    if (is_policy_key(lower(key))) append_line(by_key[lower(key)], value);
  std::string out;
  for (auto& [key, value] : by_key) append_line(out, value);
  return out;
}

}  // namespace microseg::model
