#include "store/rows.h"

#include "store/json.h"
#include "store/schema.h"

namespace microseg::store {
namespace {

// "endpoint 3f2a5b…: mac: not a MAC address: 'x'"
std::string row_name(std::string_view table, std::string_view key) {
  return std::string(table) + " " + std::string(key.substr(0, 80));
}

// The row's body, once its check sum holds.
Result<std::string> checked_body(const Statement& row, int body_column, std::string_view table, std::string_view key) {
  MS_TRY(auto body, row.text(body_column));
  MS_TRY(const auto sum, row.number(body_column + 1));
  if (sum != row_sum(table, key, body))
    return Error{Errc::invalid, 0, "the row's check sum does not match its content"};
  return body;
}

Result<model::Network> network_row(const Statement& row, const std::string& key) {
  MS_TRY(const auto body, checked_body(row, 1, "network", key));
  MS_TRY(auto network, network_from_text(body));
  if (network.id.str() != key) return Error{Errc::invalid, 0, "the row's body is of network " + network.id.str()};
  return network;
}

Result<model::Endpoint> endpoint_row(const Statement& row, const std::string& key) {
  MS_TRY(const auto network, row.text(1));
  MS_TRY(const auto body, checked_body(row, 2, "endpoint", key));
  MS_TRY(auto endpoint, endpoint_from_text(body));
  if (endpoint.id.str() != key) return Error{Errc::invalid, 0, "the row's body is of endpoint " + endpoint.id.str()};
  if (endpoint.network.str() != network)
    return Error{Errc::invalid, 0, "the row's body is of network " + endpoint.network.str()};
  return endpoint;
}

Result<model::AppliedPolicy> revision_row(const Statement& row, const std::string& key, std::int64_t version) {
  MS_TRY(const auto body, checked_body(row, 2, "revision", key));
  MS_TRY(auto policy, policy_from_text(body));
  if (static_cast<std::int64_t>(policy.version) != version)
    return Error{Errc::invalid, 0, "the row's body is of version " + std::to_string(policy.version)};
  return policy;
}

// Each row of a query on `revision`, newest first.
Result<std::vector<model::AppliedPolicy>> revision_rows(Statement query) {
  std::vector<model::AppliedPolicy> all;
  for (;;) {
    MS_TRY(const bool row, query.step());
    if (!row) return all;
    MS_TRY(const auto network, query.text(0).in("revision"));
    MS_TRY(const auto version, query.number(1).in("revision of network " + network));
    const std::string key = network + " " + std::to_string(version);
    MS_TRY(auto policy, revision_row(query, key, version).in(row_name("revision", key)));
    all.push_back(std::move(policy));
  }
}

}  // namespace

Result<model::State> read_state(const Db& db) {
  model::State state;
  MS_TRY(auto networks, Statement::prepare(db, "SELECT id, body, sum FROM network"));
  for (;;) {
    MS_TRY(const bool row, networks.step());
    if (!row) break;
    MS_TRY(const auto key, networks.text(0).in("network"));
    MS_TRY(auto network, network_row(networks, key).in(row_name("network", key)));
    const auto id = network.id;
    state.networks.emplace(id, std::move(network));
  }

  MS_TRY(auto endpoints, Statement::prepare(db, "SELECT id, network, body, sum FROM endpoint"));
  for (;;) {
    MS_TRY(const bool row, endpoints.step());
    if (!row) break;
    MS_TRY(const auto key, endpoints.text(0).in("endpoint"));
    MS_TRY(auto endpoint, endpoint_row(endpoints, key).in(row_name("endpoint", key)));
    // SQLite keeps the references only for those who ask it to; a person with the sqlite3 command may not have.
    if (!state.networks.contains(endpoint.network)) continue;
    const auto id = endpoint.id;
    state.endpoints.emplace(id, std::move(endpoint));
  }
  return state;
}

Result<std::vector<model::AppliedPolicy>> read_revisions(const Db& db, const NetworkId& network) {
  MS_TRY(auto query,
         Statement::prepare(
             db, "SELECT network, version, body, sum FROM revision WHERE network = ? ORDER BY version DESC"));
  query.bind(network.str());
  return revision_rows(std::move(query));
}

Status check_revisions(const Db& db) {
  MS_TRY(auto query, Statement::prepare(db, "SELECT network, version, body, sum FROM revision"));
  MS_TRY([[maybe_unused]] auto all, revision_rows(std::move(query)));
  return {};
}

}  // namespace microseg::store
