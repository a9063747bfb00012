#include "rtnl_attributes.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>

namespace microseg::kernel {

std::optional<Ip> ip_of(int family, const nlattr* a) {
  auto* bytes = static_cast<const std::uint8_t*>(mnl_attr_get_payload(a));
  const auto length = mnl_attr_get_payload_len(a);
  if (family == AF_INET && length == 4) return Ip::v4({bytes[0], bytes[1], bytes[2], bytes[3]});
  if (family == AF_INET6 && length == 16) {
    std::array<std::uint8_t, 16> all{};
    std::copy(bytes, bytes + 16, all.begin());
    return Ip::v6(all);
  }
  return std::nullopt;
}

std::optional<Ip> ip_of(const nlattr* a) { return ip_of(mnl_attr_get_payload_len(a) == 4 ? AF_INET : AF_INET6, a); }

std::optional<Mac> mac_of(const nlattr* a) {
  if (mnl_attr_get_payload_len(a) != 6) return std::nullopt;
  auto* b = static_cast<const std::uint8_t*>(mnl_attr_get_payload(a));
  char text[18];
  (void)std::snprintf(text, sizeof text, "%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4], b[5]);
  auto mac = Mac::parse(text);
  if (!mac) return std::nullopt;
  return mac.value();
}

std::uint32_t number_of(const nlattr* a) { return mnl_attr_get_payload_len(a) == 4 ? mnl_attr_get_u32(a) : 0; }

std::string text_of(const nlattr* a) {
  auto* text = static_cast<const char*>(mnl_attr_get_payload(a));
  return std::string(text, strnlen(text, mnl_attr_get_payload_len(a)));
}

}  // namespace microseg::kernel
