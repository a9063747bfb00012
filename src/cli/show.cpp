#include "show.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "table.h"

namespace microseg::cli {
namespace {

using nlohmann::json;

std::string text(const json& object, const char* name) { return printable(object.at(name).get<std::string>()); }
std::string number(const json& object, const char* name) {
  return std::to_string(object.at(name).get<std::uint64_t>());
}
std::string or_dash(std::string s) { return s.empty() ? "-" : s; }
std::string brief(const std::string& id) { return id.substr(0, 12); }  // as Docker shortens ids

// A counter that this daemon does not keep is shown as one that never counted.
std::string packets(const json& network, const char* verdict) {
  return std::to_string(network.at("packets").value(verdict, std::uint64_t{0}));
}

std::string without_length(const std::string& prefix) { return prefix.substr(0, prefix.find('/')); }

std::string addresses(const json& endpoint) {
  std::string out;
  for (const char* family : {"ipv4", "ipv6"})
    if (auto& address = endpoint.at(family); address.is_string())
      out += (out.empty() ? "" : ", ") + without_length(text(endpoint, family));
  return or_dash(out);
}

// "3 of 10.99.0.1": three other hosts, and what they know this one as.
std::string peers(const json& network) {
  if (!network.at("spans_hosts").get<bool>()) return "-";
  return std::to_string(network.at("peers").size()) + " of " +
         (network.at("underlay").is_string() ? text(network, "underlay") : "?");
}

// A policy in one line: its first statement's, and how many more there are.
std::string gist(const std::string& policy) {
  std::string first;
  std::size_t more = 0;
  std::istringstream lines(policy);
  for (std::string line; std::getline(lines, line);) {
    const auto begin = line.find_first_not_of(" \t");
    if (begin == std::string::npos || line[begin] == '#') continue;
    if (first.empty())
      first = printable(line.substr(begin, line.find_last_not_of(" \t\r") + 1 - begin));
    else
      ++more;
  }
  return more == 0 ? first : first + " (and " + std::to_string(more) + (more == 1 ? " line more)" : " lines more)");
}

std::string source_heading(const json& source, const json& applied, std::int64_t now_ms) {
  std::string out = text(source, "origin");
  if (out == "applied" && applied.at("version").get<std::uint64_t>() != 0) {
    out += ", version " + number(applied, "version");
    if (auto age = since(applied.at("at_ms").get<std::int64_t>(), now_ms); !age.empty()) out += ", " + age + " ago";
  }
  if (auto error = text(source, "error"); !error.empty()) out += " (NOT IN FORCE: " + error + ")";
  return out + ":\n";
}

}  // namespace

std::string show_status(const json& answer, std::int64_t now_ms) {
  std::vector<Row> rows = {{"Health", text(answer, "health")}, {"Version", text(answer, "version")}};
  if (auto age = since(answer.at("started_ms").get<std::int64_t>(), now_ms); !age.empty()) rows.push_back({"Up", age});
  rows.push_back({"Docker", text(answer, "docker")});
  rows.push_back({"Networks", number(answer, "networks")});
  rows.push_back({"Endpoints", number(answer, "endpoints")});
  rows.push_back({"Quarantined", number(answer, "quarantined")});
  std::string lacking;
  for (auto& [capability, state] : answer.at("kernel").items())
    if (auto said = printable(state.get<std::string>()); said != "yes")
      lacking += "  " + printable(capability) + ": " + said + "\n";
  rows.push_back({"Kernel", lacking.empty() ? "complete" : "lacks:"});
  std::string out = table(rows) + lacking;
  if (!answer.at("problems").empty()) out += "Problems\n";
  for (auto& problem : answer.at("problems")) out += "  " + printable(problem.get<std::string>()) + "\n";
  return out;
}

// Two columns more where any network spans hosts.
std::string show_networks(const json& answer) {
  auto& networks = answer.at("networks");
  const bool spanning =
      std::any_of(networks.begin(), networks.end(), [](const json& n) { return n.at("spans_hosts").get<bool>(); });
  Row heading = {"NETWORK", "ID", "MODE", "ENDPOINTS", "QUARANTINED", "ALLOWED", "REFUSED", "SPOOFED"};
  if (spanning) heading.insert(heading.end(), {"VNI", "PEERS"});
  heading.push_back("STATE");
  std::vector<Row> rows = {heading};
  for (auto& network : networks) {
    Row row = {or_dash(text(network, "name")), brief(text(network, "id")), text(network, "mode"),
               number(network, "endpoints"), number(network, "quarantined"), packets(network, "allowed"),
               packets(network, "refused"), packets(network, "spoofed")};
    if (spanning) row.insert(row.end(), {network.at("vni").is_null() ? "-" : number(network, "vni"), peers(network)});
    row.push_back(text(network, "state"));
    rows.push_back(std::move(row));
  }
  return table(rows);
}

std::string show_endpoints(const json& answer, std::int64_t now_ms) {
  std::vector<Row> rows = {{"ENDPOINT", "NETWORK", "SERVICE", "CLASS", "ADDRESS", "CONTAINER", "SINCE", "STATE"}};
  for (auto& endpoint : answer.at("endpoints")) {
    const auto name = text(endpoint, "network_name"), quarantined = text(endpoint, "quarantined");
    const auto age = since(endpoint.at("joined_ms").get<std::int64_t>(), now_ms);
    rows.push_back({brief(text(endpoint, "id")), name.empty() ? brief(text(endpoint, "network")) : name,
                    or_dash(text(endpoint, "service")), number(endpoint, "class"), addresses(endpoint),
                    or_dash(text(endpoint, "container")), age.empty() ? "-" : age + " ago",
                    quarantined.empty() ? text(endpoint, "phase") : "quarantined: " + quarantined});
  }
  return table(rows);
}

std::string show_policy(const json& answer, std::int64_t now_ms) {
  const auto id = brief(text(answer, "network")), name = text(answer, "network_name");
  const auto& applied = answer.at("applied");
  std::string out = "Network " + (name.empty() ? id : name + " (" + id + ")") + ": " + number(answer, "classes") +
                    " classes, " + number(answer, "elements") + " elements\n";
  const auto version = applied.at("version").get<std::uint64_t>();
  out += "Applied version: " + (version == 0 ? "none" : std::to_string(version)) + "\n";
  for (auto& source : answer.at("sources"))
    out += "\nFrom " + source_heading(source, applied, now_ms) +
           indented(printable(source.at("text").get<std::string>(), true));
  const auto effective = printable(answer.at("effective").get<std::string>(), true);
  return out + "\nIn force:\n" + (effective.empty() ? "  nothing: every connection is refused\n" : indented(effective));
}

std::string show_history(const json& answer, std::int64_t now_ms) {
  if (answer.at("versions").empty()) return "no policy was ever applied\n";
  std::vector<Row> rows = {{"VERSION", "APPLIED", "POLICY"}};
  for (auto& version : answer.at("versions")) {
    const auto age = since(version.at("at_ms").get<std::int64_t>(), now_ms);
    rows.push_back({number(version, "version"), age.empty() ? "-" : age + " ago",
                    or_dash(gist(version.at("text").get<std::string>()))});
  }
  return table(rows);
}

std::string show_check(const json& answer) {
  const auto across = text(answer, "across_hosts"), effective = printable(answer.at("effective").get<std::string>(), true);
  return "The policy is valid (statements: " + number(answer, "statements") + ", classes: " + number(answer, "classes") + ")\n" +
         (across.empty() ? "" : "On a network that spans hosts it is refused: " + across + "\n") + "\n" +
         (effective.empty() ? "  nothing: every connection is refused\n" : indented(effective));
}

std::string show_explain(const json& answer) {
  const auto statement = text(answer, "statement"), origin = text(answer, "origin"), reason = text(answer, "reason");
  std::string out = text(answer, "from") + " -> " + text(answer, "to") + " " + text(answer, "port") + ": " +
                    (answer.at("allowed").get<bool>() ? "allowed" : "refused");
  if (!statement.empty())
    out += " by `" + statement + "`" + (origin.empty() ? "" : " (" + origin + ")");
  else
    out += ": " + (reason.empty() ? "no statement allows it" : reason);
  if (const auto note = text(answer, "note"); !note.empty()) out += "\n  " + note;
  return out + "\n";
}

}  // namespace microseg::cli
