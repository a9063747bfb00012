// Ordinary programs' traffic between namespaces, driven from one thread: a socket stays where it was opened.
#pragma once

#include <sys/socket.h>

#include <chrono>
#include <cstdint>
#include <string>

#include "support/lab_netns.h"

namespace microseg::lab {

using std::chrono::milliseconds;

struct Address {  // for the socket calls
  sockaddr_storage storage{};
  socklen_t length = 0;
  Address(const Ip& ip, std::uint16_t port);
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  int family() const { return storage.ss_family; }
};

// Open at all addresses of the family. Port 0: any; port_of() tells which.
Fd listen_tcp(const Netns& netns, bool is_v4, std::uint16_t port);
Fd bind_udp(const Netns& netns, bool is_v4, std::uint16_t port);
std::uint16_t port_of(const Fd& socket);

// A TCP connection from `netns`: its socket, or how the attempt ended: "ECONNREFUSED", "EHOSTUNREACH", "no answer".
struct Connection {
  Fd socket;
  std::string outcome;  // "connected"
  milliseconds took{};
};
Connection connect_tcp(const Netns& netns, const Ip& to, std::uint16_t port,
                       milliseconds patience = milliseconds(2000));
Fd accept_tcp(const Fd& listener, milliseconds patience = milliseconds(2000));

// Waits until it can be read; false when it cannot for so long.
bool readable(const Fd& socket, milliseconds patience);
// What arrives next: "" when nothing does, "!ENAME" for an error.
std::string receive(const Fd& socket, milliseconds patience = milliseconds(2000));
// Sends all of it or throws.
void send_all(const Fd& socket, const std::string& data);

// One UDP question of `size` bytes from one namespace to a server in the other, answered in kind: "answered", or where
// it ended: "no question", "no answer", or the asker's error, e.g. "EHOSTUNREACH".
std::string ask_udp(const Netns& from, const Netns& server, const Ip& to, std::uint16_t port, std::size_t size = 32,
                    milliseconds patience = milliseconds(2000));
// One TCP connection to a server in the other namespace, a word each way: "answered" or why not.
std::string ask_tcp(const Netns& from, const Netns& server, const Ip& to, std::uint16_t port,
                    milliseconds patience = milliseconds(2000));
// One echo request: "answered" or why not.
std::string ping(const Netns& from, const Ip& to, std::size_t size = 56, milliseconds patience = milliseconds(2000));

}  // namespace microseg::lab
