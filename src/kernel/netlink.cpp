#include "netlink.h"

#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "netns.h"

namespace microseg::kernel {
namespace {

constexpr int kDumpAttempts = 5;
constexpr std::size_t kReceive = 64 * 1024;  // more than any message the kernel puts into one datagram

// The kernel's own words for a refusal (NETLINK_EXT_ACK), or "" when it gave none.
std::string extack_text(const nlmsghdr* nlh) {
  if (!(nlh->nlmsg_flags & NLM_F_ACK_TLVS)) return {};
  auto* err = static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(nlh));
  std::size_t skip = sizeof(*err);
  if (!(nlh->nlmsg_flags & NLM_F_CAPPED)) skip += mnl_nlmsg_get_payload_len(&err->msg);
  std::string text;
  for_each_attr(nlh, skip, [&](const nlattr* a) {
    if (mnl_attr_get_type(a) == NLMSGERR_ATTR_MSG) text = mnl_attr_get_str(a);
  });
  return text;
}

Status answer_of(const nlmsghdr* nlh, std::string_view what) {
  int err = -static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(nlh))->error;
  if (err == 0) return {};
  auto error = error_from_errno(err, what);
  if (auto why = extack_text(nlh); !why.empty()) error.text += " (" + why + ")";
  return error;
}

}  // namespace

nlmsghdr* Messages::add(std::uint16_t type, std::uint16_t flags, std::size_t extra) {
  buffers_.push_back(std::make_unique<char[]>(kRoom));
  what_.emplace_back();
  auto* nlh = mnl_nlmsg_put_header(buffers_.back().get());
  nlh->nlmsg_type = type;
  nlh->nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | NLM_F_ACK | flags);
  mnl_nlmsg_put_extra_header(nlh, extra);
  return nlh;
}

Result<NetlinkSocket> NetlinkSocket::open(const Fd& netns, int protocol) {
  mnl_socket* raw = nullptr;
  int err = 0;
  MS_CHECK(in_netns(netns, [&] {
    raw = mnl_socket_open2(protocol, SOCK_CLOEXEC);
    if (!raw) err = errno;
  }));
  if (!raw) return error_from_errno(err, "open netlink socket");
  NetlinkSocket out(raw);
  if (mnl_socket_bind(raw, 0, MNL_SOCKET_AUTOPID) < 0) return error_from_errno(errno, "bind netlink socket");
  int on = 1;
  (void)mnl_socket_setsockopt(raw, NETLINK_EXT_ACK, &on, sizeof on);  // older kernels: errors just lack the reason
  // A kernel that does not answer would stop the engine for good; none of our requests takes this long.
  const timeval limit{10, 0};
  if (setsockopt(mnl_socket_get_fd(raw), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) < 0)
    return error_from_errno(errno, "limit netlink socket");
  return out;
}

Status NetlinkSocket::send(const void* data, std::size_t length) {
  // A batch is one datagram: the send buffer must hold it. CAP_NET_ADMIN may go past the sysctl's limit.
  int size = static_cast<int>(length * 2 + 65536);
  int now = 0;
  socklen_t len = sizeof now;
  int fd = mnl_socket_get_fd(socket_.get());
  if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &now, &len) == 0 && now < size * 2)
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
  if (mnl_socket_sendto(socket_.get(), data, length) < 0) return error_from_errno(errno, "send to the kernel");
  return {};
}

Status NetlinkSocket::request(Messages& messages) {
  // Some at a time: the answers to all of them must fit into the receive buffer.
  constexpr std::size_t kTogether = 64;
  Status result;
  for (std::size_t from = 0; from < messages.buffers_.size(); from += kTogether)
    MS_CHECK(request(messages, from, std::min(from + kTogether, messages.buffers_.size()), result));
  return result;
}

Status NetlinkSocket::request(Messages& messages, std::size_t from, std::size_t to, Status& refused) {
  std::vector<char> bytes;
  const std::uint32_t first = seq_ + 1;
  for (std::size_t i = from; i < to; ++i) {
    auto* nlh = reinterpret_cast<nlmsghdr*>(messages.buffers_[i].get());
    nlh->nlmsg_seq = next_seq();
    bytes.insert(bytes.end(), messages.buffers_[i].get(), messages.buffers_[i].get() + NLMSG_ALIGN(nlh->nlmsg_len));
  }
  MS_CHECK(send(bytes.data(), bytes.size()));
  std::size_t answered = 0;
  std::vector<char> rx(kReceive);
  while (answered < to - from) {
    ssize_t n = mnl_socket_recvfrom(socket_.get(), rx.data(), rx.size());
    if (n < 0) {
      if (errno == EINTR) continue;
      return error_from_errno(errno, "answer from the kernel");
    }
    int len = static_cast<int>(n);
    for (auto* nlh = reinterpret_cast<nlmsghdr*>(rx.data()); mnl_nlmsg_ok(nlh, len); nlh = mnl_nlmsg_next(nlh, &len)) {
      if (nlh->nlmsg_type != NLMSG_ERROR || nlh->nlmsg_seq < first) continue;  // a late answer to something given up
      ++answered;
      auto answer = answer_of(nlh, messages.what_[from + nlh->nlmsg_seq - first]);
      if (!answer && refused) refused = std::move(answer);
    }
  }
  return {};
}

