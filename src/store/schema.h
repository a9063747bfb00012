// The database's schema, its versions, and how a file of ours is told from damage.
#pragma once

#include <cstdint>
#include <string_view>

#include "store/db.h"

namespace microseg::store {

// PRAGMA user_version of what this microseg writes.
extern const int kSchemaVersion;

// Brings an open, writable database from user_version `from` to kSchemaVersion; 0 is an empty one. Call it in a
// transaction.
Status migrate(Db& db, int from);

// The user_version of a database that is microseg's. Refuses (invalid) with a sentence: a file of another program, a
// version newer than kSchemaVersion ("was written by a newer microseg"), a schema that is not the one of its version,
// and pages that SQLite's integrity check objects to. Reads the whole file. Writes nothing.
Result<int> check_schema(Db& db);

// The check sum kept with each row: SQLite notices broken pages, but not a flipped bit within a text, which could
// turn a policy into another. FNV-1a, 64 bits, over table, key and body.
std::int64_t row_sum(std::string_view table, std::string_view key, std::string_view body);

}  // namespace microseg::store
