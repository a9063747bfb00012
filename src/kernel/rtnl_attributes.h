// What rtnetlink's messages are made of, read with suspicion: bytes of the wrong length are no value.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "microseg/addr/addr.h"
#include "netlink.h"

namespace microseg::kernel {

// `family` is AF_INET or AF_INET6.
std::optional<Ip> ip_of(int family, const nlattr* a);
// The family by the length.
std::optional<Ip> ip_of(const nlattr* a);
// Absent also for a multicast or an all-zero one, which no link has.
std::optional<Mac> mac_of(const nlattr* a);
std::string text_of(const nlattr* a);
// 0 when it is of another length.
std::uint32_t number_of(const nlattr* a);

// The fixed header at the beginning of a message; null when the message is too short for it.
template <class Header>
const Header* header_of(const nlmsghdr* nlh) {
  return mnl_nlmsg_get_payload_len(nlh) < sizeof(Header) ? nullptr
                                                         : static_cast<const Header*>(mnl_nlmsg_get_payload(nlh));
}

}  // namespace microseg::kernel