Status NetlinkSocket::dump(nlmsghdr* request, const std::function<void()>& on_restart,
                           const std::function<void(const nlmsghdr*)>& on_message, std::string_view what) {
  std::vector<char> rx(kReceive);
  for (int attempt = 1;; ++attempt) {
    on_restart();
    request->nlmsg_seq = next_seq();
    request->nlmsg_flags |= NLM_F_REQUEST | NLM_F_DUMP;
    MS_CHECK(send(request, request->nlmsg_len).in(what));
    bool interrupted = false, done = false;
    while (!done) {
      ssize_t n = mnl_socket_recvfrom(socket_.get(), rx.data(), rx.size());
      if (n < 0) {
        if (errno == EINTR) continue;
        return error_from_errno(errno, what);
      }
      int len = static_cast<int>(n);
      for (auto* nlh = reinterpret_cast<nlmsghdr*>(rx.data()); mnl_nlmsg_ok(nlh, len);
           nlh = mnl_nlmsg_next(nlh, &len)) {
        if (nlh->nlmsg_seq != request->nlmsg_seq) continue;
        if (nlh->nlmsg_flags & NLM_F_DUMP_INTR) interrupted = true;
        if (nlh->nlmsg_type == NLMSG_ERROR) {
          auto answer = answer_of(nlh, what);
          if (!answer && answer.error().sys != EINTR) return answer;
          interrupted = interrupted || !answer;
          done = true;
        } else if (nlh->nlmsg_type == NLMSG_DONE) {
          done = true;
        } else {
          on_message(nlh);
        }
      }
    }
    if (!interrupted) return {};
    if (attempt == kDumpAttempts) return error_from_errno(EINTR, what);
  }
}

Status NetlinkSocket::ask(nlmsghdr* request, const std::function<void(const nlmsghdr*)>& on_message,
                          std::string_view what) {
  std::vector<char> rx(kReceive);
  request->nlmsg_seq = next_seq();
  request->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
  MS_CHECK(send(request, request->nlmsg_len).in(what));
  for (;;) {
    ssize_t n = mnl_socket_recvfrom(socket_.get(), rx.data(), rx.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return error_from_errno(errno, what);
    int len = static_cast<int>(n);
    for (auto* nlh = reinterpret_cast<nlmsghdr*>(rx.data()); mnl_nlmsg_ok(nlh, len); nlh = mnl_nlmsg_next(nlh, &len)) {
      if (nlh->nlmsg_seq != request->nlmsg_seq) continue;
      if (nlh->nlmsg_type == NLMSG_ERROR) return answer_of(nlh, what);
      on_message(nlh);
    }
  }
}

Status NetlinkSocket::exchange(const std::vector<char>& bytes, std::uint32_t first_seq, std::uint32_t last_seq,
                               std::uint32_t* failed_seq) {
  MS_CHECK(send(bytes.data(), bytes.size()));
  Status result;
  std::vector<char> rx(kReceive);
  for (bool done = false; !done;) {
    ssize_t n = mnl_socket_recvfrom(socket_.get(), rx.data(), rx.size());
    if (n < 0) {
      if (errno == EINTR) continue;
      return error_from_errno(errno, "answer from the kernel");
    }
    int len = static_cast<int>(n);
    for (auto* nlh = reinterpret_cast<nlmsghdr*>(rx.data()); mnl_nlmsg_ok(nlh, len); nlh = mnl_nlmsg_next(nlh, &len)) {
      if (nlh->nlmsg_type != NLMSG_ERROR || nlh->nlmsg_seq < first_seq || nlh->nlmsg_seq > last_seq) continue;
      auto answer = answer_of(nlh, "nft transaction");
      done = done || nlh->nlmsg_seq == last_seq || (!answer && nlh->nlmsg_seq == first_seq);
      if (!answer && result) {
        if (failed_seq) *failed_seq = nlh->nlmsg_seq;
        result = std::move(answer);
      }
    }
  }
  return result;
}

Fd subscribe(const Fd& netns, int protocol, const std::vector<int>& groups) {
  Fd out;
  (void)in_netns(netns, [&] {
    Fd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol));
    if (!fd.is_open()) return;
    sockaddr_nl address{};
    address.nl_family = AF_NETLINK;
    if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0) return;
    for (int group : groups)
      if (setsockopt(fd.get(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) < 0) return;
    out = std::move(fd);
  });
  return out;
}

}  // namespace microseg::kernel
