// Store: durable intent. Two implementations, SQLite and the tests' memory, held to the same behaviour by
// tests/contract. What is observed of the kernel is never stored.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "microseg/model/network.h"

namespace microseg::store {

// How many revisions of its applied policy a network keeps; older ones go as newer ones are added. The admin API takes
// texts of 1 MiB and shows all revisions in one answer, of which its client reads 64 MiB.
constexpr std::uint64_t kRevisionsKept = 32;

// One revision of a network's applied policy.
struct Revision {
  NetworkId network;
  model::AppliedPolicy policy;
};

// Changes to write together or not at all. Removals are done first, so a network that is removed and put in one change
// is there afterwards, without what it had. Putting what is there replaces it. An endpoint or a revision of a network
// that is not stored, and text that is not UTF-8, are refused (invalid).
struct Change {
  std::vector<model::Network> put_networks{};
  std::vector<model::Endpoint> put_endpoints{};
  std::vector<NetworkId> remove_networks{};    // with all their endpoints and revisions
  std::vector<EndpointId> remove_endpoints{};  // absent ones are fine
  std::vector<Revision> add_revisions{};
};

class Store {
 public:
  virtual ~Store() = default;

  // Everything that was written. Endpoints whose network is gone are not returned.
  virtual Result<model::State> load() = 0;

  // Durable when it returns (survives power loss); on error nothing of it is. unavailable: disk full, busy or I/O
  // error.
  virtual Status write(const Change& change) = 0;

  // Applied policies of a network, the one in force first, at most kRevisionsKept.
  virtual Result<std::vector<model::AppliedPolicy>> revisions(const NetworkId& network) = 0;
};

// Opens or creates `directory`/state.db (mode 0600; the directory 0700) and brings its schema up to date. A file that
// is damaged, not a database, or written by a newer microseg is refused (invalid) with what to do, and left as it is:
//   "state database /var/lib/microseg/state.db is damaged (…): move it away and restart; …"
Result<std::unique_ptr<Store>> open_sqlite(const std::string& directory);

std::unique_ptr<Store> make_memory();

}  // namespace microseg::store
