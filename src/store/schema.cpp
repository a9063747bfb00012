#include "store/schema.h"

#include <iterator>
#include <string>
#include <vector>

namespace microseg::store {
namespace {

// ---- The schema ------------------------------------------------------------------------------------------------
//
// kMigrations[i] leads from version i to i + 1. Versions that were released are never edited: a change to the tables
// is a new entry. A new field in a JSON body needs none (src/store/codec.h).
//
// A row is its key and a JSON body, as src/store/json.h writes it; `sum` is row_sum(). Columns besides are what SQL
// itself needs: keys and the references that make removing a network remove what belongs to it. STRICT refuses
// values of another type than the column's.
constexpr const char* kMigrations[] = {
    // 1: networks, their endpoints, the revisions of their applied policies (key "NETWORK VERSION" in the sum)
    R"(
    CREATE TABLE network (
      id TEXT PRIMARY KEY NOT NULL,
      body TEXT NOT NULL,
      sum INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE endpoint (
      id TEXT PRIMARY KEY NOT NULL,
      network TEXT NOT NULL REFERENCES network (id) ON DELETE CASCADE,
      body TEXT NOT NULL,
      sum INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX endpoint_network ON endpoint (network);
    CREATE TABLE revision (
      network TEXT NOT NULL REFERENCES network (id) ON DELETE CASCADE,
      version INTEGER NOT NULL,
      body TEXT NOT NULL,
      sum INTEGER NOT NULL,
      PRIMARY KEY (network, version)
    ) STRICT, WITHOUT ROWID;
    )",
};

constexpr std::int64_t kApplicationId = 0x6d736567;  // "mseg"

Error damaged(std::string text) { return Error{Errc::invalid, 0, std::move(text)}; }

// Every object of the schema, one a line.
Result<std::string> schema_text(const Db& db) {
  MS_TRY(auto query, Statement::prepare(db,
                                        "SELECT type || ' ' || name || ' on ' || tbl_name || ': ' || coalesce(sql, '') "
                                        "FROM sqlite_schema ORDER BY type, name"));
  std::string all;
  for (;;) {
    MS_TRY(const bool row, query.step());
    if (!row) return all;
    MS_TRY(const auto line, query.text(0));
    all += line + "\n";
  }
}

Status migrate_to(Db& db, int from, int to) {
  for (int version = from; version < to; ++version) MS_CHECK(db.exec(kMigrations[version]));
  MS_CHECK(db.exec(("PRAGMA application_id = " + std::to_string(kApplicationId)).c_str()));
  return db.exec(("PRAGMA user_version = " + std::to_string(to)).c_str());
}

Result<std::string> expected_schema(int version) {
  MS_TRY(auto fresh, Db::open(":memory:", SQLITE_OPEN_READWRITE));
  MS_CHECK(migrate_to(fresh, 0, version));
  return schema_text(fresh);
}

}  // namespace

const int kSchemaVersion = static_cast<int>(std::size(kMigrations));

Status migrate(Db& db, int from) { return migrate_to(db, from, kSchemaVersion); }

Result<int> check_schema(Db& db) {
  MS_TRY(const auto application, query_number(db, "PRAGMA application_id"));
  if (application != kApplicationId) return damaged("it is not a database of microseg");
  MS_TRY(const auto version, query_number(db, "PRAGMA user_version"));
  if (version > kSchemaVersion)
    return damaged("it was written by a newer microseg: its schema has version " + std::to_string(version) +
                   ", this microseg knows versions up to " + std::to_string(kSchemaVersion));
  if (version < 1) return damaged("its schema has no version");

  MS_TRY(const auto found, query_text(db, "PRAGMA integrity_check(1)"));
  if (std::string_view(found) != "ok") return damaged(found);
  MS_TRY(const auto schema, schema_text(db));
  MS_TRY(const auto expected, expected_schema(static_cast<int>(version)));
  if (schema != expected) return damaged("its tables are not those of schema version " + std::to_string(version));
  return static_cast<int>(version);
}

std::int64_t row_sum(std::string_view table, std::string_view key, std::string_view body) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (std::string_view part : {table, std::string_view(" "), key, std::string_view(" "), body})
    for (const char c : part) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return static_cast<std::int64_t>(hash);
}

}  // namespace microseg::store
