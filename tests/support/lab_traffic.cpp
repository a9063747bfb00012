#include "support/lab_traffic.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "support/lab_packet.h"

namespace microseg::lab {
namespace {

using std::chrono::steady_clock;

std::string name_of(int err) { return strerrorname_np(err) ? strerrorname_np(err) : std::to_string(err); }

Fd bound(const Netns& netns, int family, int type, std::uint16_t port) {
  auto fd = netns.socket(family, type, 0);
  const int on = 1;
  must(setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0, "SO_REUSEADDR");
  if (family == AF_INET6) must(setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) == 0, "IPV6_V6ONLY");
  const Address any(family == AF_INET ? Ip::v4({}) : Ip::v6({}), port);
  must(::bind(fd.get(), any.get(), any.length) == 0, "bind to port " + std::to_string(port));
  return fd;
}

int family_of(bool is_v4) { return is_v4 ? AF_INET : AF_INET6; }

}  // namespace

Address::Address(const Ip& ip, std::uint16_t port) {
  if (ip.is_v4()) {
    auto* a = reinterpret_cast<sockaddr_in*>(&storage);
    a->sin_family = AF_INET;
    a->sin_port = htons(port);
    std::memcpy(&a->sin_addr, ip.bytes().data(), 4);
    length = sizeof *a;
  } else {
    auto* a = reinterpret_cast<sockaddr_in6*>(&storage);
    a->sin6_family = AF_INET6;
    a->sin6_port = htons(port);
    std::memcpy(&a->sin6_addr, ip.bytes().data(), 16);
    length = sizeof *a;
  }
}

Fd listen_tcp(const Netns& netns, bool is_v4, std::uint16_t port) {
  auto fd = bound(netns, family_of(is_v4), SOCK_STREAM, port);
  must(::listen(fd.get(), 128) == 0, "listen");
  return fd;
}

Fd bind_udp(const Netns& netns, bool is_v4, std::uint16_t port) {
  auto fd = bound(netns, family_of(is_v4), SOCK_DGRAM, port);
  const int big = 8 << 20;
  must(setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &big, sizeof big) == 0, "receive buffer");
  return fd;
}

std::uint16_t port_of(const Fd& socket) {
  sockaddr_storage at{};
  socklen_t length = sizeof at;
  must(getsockname(socket.get(), reinterpret_cast<sockaddr*>(&at), &length) == 0, "getsockname");
  return ntohs(at.ss_family == AF_INET ? reinterpret_cast<sockaddr_in*>(&at)->sin_port
                                       : reinterpret_cast<sockaddr_in6*>(&at)->sin6_port);
}

Connection connect_tcp(const Netns& netns, const Ip& to, std::uint16_t port, milliseconds patience) {
  const Address target(to, port);
  Connection out{netns.socket(target.family(), SOCK_STREAM | SOCK_NONBLOCK, 0), "connected", {}};
  const auto began = steady_clock::now();
  int err = ::connect(out.socket.get(), target.get(), target.length) == 0 ? 0 : errno;
  if (err == EINPROGRESS) {
    pollfd waiting{out.socket.get(), POLLOUT, 0};
    socklen_t length = sizeof err;
    if (::poll(&waiting, 1, static_cast<int>(patience.count())) == 0)
      err = ETIMEDOUT;
    else
      (void)getsockopt(out.socket.get(), SOL_SOCKET, SO_ERROR, &err, &length);
  }
  out.took = std::chrono::duration_cast<milliseconds>(steady_clock::now() - began);
  if (err)
    out.outcome = err == ETIMEDOUT ? "no answer" : name_of(err);
  else
    (void)::fcntl(out.socket.get(), F_SETFL, 0);
  return out;
}

bool readable(const Fd& socket, milliseconds patience) {
  pollfd waiting{socket.get(), POLLIN, 0};
  return ::poll(&waiting, 1, static_cast<int>(patience.count())) > 0;
}

