// FakeKernel: the kernel as values. It obeys the real one's rules as far as tests/contract/kernel_test.cpp holds both
// to them, writes down what was done, and fails when told to.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "microseg/kernel/kernel.h"

namespace microseg::test {

class FakeKernel final : public kernel::Kernel {
 public:
  // ---- what a test may look at and turn ----
  std::map<std::string, kstate::Segment> state;             // by name; sysctls are all that this kernel has
  std::map<std::string, std::map<IfName, kstate::PeerEnd>> peers;  // the containers' ends, as they were made
  std::map<std::string, std::vector<std::uint32_t>> marks;  // of tracked connections; a purge takes some away
  std::set<std::string> unmounted;                          // alive, but their mount is gone
  std::set<std::string> sandboxes;                          // those that exist
  std::map<std::string, std::string> sysctls;               // of a new namespace
  std::vector<std::string> log;                             // every op that was done, as its text
  std::map<std::size_t, int> fail;                          // nth apply(), counted from 0 -> errno, once
  std::size_t applies = 0;                                  // how often apply() was called
  std::map<std::string, kstate::PortIndex> ends;            // sandbox -> the port that leads there, if one does
  bool knows_owners = true;                                 // of tables: Linux 6.9 and up
  int refuse_segments = 0;                                  // errno for create_segment, until it is 0 again
  int refuse_all = 0;                                       // errno for each apply()
  std::size_t observed = 0;                                 // how often observe() was called
  std::function<void(const std::string&)> changed;          // as given to watch()

  // A kernel that has every sysctl of a segment, at Linux's defaults where they matter.
  FakeKernel();

  // What a daemon's death leaves to the next one: the tables at kernel::kHost and kHostPorts without an owner.
  void lose_owner();

  Result<std::vector<std::string>> segments() override;
  Status create_segment(const std::string& name) override;
  Status delete_segment(const std::string& name) override;
  Result<kstate::Segment> observe(const std::string& name, const std::vector<std::string>& paths) override;
  Result<kstate::PortIndex> port_of(const std::string& sandbox, const IfName& bridge,
                                   const std::optional<Mac>& mac) override;
  Status apply(const std::string& name, const kstate::Op& op) override;
  Result<std::map<std::string, std::uint64_t>> counters(const std::string& name) override;
  void watch(std::function<void(const std::string&)> on_change) override { changed = std::move(on_change); }
  void doubt() override {}

 private:
  kstate::Segment* find(const std::string& name);  // the host's is always there
};

// One transaction on a table: 0, or the errno that the kernel answers with; then nothing has changed.
int apply_nft(std::optional<kstate::Table>& table, const std::vector<kstate::NftOp>& ops);

}  // namespace microseg::test
