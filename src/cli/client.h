// Calls of the admin API, and what became of them in the terms of the command line: an answer, or a sentence for
// standard error and an exit code.
#pragma once

#include <map>
#include <string>
#include <variant>
#include <vector>

namespace microseg::cli {

enum Exit : int { kDone = 0, kRefused = 1, kUsage = 2, kUnreachable = 3, kExplainRefused = 4 };

struct Failure {
  Exit exit;
  std::string message;
};
using Answer = std::variant<std::string, Failure>;  // the JSON text of a 200

// `path` and `query` are plain text; they are percent-encoded here.
struct Call {
  std::string method;
  std::vector<std::string> path;  // {"v1", "networks", "my net", "policy"}
  std::map<std::string, std::string> query;
  std::string body;
};

Answer call(const std::string& socket, const Call& call);

}  // namespace microseg::cli
