// A netlink socket that stays in the namespace it was opened in, and the two ways to use it: requests that are
// acknowledged, and dumps.
#pragma once

#include <libmnl/libmnl.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "microseg/base/fd.h"
#include "microseg/base/result.h"

namespace microseg::kernel {

// Calls f(attr) for each attribute in `len` bytes at `data`; stops at the first malformed one.
// (libmnl 1.0.4's mnl_attr_for_each macros are C only: they assign void* to nlattr*.)
template <class F>
void for_each_attr(const void* data, std::size_t len, F&& f) {
  auto* attr = static_cast<const nlattr*>(data);
  for (int left = static_cast<int>(len); mnl_attr_ok(attr, left); attr = mnl_attr_next(attr)) {
    f(attr);
    left -= static_cast<int>(MNL_ALIGN(attr->nla_len));
  }
}

// Attributes nested in `attr`.
template <class F>
void for_each_attr(const nlattr* attr, F&& f) {
  for_each_attr(mnl_attr_get_payload(attr), mnl_attr_get_payload_len(attr), f);
}

// Attributes of a message, after its fixed header of `skip` bytes.
template <class F>
void for_each_attr(const nlmsghdr* nlh, std::size_t skip, F&& f) {
  std::size_t len = mnl_nlmsg_get_payload_len(nlh), at = MNL_ALIGN(skip);
  if (at < len) for_each_attr(static_cast<const char*>(mnl_nlmsg_get_payload(nlh)) + at, len - at, f);
}

// Messages to be sent together, each acknowledged on its own.
class Messages {
 public:
  // Starts a message with `extra` zeroed bytes of fixed header; the pointer holds until the next add().
  nlmsghdr* add(std::uint16_t type, std::uint16_t flags, std::size_t extra);
  // What the message does, for its error: "add route 10.5.0.2/32".
  void says(std::string what) { what_.back() = std::move(what); }

 private:
  friend class NetlinkSocket;
  static constexpr std::size_t kRoom = 4096;  // one of our rtnetlink requests is well under 1 KiB
  std::vector<std::unique_ptr<char[]>> buffers_;
  std::vector<std::string> what_;
};

class NetlinkSocket {
 public:
  // `protocol` is NETLINK_ROUTE or NETLINK_NETFILTER; `netns` a namespace's descriptor.
  static Result<NetlinkSocket> open(const Fd& netns, int protocol);
  NetlinkSocket(NetlinkSocket&&) = default;
  NetlinkSocket& operator=(NetlinkSocket&&) = default;

  // Sends all; returns the first refusal with the kernel's own words (extack), after all were answered.
  Status request(Messages& messages);

  // Sends a dump request and calls `on_message` for each answer. Interrupted dumps are done again, at most 5 times
  // (`on_restart` is called first); then unavailable.
  Status dump(nlmsghdr* request, const std::function<void()>& on_restart,
              const std::function<void(const nlmsghdr*)>& on_message, std::string_view what);

  // Sends one request, to be acknowledged, and calls `on_message` for what comes before that.
  Status ask(nlmsghdr* request, const std::function<void(const nlmsghdr*)>& on_message, std::string_view what);

  // Sends raw bytes and reads answers until the one to `last_seq`, or to `first_seq` if that is an error. Returns the
  // first error and gives its sequence number.
  Status exchange(const std::vector<char>& bytes, std::uint32_t first_seq, std::uint32_t last_seq,
                  std::uint32_t* failed_seq);

  std::uint32_t next_seq() { return ++seq_; }
  std::uint32_t port_id() const { return mnl_socket_get_portid(socket_.get()); }

 private:
  struct Closer { void operator()(mnl_socket* s) const { mnl_socket_close(s); } };
  explicit NetlinkSocket(mnl_socket* s) : socket_(s) {}
  Status send(const void* data, std::size_t length);
  // Those from `from` up to `to`; the first refusal goes to `refused`, unless it holds one.
  Status request(Messages& messages, std::size_t from, std::size_t to, Status& refused);
  std::unique_ptr<mnl_socket, Closer> socket_;
  std::uint32_t seq_ = 0;
};

// A socket in that namespace which is told what happens to these groups' objects; it never blocks. Not open when the kernel
// refuses.
Fd subscribe(const Fd& netns, int protocol, const std::vector<int>& groups);

}  // namespace microseg::kernel
