// Several hosts with one network between them: a namespace each, real segments made by render, reconcile and the real
// kernel, containers of their own, and nothing else in the way. No engine: a test says who is where.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "microseg/kernel/kernel.h"
#include "microseg/model/network.h"
#include "microseg/render/segment.h"
#include "support/lab_netns.h"

namespace microseg::lab {

struct Container {
  model::Endpoint endpoint;
  Netns netns;

  Ip address(bool is_v4) const { return is_v4 ? endpoint.v4->ip() : endpoint.v6->ip(); }
  std::string link() const { return render::link_name(endpoint.id).str(); }  // in the segment
};

class Host {
 public:
  // At 192.0.2.<n> on the underlay.
  Host(unsigned n, const model::Network& network);
  ~Host();

  // At 10.5.0.<last> and fd05::<last>, and up. An empty service: nobody knows who it is.
  Container& start(const std::string& service, unsigned last, policy::Labels labels = {});
  void stop(const Container& container);
  // What this host alone enforces from now on; it can ask what the network's own policy can.
  void enforce(const std::string& policy);
  // Judges all live connections again.
  void bump();

  Ip address() const;
  Netns segment() const { return Netns::open(directory_ + "/" + network_.id.brief()); }
  std::map<std::string, std::uint64_t> counters() const;
  std::uint16_t class_of(const std::string& service) const;
  Mac device_mac() const { return segment().mac_of(kstate::kVxlan); }
  const Netns& netns() const { return netns_; }
  unsigned number() const { return n_; }
  void meet(const Host& other);

 private:
  void become();  // what it should be

  unsigned n_;
  Netns netns_;
  std::string directory_;
  std::unique_ptr<kernel::Kernel> kernel_;
  model::Network network_;
  render::Judgement judgement_;
  std::uint16_t generation_ = 0;
  std::vector<std::unique_ptr<Container>> containers_;
  Shown shown_;
};

// So many of them, each with a stretch of underlay to each other one.
class Hosts {
 public:
  Hosts(unsigned count, const std::string& policy, model::Options options = {});
  Host& operator[](std::size_t i) { return *hosts_.at(i); }

 private:
  std::vector<std::unique_ptr<Host>> hosts_;
};

}  // namespace microseg::lab
