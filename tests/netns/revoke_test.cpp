// A permission that is taken away ends what lives on it: no packet of it is delivered later than 20 ms after the
// policy was applied, and connections that it does not concern lose nothing.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <atomic>
#include <cmath>
#include <thread>

#include "support/lab_packet.h"
#include "support/lab_segment.h"
#include "support/lab_traffic.h"

using namespace microseg;
using namespace microseg::lab;
using std::chrono::nanoseconds, std::chrono::steady_clock, std::chrono::system_clock;

namespace {

constexpr int kTrials = 20;
constexpr milliseconds kLimit{20};  // after apply_policy returned
constexpr milliseconds kAfter{60};  // how long senders go on then
constexpr milliseconds kPause{1};   // between packets of a flow
constexpr std::size_t kWarm = 10;   // packets that must have come before the permission goes

nanoseconds now() { return system_clock::now().time_since_epoch(); }  // the clock of a capture's time

// Datagrams with running numbers, from a connected socket to another, one way.
struct Stream {
  Fd socket;
  std::string name;
  std::uint32_t sent = 0, failed = 0;

  std::string text(std::uint32_t number) const { return fmt::format("{}{};", name, number); }
  void tick() {
    const std::string data = text(sent);
    // Refusals are told to the sender; it goes on all the same.
    if (::send(socket.get(), data.data(), data.size(), MSG_DONTWAIT | MSG_NOSIGNAL) < 0) ++failed;
    ++sent;
  }
};

struct UdpPair {
  Stream forth, back;
};

// A UDP connection in use in both directions; named by what its packets carry.
UdpPair udp_pair(const Box& from, const Box& to, bool v4, std::uint16_t port, const std::string& name) {
  auto server = bind_udp(to.netns, v4, port), client = bind_udp(from.netns, v4, 0);
  const Address target(to.address(v4), port), back(from.address(v4), port_of(client));
  must(::connect(client.get(), target.get(), target.length) == 0, "connect");
  must(::connect(server.get(), back.get(), back.length) == 0, "connect");
  return {{std::move(client), name + ">"}, {std::move(server), name + "<"}};
}

// When each packet with this text in it arrived; an ICMP error quotes what it is about, and is none.
std::vector<nanoseconds> arrivals(const std::vector<Captured>& all, std::string_view text) {
  std::vector<nanoseconds> out;
  for (auto& got : all)
    if (auto v = view(got.frame); v && (v->protocol == kUdp || v->protocol == kTcp) && contains(got.frame, text))
      out.push_back(got.at);
  return out;
}

// The kernel begins to note when packets arrive some time after it was first asked to; until then a capture's time is
// that of its reading.
void await_arrival_times(const Box& from, const Box& to, Tap& tap) {
  const Address target(to.v4(), 80);
  auto socket = from.netns.socket(target.family(), SOCK_DGRAM, 0);
  for (const auto until = steady_clock::now() + milliseconds(10'000); steady_clock::now() < until;) {
    const std::string mark = fresh_mark();
    must(::sendto(socket.get(), mark.data(), mark.size(), 0, target.get(), target.length) > 0, "send");
    std::this_thread::sleep_for(milliseconds(5));
    auto got = tap.find(mark, milliseconds(2000));
    if (got && now() - got->at >= milliseconds(4)) return;
  }
  fail("no arrival times");
}

}  // namespace

TEST_CASE("what a policy no longer allows ends with it, what it still allows goes on") {
  Lab lab;
  const auto net = lab.network();
  auto& web = lab.run(net, "web", {"10.5.0.2/24", "fd05::2/64"});
  auto& api = lab.run(net, "api", {"10.5.0.3/24", "fd05::3/64"});
  auto& db = lab.run(net, "db", {"10.5.0.4/24", "fd05::4/64"});
  const std::string kept = "allow web -> db: 80, 80/udp\n", gone = "allow web -> api: 80, 80/udp\n";

  Tap at_web(web.netns), at_api(api.netns), at_db(db.netns);
  lab.apply(net, kept);
  await_arrival_times(web, db, at_db);

  nanoseconds worst = nanoseconds::min();
  std::size_t late = 0, lost = 0, revoked_packets = 0, kept_packets = 0;
  double apply_ms = 0;
  for (int trial = 0; trial < kTrials; ++trial) {
    const bool v4 = trial % 2 == 0;
    CAPTURE(trial);
    lab.apply(net, kept + gone);

    auto udp_gone = udp_pair(web, api, v4, 80, fmt::format("ugone{}", trial));
    auto udp_kept = udp_pair(web, db, v4, 80, fmt::format("ukept{}", trial));
    auto listener_api = listen_tcp(api.netns, v4, 80), listener_db = listen_tcp(db.netns, v4, 80);
    auto to_api = connect_tcp(web.netns, api.address(v4), 80), to_db = connect_tcp(web.netns, db.address(v4), 80);
    REQUIRE(to_api.outcome == "connected");
    REQUIRE(to_db.outcome == "connected");
    Stream tcp_gone{std::move(to_api.socket), fmt::format("tgone{}>", trial)};
    Stream tcp_gone_back{accept_tcp(listener_api), fmt::format("tgone{}<", trial)};
    Stream tcp_kept{std::move(to_db.socket), fmt::format("tkept{}>", trial)};
    Stream tcp_kept_back{accept_tcp(listener_db), fmt::format("tkept{}<", trial)};

    for (auto* tap : {&at_web, &at_api, &at_db}) (void)tap->drain();
    std::vector<Stream*> flows{&udp_gone.forth, &udp_gone.back, &udp_kept.forth, &udp_kept.back,
                               &tcp_gone,       &tcp_gone_back, &tcp_kept,       &tcp_kept_back};
    // A server speaks after it was spoken to: the first packet opens the connection.
    std::atomic<std::uint32_t> ticks{0};
    std::atomic<bool> stop{false};
    std::thread sender([&] {
      while (!stop) {
        for (auto* flow : flows) flow->tick();
        ++ticks;
        std::this_thread::sleep_for(kPause);
      }
    });
    while (ticks < kWarm) std::this_thread::yield();

    const auto began = steady_clock::now();
    auto applied = lab.engine().apply_policy(net.str(), kept);
    const auto returned = now();
    apply_ms = std::max(apply_ms, std::chrono::duration<double, std::milli>(steady_clock::now() - began).count());
    const auto at_return = ticks.load();
    const auto end = steady_clock::now() + kAfter;
    while (steady_clock::now() < end || ticks < at_return + 20) std::this_thread::sleep_for(kPause);
    stop = true;
    sender.join();
    REQUIRE(applied);

    const auto web_got = at_web.drain(), api_got = at_api.drain(), db_got = at_db.drain();
    auto judge_gone = [&](const std::vector<Captured>& got, const Stream& flow) {
      CAPTURE(flow.name);
      const auto came = arrivals(got, flow.name);
      CHECK(came.size() >= kWarm / 2);
      CHECK(came.size() < flow.sent);
      revoked_packets += came.size();
      std::size_t late_here = 0;
      for (auto at : came) {
        worst = std::max(worst, at - returned);
        if (at > returned + kLimit) ++late_here;
      }
      CHECK(late_here == 0);
      late += late_here;
    };
    judge_gone(api_got, udp_gone.forth);
    judge_gone(web_got, udp_gone.back);
    judge_gone(api_got, tcp_gone);
    judge_gone(web_got, tcp_gone_back);

    auto judge_kept = [&](const std::vector<Captured>& got, const Stream& flow) {
      CAPTURE(flow.name);
      CHECK(flow.failed == 0);
      for (std::uint32_t i = 0; i < flow.sent; ++i) {
        if (arrivals(got, flow.text(i)).size() != 1) ++lost;
      }
      kept_packets += flow.sent;
    };
    judge_kept(db_got, udp_kept.forth);
    judge_kept(web_got, udp_kept.back);
    // TCP says itself what it had to send twice.
    for (auto* flow : {&tcp_kept, &tcp_kept_back}) {
      CAPTURE(flow->name);
      CHECK(flow->failed == 0);
      auto& reader = flow == &tcp_kept ? tcp_kept_back : tcp_kept;
      std::string want, have;
      for (std::uint32_t i = 0; i < flow->sent; ++i) want += flow->text(i);
      while (have.size() < want.size()) {
        const auto part = receive(reader.socket);
        if (part.empty()) break;
        have += part;
      }
      CHECK(have == want);
    }
    // And what was taken away cannot be begun anew.
    CHECK(connect_tcp(web.netns, api.address(v4), 80).outcome == "ECONNREFUSED");
  }
  fmt::print(
      "revoke: {} trials; {} packets of revoked connections came, the last {:.1f} ms {} the return; "
      "later than {} ms: {}; of {} others lost: {}; slowest apply {:.1f} ms\n",
      kTrials, revoked_packets, std::abs(static_cast<double>(worst.count()) / 1e6),
      worst.count() > 0 ? "after" : "before", kLimit.count(), late, kept_packets, lost, apply_ms);
  CHECK(late == 0);
  CHECK(lost == 0);
}
