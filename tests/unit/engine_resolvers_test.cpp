// The servers that a resolv.conf names.
#include <doctest/doctest.h>

#include "engine/resolvers.h"

using namespace microseg;

TEST_CASE("nameserver lines, without loopback and without what is no address") {
  struct {
    const char *text, *found;
  } rows[] = {
      {"", ""},
      {"nameserver 192.0.2.53\n", "192.0.2.53"},
      {"# nameserver 192.0.2.1\n; nameserver 192.0.2.2\nsearch example.org\nnameserver\t192.0.2.53 # ours\n", "192.0.2.53"},
      {"nameserver 127.0.0.53\nnameserver ::1\n", ""},
      {"nameserver 2001:db8::53\nnameserver 192.0.2.53", "2001:db8::53 192.0.2.53"},
      {"nameserver fe80::1%eth0\nnameserver dns.example.org\nnameserver\noptions ndots:0\n", ""},
  };
  for (auto& row : rows) {
    CAPTURE(std::string(row.text));
    std::string found;
    for (auto& ip : engine::resolvers_in(row.text)) found += (found.empty() ? "" : " ") + ip.str();
    CHECK(found == row.found);
  }
}
