// Files that must be refused, each with a sentence that says what to do, and none of them touched.
#include <doctest/doctest.h>

#include <sched.h>
#include <sqlite3.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <functional>
#include <random>
#include <vector>

#include "contract/store_files.h"
#include "contract/store_samples.h"
#include "store/schema.h"

using namespace microseg;
using namespace microseg::test;

namespace {

// Leaves a good database of sample_change() in `dir`.
void fill(const TempDir& dir) {
  auto store = store::open_sqlite(dir.path()).value();
  auto status = store->write(sample_change());
  REQUIRE_MESSAGE(status, status.error().text);
}

// Runs SQL as a stranger would: no foreign keys, schema writable, nothing checkpointed at the end.
void sql(const TempDir& dir, const std::string& statements) {
  sqlite3* db = nullptr;
  REQUIRE(sqlite3_open(dir.file("state.db").c_str(), &db) == SQLITE_OK);
  sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  char* why = nullptr;
  const int rc = sqlite3_exec(db, statements.c_str(), nullptr, nullptr, &why);
  REQUIRE_MESSAGE(rc == SQLITE_OK, (why ? why : "?"));
  sqlite3_close(db);
}

std::string sum_of(const std::string& table, const std::string& key, const std::string& body) {
  return std::to_string(store::row_sum(table, key, body));
}

// Replaces the body of a row, with its check sum.
void set_network(const TempDir& dir, const std::string& id, const std::string& body) {
  sql(dir,
      "UPDATE network SET body = '" + body + "', sum = " + sum_of("network", id, body) + " WHERE id = '" + id + "'");
}

void truncate_to(const TempDir& dir, std::size_t size) {
  spit(dir.file("state.db"), slurp(dir.file("state.db")).substr(0, size));
}

void overwrite(const TempDir& dir, std::size_t at, const std::string& bytes) {
  auto all = slurp(dir.file("state.db"));
  REQUIRE(at + bytes.size() <= all.size());
  spit(dir.file("state.db"), all.replace(at, bytes.size(), bytes));
}

// Size of a filled database, to cut and scribble relative to it.
constexpr std::size_t kPage = 4096;

}  // namespace

