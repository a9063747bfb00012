// Bridge ports of one namespace, over rtnetlink. They are listed once; from then on the kernel's own messages are followed.
// A dump takes the lock (RTNL) that is held for tens of milliseconds whenever somebody moves a link to a container, which
// is just when a port has to be found before the container speaks.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "microseg/base/fd.h"
#include "microseg/kstate/ports.h"
#include "netlink.h"
#include "observers.h"

namespace microseg::kernel {

class Ports {
 public:
  static Result<Ports> open(const Fd& netns);

  Result<std::map<kstate::PortIndex, kstate::BridgePort>> observe();

  // Lists them anew next time.
  void doubt() { listed_ = false; }

  // See kstate::BindPort. not_found: no bridge has such a port.
  Status bind(kstate::PortIndex port, const std::optional<Mac>& mac);

  // See Kernel::port_of.
  Result<kstate::PortIndex> port_of(const std::string& sandbox, const IfName& bridge, const std::optional<Mac>& mac);

 private:
  Ports(NetlinkSocket socket, Fd news) : socket_(std::move(socket)), news_(std::move(news)) {}
  Status catch_up();
  Status list();
  bool read_news();  // false: some of it was lost

  NetlinkSocket socket_;
  Fd news_;  // subscribed to links and forwarding entries
  FoundPorts found_;
  bool listed_ = false;
};

}  // namespace microseg::kernel
