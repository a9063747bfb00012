#include "microseg/store/store.h"
#include "store/file.h"
#include "store/json.h"
#include "store/rows.h"
#include "store/schema.h"

namespace microseg::store {
namespace {

class SqliteStore final : public Store {
 public:
  explicit SqliteStore(Db db) : db_(std::move(db)) {}

  Result<model::State> load() override { return read_state(db_).in("load state"); }

  Result<std::vector<model::AppliedPolicy>> revisions(const NetworkId& network) override {
    return read_revisions(db_, network).in("load revisions");
  }

  Status write(const Change& change) override {
    MS_TRY(auto transaction, Transaction::begin(db_).in("store"));
    for (const auto& id : change.remove_endpoints) MS_CHECK(remove("DELETE FROM endpoint WHERE id = ?", id.str()));
    for (const auto& id : change.remove_networks) MS_CHECK(remove("DELETE FROM network WHERE id = ?", id.str()));
    for (const auto& network : change.put_networks) MS_CHECK(put(network).in("store network " + network.id.str()));
    for (const auto& endpoint : change.put_endpoints) MS_CHECK(put(endpoint).in("store endpoint " + endpoint.id.str()));
    for (const auto& revision : change.add_revisions)
      MS_CHECK(put(revision).in("store policy of network " + revision.network.str()));
    return transaction.commit().in("store");
  }

 private:
  Status remove(std::string_view sql, const std::string& id) {
    MS_TRY(auto statement, Statement::prepare(db_, sql));
    return statement.bind(id).run().in("store the removal of " + id);
  }

  Status put(const model::Network& network) {
    MS_TRY(const auto body, to_text(network));
    // Not INSERT OR REPLACE: that deletes the old row first, and its endpoints with it.
    MS_TRY(auto statement, Statement::prepare(db_,
                                              "INSERT INTO network (id, body, sum) VALUES (?, ?, ?) ON CONFLICT "
                                              "(id) DO UPDATE SET body = excluded.body, sum = excluded.sum"));
    return statement.bind(network.id.str()).bind(body).bind(row_sum("network", network.id.str(), body)).run();
  }

  // Asked rather than left to the foreign key, whose error does not say which row is missing.
  Status need_network(const NetworkId& id) {
    MS_TRY(auto query, Statement::prepare(db_, "SELECT 1 FROM network WHERE id = ?"));
    MS_TRY(const bool there, query.bind(id.str()).step());
    if (there) return {};
    return Error{Errc::invalid, 0, "network " + id.str() + " is not stored"};
  }

  Status put(const model::Endpoint& endpoint) {
    MS_CHECK(need_network(endpoint.network));
    MS_TRY(const auto body, to_text(endpoint));
    MS_TRY(auto statement,
           Statement::prepare(db_,
                              "INSERT INTO endpoint (id, network, body, sum) VALUES (?, ?, ?, ?) ON CONFLICT (id) "
                              "DO UPDATE SET network = excluded.network, body = excluded.body, sum = excluded.sum"));
    return statement.bind(endpoint.id.str())
        .bind(endpoint.network.str())
        .bind(body)
        .bind(row_sum("endpoint", endpoint.id.str(), body))
        .run();
  }

  Status put(const Revision& revision) {
    MS_CHECK(need_network(revision.network));
    MS_TRY(const auto body, to_text(revision.policy));
    const auto version = static_cast<std::int64_t>(revision.policy.version);
    const std::string key = revision.network.str() + " " + std::to_string(version);
    MS_TRY(auto statement,
           Statement::prepare(db_,
                              "INSERT INTO revision (network, version, body, sum) VALUES (?, ?, ?, ?) ON CONFLICT "
                              "(network, version) DO UPDATE SET body = excluded.body, sum = excluded.sum"));
    MS_CHECK(statement.bind(revision.network.str()).bind(version).bind(body).bind(row_sum("revision", key, body)).run());
    MS_TRY(auto old, Statement::prepare(db_, "DELETE FROM revision WHERE network = ? AND version <= ?"));
    return old.bind(revision.network.str()).bind(version - static_cast<std::int64_t>(kRevisionsKept)).run();
  }

  Db db_;
};

}  // namespace

Result<std::unique_ptr<Store>> open_sqlite(const std::string& directory) {
  MS_TRY(auto db, open_file(directory));
  return std::unique_ptr<Store>(std::make_unique<SqliteStore>(std::move(db)));
}

}  // namespace microseg::store
