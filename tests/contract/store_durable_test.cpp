// What was acknowledged stays: killed at any moment, on a full disk, beside another process.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <random>

#include "contract/store_files.h"
#include "contract/store_samples.h"
#include "microseg/base/fd.h"

using namespace microseg;
using namespace microseg::test;

namespace {

// Change number `n`: a network, its endpoint, and a new revision of network "aa", all naming n.
store::Change numbered(std::uint64_t n) {
  const auto id = "n" + std::to_string(n);
  store::Change change;
  change.put_networks = {plain_network("aa"), full_network(id)};
  change.put_endpoints = {full_endpoint("e" + std::to_string(n), id)};
  change.add_revisions = {{net_id("aa"), {n, std::string(300, 'p'), 0}}};
  return change;
}

// Writes changes until it is killed, and reports each acknowledged one as 8 bytes on `out`.
[[noreturn]] void write_for_ever(const std::string& directory, std::uint64_t from, int out) {
  auto store = store::open_sqlite(directory);
  if (!store) ::_exit(1);
  for (std::uint64_t n = from;; ++n) {
    if (!store.value()->write(numbered(n))) ::_exit(2);
    if (::write(out, &n, sizeof n) != sizeof n) ::_exit(3);
  }
}

}  // namespace

TEST_CASE("killed 30 times while writing: every acknowledged write is there, and none by half") {
  TempDir dir;
  std::mt19937 random(7);
  std::uint64_t next = 1;
  for (int round = 0; round < 30; ++round) {
    CAPTURE(round);
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    Fd in(ends[0]);
    const auto child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) write_for_ever(dir.path(), next, ends[1]);
    ::close(ends[1]);

    // At any moment: while it opens the file, in its first write, or, every other time, surely in the loop.
    std::uint64_t acknowledged = next - 1;
    if (round % 2) REQUIRE(::read(in.get(), &acknowledged, sizeof acknowledged) == sizeof acknowledged);
    const timespec moment{0, static_cast<long>(random() % 120'000'000)};
    ::nanosleep(&moment, nullptr);
    REQUIRE(::kill(child, SIGKILL) == 0);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WIFSIGNALED(status));

    while (::read(in.get(), &acknowledged, sizeof acknowledged) > 0) {
    }
    auto store = store::open_sqlite(dir.path());
    REQUIRE_MESSAGE(store, store.error().text);
    const auto state = store.value()->load().value();
    // All that was acknowledged and at most the one that was not yet.
    const std::uint64_t stored = state.endpoints.size();
    CHECK(stored >= acknowledged);
    CHECK(stored <= acknowledged + 1);
    const auto revisions = store.value()->revisions(net_id("aa")).value();
    CHECK(revisions.size() == std::min(stored, store::kRevisionsKept));
    CHECK((stored == 0 || revisions.front().version == stored));
    CHECK(state.networks.size() == stored + (stored > 0));
    for (std::uint64_t n = 1; n <= stored; ++n) REQUIRE(state.endpoints.contains(ep_id("e" + std::to_string(n))));
    next = stored + 1;
  }
  MESSAGE((next - 1) << " writes acknowledged, 0 lost");
  CHECK(next > 15);
}

TEST_CASE("a full disk: unavailable, nothing lost, and it goes on when there is room again") {
  if (::geteuid() != 0 || ::unshare(CLONE_NEWNS) != 0 ||
      ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    MESSAGE("mounting is not permitted here");
    return;
  }
  TempDir dir;
  REQUIRE(::mount("microseg-test", dir.path().c_str(), "tmpfs", 0, "size=512k") == 0);
  {
    auto store = store::open_sqlite(dir.file("state")).value();
    std::uint64_t written = 0;
    Status status;
    while (written < 5000 && (status = store->write(numbered(written + 1)))) ++written;
    REQUIRE_FALSE(status);
    CHECK_MESSAGE(status.error().code == Errc::unavailable, status.error().text);
    CHECK_MESSAGE(status.error().text.find("full") != std::string::npos, status.error().text);
    CHECK(written > 10);
    for (int again = 0; again < 3; ++again) CHECK_FALSE(store->write(numbered(written + 1)));
    CHECK(store->load().value().endpoints.size() == written);

    // Opened afresh on the full disk, as after a restart.
    store.reset();
    auto reopened = store::open_sqlite(dir.file("state"));
    REQUIRE_MESSAGE(reopened, reopened.error().text);
    CHECK(reopened.value()->load().value().endpoints.size() == written);

    REQUIRE(::mount("none", dir.path().c_str(), nullptr, MS_REMOUNT, "size=8m") == 0);
    status = reopened.value()->write(numbered(written + 1));
    CHECK_MESSAGE(status, status.error().text);
    CHECK(reopened.value()->load().value().endpoints.size() == written + 1);
    MESSAGE("full after " << written << " writes, 0 lost");
  }
  CHECK(::umount(dir.path().c_str()) == 0);
}

TEST_CASE("no room for a new database: an error, and the next start with room succeeds") {
  if (::geteuid() != 0 || ::unshare(CLONE_NEWNS) != 0 ||
      ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    MESSAGE("mounting is not permitted here");
    return;
  }
  TempDir dir;
  REQUIRE(::mount("microseg-test", dir.path().c_str(), "tmpfs", 0, "size=16k") == 0);
  const auto opened = store::open_sqlite(dir.path());
  REQUIRE_FALSE(opened);
  CHECK_MESSAGE(opened.error().code == Errc::unavailable, opened.error().text);
  REQUIRE(::mount("none", dir.path().c_str(), nullptr, MS_REMOUNT, "size=8m") == 0);
  {
    const auto again = store::open_sqlite(dir.path());
    CHECK_MESSAGE(again, again.error().text);
  }
  CHECK(::umount(dir.path().c_str()) == 0);
}

TEST_CASE("busy with another process: unavailable at once, then fine") {
  TempDir dir;
  auto store = store::open_sqlite(dir.path()).value();
  sqlite3* other = nullptr;
  REQUIRE(sqlite3_open(dir.file("state.db").c_str(), &other) == SQLITE_OK);
  REQUIRE(sqlite3_exec(other, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr) == SQLITE_OK);
  const auto status = store->write(sample_change());
  REQUIRE_FALSE(status);
  CHECK_MESSAGE(status.error().code == Errc::unavailable, status.error().text);
  REQUIRE(sqlite3_exec(other, "ROLLBACK", nullptr, nullptr, nullptr) == SQLITE_OK);
  CHECK(store->write(sample_change()));
  sqlite3_close(other);
}

TEST_CASE("a restart finds what was there") {
  TempDir dir;
  for (int round = 0; round < 2; ++round) {
    auto store = store::open_sqlite(dir.path());
    REQUIRE_MESSAGE(store, store.error().text);
    if (round == 0) CHECK(store.value()->write(sample_change()));
    CHECK(store.value()->load().value() == sample_state());
    CHECK(store.value()->revisions(net_id("aa")).value()[0] == model::AppliedPolicy{2, "", 200});
  }
}