Fd accept_tcp(const Fd& listener, milliseconds patience) {
  if (!readable(listener, patience)) fail("no connection arrived");
  Fd out(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  must(out.is_open(), "accept");
  return out;
}

std::string receive(const Fd& socket, milliseconds patience) {
  if (!readable(socket, patience)) return "";
  std::vector<char> buffer(70000);
  const ssize_t n = ::recv(socket.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (n < 0) return "!" + name_of(errno);
  return std::string(buffer.data(), static_cast<std::size_t>(n));
}

void send_all(const Fd& socket, const std::string& data) {
  for (std::size_t sent = 0; sent < data.size();) {
    const ssize_t n = ::send(socket.get(), data.data() + sent, data.size() - sent, MSG_NOSIGNAL);
    must(n >= 0, "send");
    sent += static_cast<std::size_t>(n);
  }
}

std::string ask_udp(const Netns& from, const Netns& server, const Ip& to, std::uint16_t port, std::size_t size,
                    milliseconds patience) {
  auto answering = bind_udp(server, to.is_v4(), port);
  const Address target(to, port);
  auto asking = from.socket(target.family(), SOCK_DGRAM, 0);
  must(::connect(asking.get(), target.get(), target.length) == 0, "connect");
  std::string question(size, 'q');
  const std::string mark = fresh_mark();
  question.replace(0, std::min(size, mark.size()), mark.substr(0, size));
  send_all(asking, question);

  pollfd either[2] = {{answering.get(), POLLIN, 0}, {asking.get(), POLLIN, 0}};
  if (::poll(either, 2, static_cast<int>(patience.count())) == 0) return "no question";
  if (!either[0].revents) {
    auto got = receive(asking, milliseconds(0));
    return got.starts_with('!') ? got.substr(1) : "an answer without a question";
  }
  std::vector<char> buffer(70000);
  sockaddr_storage asker{};
  socklen_t length = sizeof asker;
  const ssize_t n =
      ::recvfrom(answering.get(), buffer.data(), buffer.size(), 0, reinterpret_cast<sockaddr*>(&asker), &length);
  if (n < 0 || std::string(buffer.data(), static_cast<std::size_t>(n)) != question) return "another question";
  must(::sendto(answering.get(), buffer.data(), static_cast<std::size_t>(n), 0, reinterpret_cast<sockaddr*>(&asker),
                length) == n,
       "answer");
  const auto answer = receive(asking, patience);
  if (answer.empty()) return "no answer";
  if (answer.starts_with('!')) return answer.substr(1);
  return answer == question ? "answered" : "another answer";
}

std::string ask_tcp(const Netns& from, const Netns& server, const Ip& to, std::uint16_t port, milliseconds patience) {
  auto listener = listen_tcp(server, to.is_v4(), port);
  auto client = connect_tcp(from, to, port, patience);
  if (client.outcome != "connected") return client.outcome;
  auto served = accept_tcp(listener, patience);
  send_all(client.socket, "question");
  if (receive(served, patience) != "question") return "no question";
  send_all(served, "answer");
  return receive(client.socket, patience) == "answer" ? "answered" : "no answer";
}

std::string ping(const Netns& from, const Ip& to, std::size_t size, milliseconds patience) {
  const Address target(to, 0);
  auto socket = from.socket(target.family(), SOCK_RAW, to.is_v4() ? kIcmp : kIcmpv6);
  must(::connect(socket.get(), target.get(), target.length) == 0, "connect");
  const std::string mark = fresh_mark();
  Bytes data = bytes(mark);
  data.resize(size);
  // The kernel fills in ICMPv6's checksum.
  const Bytes echo = icmp(to, to, to.is_v4() ? 8 : 128, 0, 0x6d730001, data);
  must(::send(socket.get(), echo.data(), echo.size(), 0) >= 0, "send an echo request");
  for (const auto until = steady_clock::now() + patience; steady_clock::now() < until;) {
    auto got = receive(socket, patience);
    if (got.starts_with('!')) return got.substr(1);
    const std::size_t at = to.is_v4() ? 20 : 0;
    if (got.size() > at + 8 && got.find(mark) != std::string::npos &&
        got[at] == (to.is_v4() ? 0 : static_cast<char>(129)))
      return "answered";
  }
  return "no answer";
}

}  // namespace microseg::lab
