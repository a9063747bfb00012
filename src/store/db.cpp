#include "store/db.h"

#include <cstring>

namespace microseg::store {

Error db_error(sqlite3* db, int rc, std::string_view doing) {
  Error error{Errc::kernel, 0, std::string(doing) + ": " + (db ? sqlite3_errmsg(db) : sqlite3_errstr(rc))};
  switch (rc & 0xff) {  // the primary code; the bits above say which kind of I/O error it was
    case SQLITE_FULL:
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
    case SQLITE_IOERR:
    case SQLITE_NOMEM:
    case SQLITE_CANTOPEN: error.code = Errc::unavailable; break;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH: error.code = Errc::denied; break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
    case SQLITE_TOOBIG:
    case SQLITE_ERROR:  // such as "no such table": the schema is not ours
      error.code = Errc::invalid;
      break;
  }
  const bool from_system = (rc & 0xff) == SQLITE_IOERR || (rc & 0xff) == SQLITE_CANTOPEN;
  if (db && from_system) error.sys = sqlite3_system_errno(db);
  if (error.sys) error.text += std::string(" (") + std::strerror(error.sys) + ")";
  return error;
}

Result<Db> Db::open(const std::string& path, int flags) {
  sqlite3* raw = nullptr;
  const int rc = sqlite3_open_v2(path.c_str(), &raw, flags, nullptr);
  Db db(raw);  // also after a failure there is a handle to close
  if (rc != SQLITE_OK) return db_error(raw, rc, "open " + path);
  sqlite3_extended_result_codes(raw, 1);
  sqlite3_busy_timeout(raw, kBusyMs);
  sqlite3_db_config(raw, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(raw, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  return db;
}

Status Db::exec(const char* sql) {
  const int rc = sqlite3_exec(get(), sql, nullptr, nullptr, nullptr);
  if (rc != SQLITE_OK) return db_error(get(), rc, "state database");
  return {};
}

Result<Statement> Statement::prepare(const Db& db, std::string_view sql) {
  sqlite3_stmt* raw = nullptr;
  const int rc = sqlite3_prepare_v2(db.get(), sql.data(), static_cast<int>(sql.size()), &raw, nullptr);
  if (rc != SQLITE_OK) return db_error(db.get(), rc, "state database");
  return Statement(db.get(), raw);
}

Statement& Statement::bind(std::string_view text) {
  const int rc = sqlite3_bind_text64(statement_.get(), ++bound_, text.data(), text.size(), SQLITE_STATIC, SQLITE_UTF8);
  if (rc != SQLITE_OK) bind_rc_ = rc;
  return *this;
}

Statement& Statement::bind(std::int64_t number) {
  const int rc = sqlite3_bind_int64(statement_.get(), ++bound_, number);
  if (rc != SQLITE_OK) bind_rc_ = rc;
  return *this;
}

Result<bool> Statement::step() {
  if (bind_rc_ != SQLITE_OK) return db_error(db_, bind_rc_, "state database");
  const int rc = sqlite3_step(statement_.get());
  if (rc == SQLITE_ROW) return true;
  if (rc == SQLITE_DONE) return false;
  return db_error(db_, rc, "state database");
}

Status Statement::run() {
  MS_TRY([[maybe_unused]] const bool row, step());
  return {};
}

Status Statement::wrong_type(int column, const char* wanted) const {
  return Error{Errc::invalid, 0,
               std::string("column '") + sqlite3_column_name(statement_.get(), column) + "' is not " + wanted};
}

Result<std::string> Statement::text(int column) const {
  if (sqlite3_column_type(statement_.get(), column) != SQLITE_TEXT) return wrong_type(column, "text").error();
  const auto* bytes = reinterpret_cast<const char*>(sqlite3_column_text(statement_.get(), column));
  return std::string(bytes, static_cast<std::size_t>(sqlite3_column_bytes(statement_.get(), column)));
}

Result<std::int64_t> Statement::number(int column) const {
  if (sqlite3_column_type(statement_.get(), column) != SQLITE_INTEGER)
    return wrong_type(column, "a whole number").error();
  return sqlite3_column_int64(statement_.get(), column);
}

Result<std::int64_t> query_number(const Db& db, std::string_view sql) {
  MS_TRY(auto query, Statement::prepare(db, sql));
  MS_TRY(const bool row, query.step());
  if (!row) return Error{Errc::invalid, 0, "no answer to " + std::string(sql)};
  return query.number(0);
}

Result<std::string> query_text(const Db& db, std::string_view sql) {
  MS_TRY(auto query, Statement::prepare(db, sql));
  MS_TRY(const bool row, query.step());
  if (!row) return Error{Errc::invalid, 0, "no answer to " + std::string(sql)};
  return query.text(0);
}

Result<Transaction> Transaction::begin(Db& db) {
  MS_CHECK(db.exec("BEGIN IMMEDIATE"));
  return Transaction(db);
}

Transaction::~Transaction() {
  // A full disk or an I/O error may have rolled it back already; then there is nothing left to undo.
  if (db_ && !sqlite3_get_autocommit(db_->get())) (void)db_->exec("ROLLBACK");
}

Status Transaction::commit() {
  MS_CHECK(db_->exec("COMMIT"));
  db_ = nullptr;
  return {};
}

}  // namespace microseg::store
