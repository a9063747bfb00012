// SQLite's C interface as values: a connection, a statement, errors with SQLite's own words.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "microseg/base/result.h"

namespace microseg::store {

// The error of `rc`. unavailable: disk full, busy, I/O; denied: read-only; invalid: damaged, or a broken constraint.
Error db_error(sqlite3* db, int rc, std::string_view doing);

class Db {
 public:
  // `flags` as of sqlite3_open_v2. Waits at most `kBusyMs` for another process's lock.
  static Result<Db> open(const std::string& path, int flags);

  sqlite3* get() const { return db_.get(); }
  // One or more statements whose rows nobody reads.
  Status exec(const char* sql);

 private:
  static constexpr int kBusyMs = 250;  // longer than any reader needs; a driver call waits for this
  struct Close {
    void operator()(sqlite3* db) const { sqlite3_close(db); }
  };
  explicit Db(sqlite3* db) : db_(db) {}
  std::unique_ptr<sqlite3, Close> db_;
};

class Statement {
 public:
  static Result<Statement> prepare(const Db& db, std::string_view sql);

  // Parameters in the order of the question marks. `text` must live until the last step.
  Statement& bind(std::string_view text);
  Statement& bind(std::int64_t number);

  // True: a row is there. False: done.
  Result<bool> step();
  // For statements without rows.
  Status run();

  // Of the current row; a value of another type is refused (invalid), as SQLite would convert it silently.
  Result<std::string> text(int column) const;
  Result<std::int64_t> number(int column) const;

 private:
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
  };
  Statement(sqlite3* db, sqlite3_stmt* statement) : db_(db), statement_(statement) {}
  Status wrong_type(int column, const char* wanted) const;

  sqlite3* db_;
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
  int bound_ = 0;
  int bind_rc_ = SQLITE_OK;
};

// The single number that a query or PRAGMA answers.
Result<std::int64_t> query_number(const Db& db, std::string_view sql);
// The single text that a query or PRAGMA answers.
Result<std::string> query_text(const Db& db, std::string_view sql);

// Undone at the end of its life, unless commit() succeeded.
class Transaction {
 public:
  // Takes the write lock at once: with a deferred one, busy could strike in the middle.
  static Result<Transaction> begin(Db& db);
  Transaction(Transaction&& other) noexcept : db_(std::exchange(other.db_, nullptr)) {}
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();
  Status commit();

 private:
  explicit Transaction(Db& db) : db_(&db) {}
  Db* db_;
};

}  // namespace microseg::store