TEST_CASE("a damaged file is refused, with what is wrong and what to do, and stays as it is") {
  const std::string newer = R"({"id":"bb","options":{},"settings":{},"subnets":[],"blocks":[],"encrypted":true})";
  struct {
    std::string title;
    std::function<void(const TempDir&)> damage;
    const char* says;
  } rows[] = {
      {"cut to nothing", [](auto& d) { truncate_to(d, 0); }, "does not start as an SQLite file does"},
      {"cut within the header's magic", [](auto& d) { truncate_to(d, 9); }, "does not start as an SQLite file does"},
      {"cut within the header", [](auto& d) { truncate_to(d, 50); }, "does not start as an SQLite file does"},
      {"cut after the header", [](auto& d) { truncate_to(d, 100); }, "does not start as an SQLite file does"},
      {"cut within the first page", [](auto& d) { truncate_to(d, kPage - 1); },
       "damaged or not ours (state database: "},
      {"cut after the first page", [](auto& d) { truncate_to(d, kPage); }, "damaged or not ours (state database: "},
      {"cut within a page", [](auto& d) { truncate_to(d, 2 * kPage + 17); }, "damaged or not ours (state database: "},
      {"a zeroed header", [](auto& d) { overwrite(d, 0, std::string(100, '\0')); }, "does not start as an SQLite file"},
      {"a zeroed page", [](auto& d) { overwrite(d, kPage, std::string(kPage, '\0')); }, "damaged or not ours ("},
      {"a scribbled schema page", [](auto& d) { overwrite(d, 100, std::string(kPage - 100, '\xa5')); },
       "(state database: "},
      {"a text file", [](auto& d) { spit(d.file("state.db"), "networks:\n  - app\n  - and more text\n"); },
       "does not start as an SQLite file does"},
      {"a directory in its place",
       [](auto& d) {
         std::filesystem::remove(d.file("state.db"));
         std::filesystem::create_directory(d.file("state.db"));
       },
       "is not a file"},
      {"another program's database", [](auto& d) { sql(d, "PRAGMA application_id = 1"); },
       "it is not a database of microseg"},
      {"a newer schema", [](auto& d) { sql(d, "PRAGMA user_version = 99"); },
       "written by a newer microseg: its schema has version 99, this microseg knows versions up to 1"},
      {"no schema version", [](auto& d) { sql(d, "PRAGMA user_version = 0"); }, "its schema has no version"},
      {"a missing table", [](auto& d) { sql(d, "DROP TABLE revision"); },
       "its tables are not those of schema version 1"},
      {"a table too many", [](auto& d) { sql(d, "CREATE TABLE more (x)"); },
       "its tables are not those of schema version"},
      {"a trigger", [](auto& d) { sql(d, "CREATE TRIGGER t AFTER INSERT ON network BEGIN DELETE FROM endpoint; END"); },
       "its tables are not those of schema version 1"},
      {"a row with broken JSON", [](auto& d) { set_network(d, "bb", "{\"id\":"); }, "(network bb: is not JSON)"},
      {"a row with another check sum", [](auto& d) { sql(d, "UPDATE network SET sum = sum + 1 WHERE id = 'bb'"); },
       "(network bb: the row's check sum does not match its content)"},
      {"a row edited by hand",
       [](auto& d) { sql(d, "UPDATE endpoint SET body = replace(body, '10.5.0.2', '10.5.0.3')"); },
       "(endpoint e1: the row's check sum does not match its content)"},
      {"a row with a blob for a text",
       [](auto& d) {
         sql(d, "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, 'STRICT, ', '')");
         sql(d, "UPDATE network SET body = x'0102' WHERE id = 'bb'");
         sql(d,
             "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, ') WITHOUT', ') STRICT, "
             "WITHOUT') "
             "WHERE type = 'table'");
       },
       "non-TEXT value in network.body"},
      {"a field of the wrong type", [](auto& d) { set_network(d, "bb", R"({"id":7})"); },
       "(network bb: id: expected text)"},
      {"a bad id",
       [](auto& d) {
         sql(d, "UPDATE network SET id = 'B B', sum = " + sum_of("network", "B B", R"({"id":"B B"})") +
                    R"(, body = '{"id":"B B"}' WHERE id = 'bb')");
       },
       "(network B B: id: not a Docker id: 'B B')"},
      {"a body of another row",
       [](auto& d) { set_network(d, "bb", R"({"id":"cc","options":{},"settings":{},"subnets":[],"blocks":[]})"); },
       "(network bb: the row's body is of network cc)"},
      {"a field of a newer microseg", [&](auto& d) { set_network(d, "bb", newer); },
       "(network bb: unknown field 'encrypted': a newer microseg wrote it)"},
      {"a revision with broken JSON",
       [](auto& d) {
         sql(d, "UPDATE revision SET body = 'x', sum = " + sum_of("revision", "aa 2", "x") + " WHERE version = 2");
       },
       "(revision aa 2: is not JSON)"},
      {"a log without its database",
       [](auto& d) {
         sql(d, "UPDATE network SET sum = 0");
         std::filesystem::remove(d.file("state.db"));
       },
       "is missing, but its log"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.title);
    TempDir dir;
    fill(dir);
    row.damage(dir);
    const auto before = contents(dir.path());
    const auto opened = store::open_sqlite(dir.path());
    REQUIRE_FALSE(opened);
    CHECK(opened.error().code == Errc::invalid);
    const auto& text = opened.error().text;
    CAPTURE(text);
    CHECK(text.find("state database " + dir.file("state.db") + " ") == 0);
    CHECK(text.find(row.says) != text.npos);
    CHECK(text.find(" away and restart") != text.npos);
    CHECK((contents(dir.path()) == before));
  }
}

