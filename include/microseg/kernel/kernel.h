// Kernel: the one door to the machine. Two implementations, the real one and the tests' fake, held to the same
// behaviour by tests/contract. Not thread-safe: the engine's thread owns it. Only `watch` starts a thread of its own.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "microseg/base/fd.h"
#include "microseg/base/result.h"
#include "microseg/kstate/plan.h"

namespace microseg::kernel {

// The host's own namespace, in place of a segment's name: observe() shows our table there and nothing else, apply() takes
// Nft and Quiesce, counters() and watch() know it too. It is never listed, made or deleted.
inline constexpr const char* kHost = "@host";

// The same namespace's bridge ports: observe() shows those of every bridge and our table of family bridge, apply() takes
// Nft (on that table), BindPort and Quiesce, counters() knows the table; watch() tells of it and of ports that come, go
// or change. Never listed, made or deleted.
inline constexpr const char* kHostPorts = "@ports";

class Kernel {
 public:
  virtual ~Kernel() = default;

  // Names of the segments that exist, i.e. namespaces mounted in our directory.
  virtual Result<std::vector<std::string>> segments() = 0;
  // Success when it exists already. A namespace that is alive but has lost its mount gets it back.
  // invalid: kHost and kHostPorts, here and in delete_segment.
  virtual Status create_segment(const std::string& name) = 0;
  // With all that is in it. Success when it is gone already.
  virtual Status delete_segment(const std::string& name) = 0;

  // What the segment holds of ours: links with our alias, the VXLAN device, routes of our protocol, permanent
  // neighbours, the table, and those of `sysctls` (paths below /proc/sys) that this kernel has. Consistent: an interrupted dump is done again.
  // not_found: no such segment.
  virtual Result<kstate::Segment> observe(const std::string& name, const std::vector<std::string>& sysctls) = 0;

  // The port of `bridge` in the host's namespace whose other end is in this sandbox (a namespace's path), e.g. the one
  // by which the gateway bridge reaches a container. Judged from the host's side: nothing that a container can do to its
  // own links makes another's port look like its own. As long as Docker has not moved the container's end there, it is
  // in the host's namespace, and known by the MAC that Docker gave it.
  //   not_found  no such sandbox, or none of its links leads to that bridge
  virtual Result<kstate::PortIndex> port_of(const std::string& sandbox, const IfName& bridge,
                                            const std::optional<Mac>& mac) = 0;

  // Does one op. On error nothing of an nft transaction or of a link remains.
  //   not_found    DelLink, MendLink or BindPort of an absent link; AddLink into a sandbox that is gone; DelVxlan,
  //                MendVxlan and Announce without the device
  //   exists       AddLink of a present name; AddVxlan where the segment has one, or another device of this host has
  //                its VNI
  //   unavailable  the kernel was busy: observe and try again
  //   denied       the host's table has another owner, a daemon that still runs
  virtual Status apply(const std::string& name, const kstate::Op& op) = 0;

  // Packets by named counter of the segment's table.
  virtual Result<std::map<std::string, std::uint64_t>> counters(const std::string& name) = 0;

  // From now on calls `changed` with a segment's name, on another thread, after anybody but us changed something in
  // it or events were lost. Once at most. The real kernel's watch also tells a container whose link comes up where its
  // gateways are.
  virtual void watch(std::function<void(const std::string&)> changed) = 0;

  // What is known from the kernel's own messages alone is asked for anew at its next use.
  virtual void doubt() = 0;
};

// A must-have or nice-to-have of the running kernel.
struct Capability {
  std::string name;     // "veth", "nf_tables", "conntrack"
  bool required = true;
  std::string missing;  // "" when present, else what the kernel said
};

// The capability that networks which span hosts need, and no other.
inline constexpr const char* kGroupPolicy = "VXLAN with group policy";

// Tries each feature in a throw-away namespace. Never fails: what cannot be tried is missing.
std::vector<Capability> probe();

// The real one. Segments are mounted in `directory` (made when missing), e.g. /run/microseg/netns.
Result<std::unique_ptr<Kernel>> make_linux_kernel(const std::string& directory);
// The same for another host than the one that this process is in: `host` is its namespace.
Result<std::unique_ptr<Kernel>> make_linux_kernel(const std::string& directory, Fd host);

}  // namespace microseg::kernel
