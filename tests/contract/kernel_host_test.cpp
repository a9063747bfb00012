// One suite for both kernels: our table in the host's own namespace.
#include <doctest/doctest.h>

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "contract/kernel_testing.h"
#include "kernel/nft.h"
#include "microseg/reconcile/host.h"
#include "microseg/render/host_table.h"

using namespace microseg;
using namespace microseg::test;
using namespace microseg::kstate;
using kernel::kHost;

namespace {

const std::set<render::Tunnel> kTunnels = {{ip("192.0.2.2"), 4097}, {ip("2001:db8::2"), 4098}};
const Table kWanted = render::host_table(4799, kTunnels);

// The host's table outlives a test: each begins and ends without it.
template <class K>
struct Host : K {
  Host() { begin(); }
  ~Host() {
    if (table()) must(this->kernel.apply(kHost, Nft{{DelTable{}}}));
  }
  void begin();
  std::optional<Table> table() {
    auto out = this->kernel.observe(kHost, {"net/ipv4/ip_forward"});
    REQUIRE_MESSAGE(out, out.error().text);
    CHECK(out->sysctls.empty());
    CHECK(out->links.empty());
    return out->table;
  }
  // What is wanted, by the one transaction; says how many parts it had.
  std::size_t become(const std::optional<Table>& wanted) {
    const auto plan = reconcile::plan_host(wanted, table());
    for (auto& op : plan) must(this->kernel.apply(kHost, op));
    CHECK(table() == wanted);
    return plan.empty() ? 0 : std::get<Nft>(plan.front()).ops.size();
  }
  // The daemon dies; from now on `kernel` is the next one's.
  void die();
};

struct RealHost {
  std::string directory = "/tmp/microseg-host-" + std::to_string(getpid());
  std::unique_ptr<kernel::Kernel> owned = kernel::make_linux_kernel(directory).value();
  struct Door {
    RealHost& host;
    auto observe(const std::string& n, const std::vector<std::string>& s) { return host.owned->observe(n, s); }
    auto apply(const std::string& n, const Op& op) { return host.owned->apply(n, op); }
    auto counters(const std::string& n) { return host.owned->counters(n); }
    auto segments() { return host.owned->segments(); }
    auto create_segment(const std::string& n) { return host.owned->create_segment(n); }
    auto delete_segment(const std::string& n) { return host.owned->delete_segment(n); }
  } kernel{*this};
  ~RealHost() {
    std::error_code ignored;
    std::filesystem::remove_all(directory, ignored);
  }
};

using FakeHost = Host<Fake>;
using LinuxHost = Host<RealHost>;

template <>
void Host<Fake>::begin() {}
template <>
void Host<RealHost>::begin() { REQUIRE(!table()); }
template <>
void Host<Fake>::die() { fake.lose_owner(); }
template <>
void Host<RealHost>::die() {
  owned.reset();
  owned = kernel::make_linux_kernel(directory).value();
}

kernel::NetlinkSocket another() {
  return kernel::NetlinkSocket::open(kernel::own_netns().value(), NETLINK_NETFILTER).value();
}

}  // namespace

TYPE_TO_STRING(FakeHost);
TYPE_TO_STRING(LinuxHost);

TEST_CASE_TEMPLATE("the host holds our table, and is no segment", K, FakeHost, LinuxHost) {
  K k;
  CHECK(!k.table());
  CHECK(k.kernel.segments()->empty());
  CHECK(code_of(k.kernel.create_segment(kHost)) == Errc::invalid);
  CHECK(code_of(k.kernel.delete_segment(kHost)) == Errc::invalid);
  k.become(kWanted);
  CHECK(k.kernel.segments()->empty());
  CHECK(k.kernel.counters(kHost).value() == std::map<std::string, std::uint64_t>{{"injected", 0}, {"underlay", 0}});
  must(k.kernel.apply(kHost, Quiesce{}));
  k.become(std::nullopt);
  CHECK(k.kernel.counters(kHost)->empty());
}

TEST_CASE_TEMPLATE("nothing but the table is changed at the host", K, FakeHost, LinuxHost) {
  K k;
  CHECK(code_of(k.kernel.apply(kHost, SetSysctl{"net/ipv4/ip_forward", "1"})) == Errc::unsupported);
  CHECK(code_of(k.kernel.apply(kHost, AddLink{link_name(2), link(2)})) == Errc::unsupported);
  CHECK(code_of(k.kernel.apply(kHost, DelLink{link_name(2)})) == Errc::unsupported);
  CHECK(code_of(k.kernel.apply(kHost, MendLink{link_name(2), link(2)})) == Errc::unsupported);
  CHECK(code_of(k.kernel.apply(kHost, PurgeConnections{})) == Errc::unsupported);
}

