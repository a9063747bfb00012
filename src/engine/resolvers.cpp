#include "resolvers.h"

#include <fstream>
#include <sstream>
#include <string>

namespace microseg::engine {
namespace {

bool is_loopback(const Ip& ip) {
  static const Prefix v4 = Prefix::parse("127.0.0.0/8").value(), v6 = Prefix::parse("::1/128").value();
  return v4.contains(ip) || v6.contains(ip);
}

}  // namespace

std::vector<Ip> resolvers_in(std::string_view resolv_conf) {
  std::vector<Ip> out;
  std::istringstream lines{std::string(resolv_conf)};
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string keyword, address;
    if (!(words >> keyword >> address) || keyword != "nameserver") continue;
    if (auto ip = Ip::parse(address); ip && !is_loopback(ip.value())) out.push_back(ip.value());
  }
  return out;
}

std::vector<Ip> host_resolvers() {
  for (auto* path : {"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"}) {
    std::ifstream file(path);
    std::stringstream text;
    text << file.rdbuf();
    if (auto found = resolvers_in(text.str()); !found.empty()) return found;
  }
  return {};
}

}  // namespace microseg::engine
