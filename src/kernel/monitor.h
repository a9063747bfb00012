// Watches segments for changes that others make: a link deleted, a table touched, a route or a mount gone. Tells a container
// whose link comes up where its gateways are.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "microseg/base/fd.h"
#include "nft.h"
#include "observers.h"

struct nlmsghdr;

namespace microseg::kernel {

class Monitor {
 public:
  // `changed` is called on the monitor's thread.
  explicit Monitor(std::function<void(const std::string&)> changed);
  ~Monitor();

  // Changes made through the sockets with these port ids are ours and not reported.
  void add(const std::string& segment, const Fd& netns, std::vector<std::uint32_t> own_ports);
  // Only our table there, whatever else of the namespace's rules others change; reported under `name`.
  void add_table(const std::string& name, const Fd& netns, std::uint32_t own_port);
  // The same, of our table of family bridge there, and bridge ports that come, go or change.
  void add_ports(const std::string& name, const Fd& netns, std::uint32_t own_port);
  void forget(const std::string& segment);

 private:
  struct Watched {
    Fd route, filter;
    std::vector<std::uint32_t> own_ports;
    std::optional<Family> only_table{};  // whichever else there are
    bool only_ports = false;             // of all links
    Found last{};                        // what was last told of each link of ours
    std::shared_ptr<const Fd> netns{};   // a segment's
    std::set<int> running{};             // links of it that pass packets
  };
  struct Risen {
    std::shared_ptr<const Fd> netns;
    std::string link;
  };
  void run();
  void follow(const std::string& name, Watched watched);
  static bool drain(Watched& watched, const Fd& socket, std::vector<Risen>& risen);
  static void follow_carrier(Watched& watched, const nlmsghdr* nlh, std::vector<Risen>& risen);
  static bool concerns(const Watched& watched, const Fd& socket, const nlmsghdr* nlh);
  void wake() const;

  std::function<void(const std::string&)> changed_;
  std::mutex mutex_;
  std::map<std::string, Watched> watched_;
  bool stop_ = false;
  Fd poll_, wake_;
  std::thread thread_;
};

}  // namespace microseg::kernel