TEST_CASE_TEMPLATE("tunnels come and go in one small transaction", K, FakeHost, LinuxHost) {
  K k;
  k.become(render::host_table(4799, {}));
  CHECK(k.become(kWanted) == 2);
  CHECK(k.become(kWanted) == 0);
  auto more = kTunnels;
  more.insert({ip("192.0.2.3"), 4097});
  CHECK(k.become(render::host_table(4799, more)) == 1);
  CHECK(k.become(kWanted) == 1);
  CHECK(k.become(render::host_table(4799, {})) == 2);
}

TEST_CASE_TEMPLATE("a dead daemon's table stays, and is taken over as it is", K, FakeHost, LinuxHost) {
  K k;
  k.become(kWanted);
  for (int round = 0; round < 3; ++round) {
    k.die();
    REQUIRE(k.table());
    CHECK(k.table()->owner == Owner::gone);
    CHECK(k.become(kWanted) == 1);  // nothing but AddTable
    CHECK(k.table()->owner == Owner::us);
  }
  k.die();
  CHECK(k.become(render::host_table(4799, {})) == 3);
  k.die();
  k.become(std::nullopt);
}

TEST_CASE_TEMPLATE("a table that never had an owner is exchanged", K, FakeHost, LinuxHost) {
  K k;
  auto open = kWanted;
  open.owner = Owner::none;
  k.become(open);
  CHECK(code_of(k.kernel.apply(kHost, Nft{{AddTable{true}}})) == Errc::unsupported);
  CHECK(k.become(kWanted) > 10);
  CHECK(k.become(open) > 10);  // and back
}

// ---- what only the real kernel can show ----

TEST_CASE("an owned table is closed to everybody else, whole flushes too") {
  LinuxHost k;
  k.become(kWanted);
  CHECK(std::system("nft flush ruleset") == 0);
  CHECK(k.table() == kWanted);
  CHECK(std::system("nft delete table inet microseg 2>/dev/null") != 0);
  CHECK(std::system("nft flush chain inet microseg vxlan 2>/dev/null") != 0);
  auto other = another();
  const auto refused = kernel::apply_nft(other, {DelTable{}});
  CHECK(code_of(refused) == Errc::denied);
  CHECK(kernel::observe_table(other).value()->owner == Owner::other);
  CHECK(k.table() == kWanted);
}

TEST_CASE("a table that another daemon owns is seen, and left alone with a word to the reader") {
  LinuxHost k;
  auto other = another();
  must(kernel::apply_nft(other, {AddTable{true}}));
  REQUIRE(k.table());
  CHECK(k.table()->owner == Owner::other);
  for (auto& op : reconcile::plan_host(kWanted, k.table())) {
    const auto refused = k.kernel.apply(kHost, op);
    CHECK(code_of(refused) == Errc::denied);
    CHECK(refused.error().text.find("stop it to hand it over") != std::string::npos);
  }
  must(kernel::apply_nft(other, {DelTable{}}));
}

TEST_CASE("this kernel's probe says whether tables can be owned, and does not insist") {
  bool found = false;
  for (auto& capability : kernel::probe()) {
    if (capability.name != "nf_tables tables that outlive their owner") continue;
    found = true;
    CHECK(!capability.required);
    CHECK(capability.missing == "");
  }
  CHECK(found);
}

TEST_CASE("changes by others to our table are told, and no other table's") {
  std::mutex mutex;
  std::condition_variable told;
  int count = 0;
  LinuxHost k;
  auto open = kWanted;
  open.owner = Owner::none;
  k.become(open);
  k.owned->watch([&](const std::string& name) {
    std::lock_guard lock(mutex);
    if (name == kHost) ++count;
    told.notify_all();
  });
  // Told in the order of the changes: what comes before the last one would have been counted by then.
  REQUIRE(std::system("nft add table inet other; nft add chain inet other x; nft delete table inet other") == 0);
  k.become(render::host_table(5000, {}));
  k.become(open);
  REQUIRE(std::system("nft add chain inet microseg foreign") == 0);
  std::unique_lock lock(mutex);
  CHECK(told.wait_for(lock, std::chrono::seconds(5), [&] { return count > 0; }));
  CHECK(count == 1);
}