TEST_CASE("any one byte changed: refused and left alone, or loaded as it was written") {
  TempDir dir;
  fill(dir);
  const auto good = slurp(dir.file("state.db"));
  const auto state = sample_state();
  std::mt19937 random(20240607);
  std::vector<std::size_t> used;  // most bytes of a small database are empty space
  for (std::size_t at = 0; at < good.size(); ++at)
    if (good[at]) used.push_back(at);
  int refused = 0;
  for (int round = 0; round < 400; ++round) {
    const std::size_t at = round % 8 ? used[random() % used.size()] : random() % good.size();
    const char change = static_cast<char>(1 + random() % 255);
    CAPTURE(at);
    CAPTURE(static_cast<int>(change));
    TempDir copy;
    auto bad = good;
    bad[at] = static_cast<char>(bad[at] ^ change);
    spit(copy.file("state.db"), bad);
    auto opened = store::open_sqlite(copy.path());
    if (opened) {
      CHECK(opened.value()->load().value() == state);
      CHECK(opened.value()->revisions(net_id("aa")).value().size() == 2);
    } else {
      ++refused;
      CHECK_MESSAGE(opened.error().code == Errc::invalid, opened.error().text);
      CHECK((contents(copy.path()) == std::map<std::string, std::string>{{copy.file("state.db"), bad}}));
    }
  }
  MESSAGE(refused << " of 400 refused");
  CHECK(refused > 200);
}

TEST_CASE("endpoints whose network a person deleted by hand are not returned") {
  TempDir dir;
  fill(dir);
  sql(dir, "DELETE FROM network WHERE id = 'bb'");
  auto store = store::open_sqlite(dir.path());
  REQUIRE_MESSAGE(store, store.error().text);
  const auto state = store.value()->load().value();
  CHECK(state.endpoints.size() == 2);
  CHECK_FALSE(state.endpoints.contains(ep_id("e3")));
}

TEST_CASE("a missing directory is made, for the daemon alone") {
  TempDir dir;
  const auto deep = dir.file("var/lib/microseg");
  REQUIRE(store::open_sqlite(deep));
  auto mode = [](const std::string& path) {
    struct stat found {};
    REQUIRE(::stat(path.c_str(), &found) == 0);
    return found.st_mode & 07777U;
  };
  CHECK(mode(deep) == 0700);
  CHECK(mode(deep + "/state.db") == 0600);
  CHECK(contents(deep).size() == 1);  // no log, no half-made file
}

TEST_CASE("a first start that was cut short leaves nothing in the way of the next") {
  TempDir dir;
  spit(dir.file("state.db.new"), "half a datab");
  spit(dir.file("state.db.new-wal"), "half a log");
  spit(dir.file("state.db-wal"), "");
  auto store = store::open_sqlite(dir.path());
  REQUIRE_MESSAGE(store, store.error().text);
  CHECK(store.value()->load().value() == model::State{});
}

TEST_CASE("a file where the directory should be, and a directory that cannot be") {
  TempDir dir;
  spit(dir.file("file"), "");
  for (const auto& path : {dir.file("file"), dir.file("file/below")}) {
    const auto opened = store::open_sqlite(path);
    REQUIRE_FALSE(opened);
    CHECK_MESSAGE(opened.error().text.find(dir.file("file")) != std::string::npos, opened.error().text);
  }
}

TEST_CASE("what cannot be written is refused and says so") {
  TempDir dir;
  fill(dir);
  const auto before = contents(dir.path());
  const bool root = ::geteuid() == 0;
  if (root) {  // permission bits do not bind root, a read-only mount does
    if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount(dir.path().c_str(), dir.path().c_str(), nullptr, MS_BIND, nullptr) != 0) {
      MESSAGE("mounting is not permitted here");
      return;
    }
    REQUIRE(::mount("none", dir.path().c_str(), nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY, nullptr) == 0);
  } else {
    REQUIRE(::chmod(dir.path().c_str(), 0500) == 0);
  }
  const auto opened = store::open_sqlite(dir.path());
  const auto unchanged = contents(dir.path()) == before;
  if (root)
    REQUIRE(::umount(dir.path().c_str()) == 0);
  else
    REQUIRE(::chmod(dir.path().c_str(), 0700) == 0);
  REQUIRE_FALSE(opened);
  CHECK(opened.error().code == Errc::denied);
  CHECK_MESSAGE(opened.error().text.find("cannot be written: ") != std::string::npos, opened.error().text);
  CHECK(unchanged);
  CHECK(store::open_sqlite(dir.path()));
}
