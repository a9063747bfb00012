#include "store/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "microseg/base/fd.h"
#include "store/rows.h"
#include "store/schema.h"

namespace microseg::store {
namespace {

constexpr const char* kSides[] = {"-wal", "-shm", "-journal"};

Error refuse(Errc code, const std::string& path, const std::string& why) {
  return Error{code, 0, "state database " + path + " " + why};
}

constexpr const char* kRemedy =
    ": it was left as it is, and so is what the kernel enforces. Put a good copy in its place, or move it (and "
    "state.db-wal, if there is one) away and restart; Docker networks made before must then be removed and made again";

// ---- directory ----

Status make_directory(const std::string& path) {
  if (path.empty()) return Error{Errc::invalid, 0, "the state directory's name is empty"};
  for (auto slash = path.find('/', 1); slash != path.npos; slash = path.find('/', slash + 1))
    if (::mkdir(path.substr(0, slash).c_str(), 0755) != 0 && errno != EEXIST && errno != EROFS)
      return error_from_errno(errno, "create directory " + path.substr(0, slash));
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
    return error_from_errno(errno, "create state directory " + path);
  struct stat found {};
  if (::stat(path.c_str(), &found) != 0) return error_from_errno(errno, "state directory " + path);
  if (!S_ISDIR(found.st_mode)) return Error{Errc::invalid, 0, "state directory " + path + " is not a directory"};
  if (::access(path.c_str(), R_OK | W_OK | X_OK) != 0) {
    const int err = errno;
    return Error{Errc::denied, err,
                 "state directory " + path + " cannot be written: " + std::strerror(err) +
                     ": make it writable, or name another one with --state-dir"};
  }
  return {};
}

Status sync_directory(const std::string& path) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.is_open() || ::fsync(fd.get()) != 0) return error_from_errno(errno, "sync " + path);
  return {};
}

// ---- creation ----

bool present(const std::string& path) {
  struct stat found {};
  return ::lstat(path.c_str(), &found) == 0;
}

// A file appears under its final name only when it is complete, so an empty or half-made state.db is always damage
// and never the trace of a first start that was cut short.
Status create(const std::string& directory, const std::string& path) {
  struct stat wal {};
  if (::stat((path + "-wal").c_str(), &wal) == 0 && wal.st_size > 0)
    return refuse(
        Errc::invalid, path,
        "is missing, but its log " + path + "-wal is there: put the database back, or move the log away and restart");
  const std::string fresh = path + ".new";
  for (const std::string& stale : {fresh, fresh + "-wal", fresh + "-shm", fresh + "-journal", path + "-wal"})
    if (::unlink(stale.c_str()) != 0 && errno != ENOENT) return error_from_errno(errno, "remove " + stale);

  const Fd file(::open(fresh.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));  // SQLite would make it 0644
  if (!file.is_open()) return error_from_errno(errno, "create " + fresh);
  {
    MS_TRY(auto db, Db::open(fresh, SQLITE_OPEN_READWRITE));
    MS_CHECK(db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL"));
    MS_TRY(auto transaction, Transaction::begin(db));
    MS_CHECK(migrate(db, 0));
    MS_CHECK(transaction.commit());
    MS_CHECK(db.exec("PRAGMA wal_checkpoint(TRUNCATE)"));
  }  // closing removes the log
  if (::rename(fresh.c_str(), path.c_str()) != 0) return error_from_errno(errno, "rename " + fresh + " to " + path);
  return sync_directory(directory);
}

// ---- inspection ----

// What must hold before SQLite may even look: given an empty file it would delete the log beside it.
Status check_plain_file(const std::string& path) {
  struct stat found {};
  if (::stat(path.c_str(), &found) != 0) return error_from_errno(errno, "state database " + path);
  if (!S_ISREG(found.st_mode)) return refuse(Errc::invalid, path, std::string("is not a file") + kRemedy);
  if (::access(path.c_str(), R_OK | W_OK) != 0) {
    const int err = errno;
    return refuse(Errc::denied, path,
                  std::string("cannot be written: ") + std::strerror(err) + ": give the daemon's user access to it");
  }
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.is_open()) return error_from_errno(errno, "open " + path);
  constexpr char kMagic[] = "SQLite format 3";  // with its final NUL, 16 bytes
  std::array<char, sizeof kMagic> head{};
  const auto got = ::read(file.get(), head.data(), head.size());
  if (got < 0) return error_from_errno(errno, "read " + path);
  constexpr off_t kSmallestPage = 512;
  if (found.st_size < kSmallestPage || static_cast<std::size_t>(got) < head.size() ||
      std::memcmp(head.data(), kMagic, sizeof kMagic) != 0)
    return refuse(Errc::invalid, path, std::string("is damaged (it does not start as an SQLite file does)") + kRemedy);
  return {};
}

Result<int> inspect_content(const std::string& path) {
  MS_TRY(auto db, Db::open(path, SQLITE_OPEN_READONLY));
  sqlite3_db_config(db.get(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  MS_TRY(const int version, check_schema(db));
  if (version == kSchemaVersion) {
    MS_TRY([[maybe_unused]] const auto state, read_state(db));
    MS_CHECK(check_revisions(db));
  }
  return version;
}

// The file's schema version. Looks through a read-only connection, so that a refused file keeps every byte; what
// SQLite puts beside it for its own use goes again.
Result<int> inspect(const std::string& path) {
  MS_CHECK(check_plain_file(path));
  std::array<bool, std::size(kSides)> had{};
  for (std::size_t i = 0; i < had.size(); ++i) had[i] = present(path + kSides[i]);
  auto version = inspect_content(path);
  if (version) return version;
  for (std::size_t i = 0; i < had.size(); ++i)
    if (!had[i]) ::unlink((path + kSides[i]).c_str());
  auto error = std::move(version).error();
  if (error.code == Errc::invalid)
    return refuse(Errc::invalid, path, "is damaged or not ours (" + error.text + ")" + kRemedy);
  return std::move(error).in("state database " + path);
}

// Proves that the database can be written, and brings its schema up to date.
Status upgrade(Db& db, int version) {
  MS_TRY(auto transaction, Transaction::begin(db));
  if (version == kSchemaVersion) return {};
  MS_CHECK(migrate(db, version));
  MS_TRY([[maybe_unused]] const auto state, read_state(db));
  return transaction.commit();
}

}  // namespace

Result<Db> open_file(const std::string& directory) {
  MS_CHECK(make_directory(directory));
  const std::string path = directory + "/state.db";
  if (!present(path)) MS_CHECK(create(directory, path));
  MS_TRY(const int version, inspect(path));

  MS_TRY(auto db, Db::open(path, SQLITE_OPEN_READWRITE));
  // FULL: a commit is on the disk, not just on its way there, before write() returns.
  MS_CHECK(db.exec("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON"));
  MS_CHECK(upgrade(db, version).in("open " + path + " for writing"));
  return db;
}

}  // namespace microseg::store
