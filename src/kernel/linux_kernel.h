// Kernel over rtnetlink and nfnetlink: a namespace's descriptor and two sockets per segment, and one socket that owns
// our table in the host's namespace.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "microseg/kernel/kernel.h"
#include "monitor.h"
#include "netlink.h"
#include "netns.h"
#include "nft.h"
#include "ports.h"

namespace microseg::kernel {

class LinuxKernel final : public Kernel {
 public:
  // `host_route`: an rtnetlink socket in `host`.
  LinuxKernel(std::string directory, Fd host, NetlinkSocket host_route)
      : directory_(std::move(directory)), host_(std::move(host)), host_route_(std::move(host_route)) {}

  Result<std::vector<std::string>> segments() override;
  Status create_segment(const std::string& name) override;
  Status delete_segment(const std::string& name) override;
  Result<kstate::Segment> observe(const std::string& name, const std::vector<std::string>& sysctls) override;
  Result<kstate::PortIndex> port_of(const std::string& sandbox, const IfName& bridge,
                                   const std::optional<Mac>& mac) override;
  Status apply(const std::string& name, const kstate::Op& op) override;
  Result<std::map<std::string, std::uint64_t>> counters(const std::string& name) override;
  void watch(std::function<void(const std::string&)> changed) override;
  void doubt() override;

 private:
  struct Segment {
    Fd netns;
    NetlinkSocket route, filter;
  };
  // Kept from its first use on: both tables are its socket's, and open to everybody once that is closed.
  struct Host {
    NetlinkSocket filter;
    bool knows_owners;  // this kernel does
  };
  std::string path_of(const std::string& name) const { return directory_ + "/" + name; }
  // Opens the segment's sockets at its first use. The descriptor keeps the namespace alive without its mount.
  Result<Segment*> find(const std::string& name);
  void start_watching(const std::string& name, Segment& segment);
  Result<Host*> at_host();
  Result<kstate::Segment> observe_host();
  Status apply_at_host(const kstate::Op& op);
  Status change_host_table(std::vector<kstate::NftOp> ops, Family family);
  // Watched from their first use on.
  Result<Ports*> at_ports();
  Result<kstate::Segment> observe_host_ports();
  Status apply_at_ports(const kstate::Op& op);

  std::string directory_;
  Fd host_;
  std::optional<Host> at_host_;
  std::optional<Ports> at_ports_;
  NetlinkSocket host_route_;  // makes what is born in the host's namespace
  std::map<std::string, Segment> segments_;
  std::unique_ptr<Monitor> monitor_;
};

}  // namespace microseg::kernel
