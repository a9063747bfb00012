#include "microseg/cli/cli.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>

#include "client.h"
#include "completion.h"
#include "show.h"
#include "table.h"

namespace microseg::cli {
namespace {

using nlohmann::json;

struct Arguments {
  std::string socket;
  bool json = false;
  std::string network, file, from, to, port, shell;
  std::uint64_t version = 0;  // of an applied policy; 0: none was named
};

struct Streams {
  std::istream& in;
  std::ostream& out;
  std::ostream& err;
};

std::int64_t now_ms() {
  using namespace std::chrono;
  return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
}

Exit fail(const Streams& io, const Failure& failure) {
  io.err << "microseg: " << printable(failure.message, true) << "\n";
  return failure.exit;
}

Failure not_understood() {
  return {kRefused,
          "microsegd's answer is not understood; do `microseg version` and `microseg status --json` show the same version?"};
}

// Calls, and prints what `show` makes of the answer, or the answer itself for programs. `after` derives the exit code.
template <class Show>
Exit ask(const Arguments& args, const Streams& io, const Call& request, Show show,
         Exit (*after)(const json&) = nullptr) {
  auto answer = call(args.socket, request);
  if (auto* failure = std::get_if<Failure>(&answer)) return fail(io, *failure);
  const auto& body = std::get<std::string>(answer);
  try {
    const auto parsed = json::parse(body);
    const std::string text = args.json ? body + "\n" : show(parsed);
    const Exit code = after ? after(parsed) : kDone;
    io.out << text;
    return code;
  } catch (const json::exception&) {
    return fail(io, not_understood());
  }
}

Exit status(const Arguments& args, const Streams& io) {
  return ask(args, io, {"GET", {"v1", "status"}, {}, ""}, [](auto& a) { return show_status(a, now_ms()); });
}

Exit networks(const Arguments& args, const Streams& io) {
  return ask(args, io, {"GET", {"v1", "networks"}, {}, ""}, [](auto& a) { return show_networks(a); });
}

Exit endpoints(const Arguments& args, const Streams& io) {
  Call request{"GET", {"v1", "endpoints"}, {}, ""};
  if (!args.network.empty()) request.query["network"] = args.network;
  return ask(args, io, request, [](auto& a) { return show_endpoints(a, now_ms()); });
}

Call policy_call(const char* method, const Arguments& args, std::string body = "") {
  return {method, {"v1", "networks", args.network, "policy"}, {}, std::move(body)};
}

Exit policy_show(const Arguments& args, const Streams& io) {
  return ask(args, io, policy_call("GET", args), [](auto& a) { return show_policy(a, now_ms()); });
}

std::optional<std::string> read_all(std::istream& in) {
  std::string text;
  char part[4096];
  while (in.read(part, sizeof part) || in.gcount() > 0) text.append(part, static_cast<std::size_t>(in.gcount()));
  if (in.bad()) return std::nullopt;
  return text;
}

// From FILE, or from standard input where FILE is "-" or absent and nobody sits at it.
std::variant<std::string, Failure> read_policy(const Arguments& args, std::istream& in) {
  if (args.file.empty() && &in == &std::cin && ::isatty(STDIN_FILENO) == 1)
    return Failure{kUsage,
                   "no policy given; name a FILE, or pipe one in: echo 'allow web -> api : 8080' | microseg policy " +
                       (args.network.empty() ? "check" : "apply " + args.network)};
  const bool standard = args.file.empty() || args.file == "-";
  errno = 0;
  std::ifstream file;
  if (!standard) file.open(args.file, std::ios::binary);
  auto text = standard ? read_all(in) : file.is_open() ? read_all(file) : std::nullopt;
  if (text) return *std::move(text);
  return Failure{kUsage, "cannot read the policy from " + (standard ? "standard input" : "'" + args.file + "'") + ": " +
                             (errno != 0 ? std::strerror(errno) : "read error") + "; check the path"};
}

Call history_call(const Arguments& args) { return {"GET", {"v1", "networks", args.network, "policy", "history"}, {}, ""}; }

// The policy that was applied as the version asked for.
std::variant<std::string, Failure> applied_version(const Arguments& args) {
  auto answer = call(args.socket, history_call(args));
  if (std::holds_alternative<Failure>(answer)) return answer;
  try {
    const auto history = json::parse(std::get<std::string>(answer));
    for (auto& version : history.at("versions"))
      if (version.at("version").get<std::uint64_t>() == args.version) return version.at("text").get<std::string>();
  } catch (const json::exception&) {
    return not_understood();
  }
  return Failure{kRefused, "no version " + std::to_string(args.version) + " of the policy applied to " + args.network +
                               " is kept; `microseg policy history " + args.network + "` lists those that are"};
}

// As a call's body.
std::variant<std::string, Failure> policy_body(const Arguments& args, std::istream& in) {
  auto text = args.version == 0 ? read_policy(args, in) : applied_version(args);
  if (std::holds_alternative<Failure>(text)) return text;
  try {
    return json{{"text", std::get<std::string>(text)}}.dump();
  } catch (const json::exception&) {
    return Failure{kUsage, "the policy is not UTF-8 text; save the file as UTF-8"};
  }
}

Exit policy_check(const Arguments& args, const Streams& io) {
  auto body = policy_body(args, io.in);
  if (auto* failure = std::get_if<Failure>(&body)) return fail(io, *failure);
  return ask(args, io, {"POST", {"v1", "check"}, {}, std::get<std::string>(body)}, [](auto& a) { return show_check(a); });
}

Exit policy_apply(const Arguments& args, const Streams& io) {
  auto body = policy_body(args, io.in);
  if (auto* failure = std::get_if<Failure>(&body)) return fail(io, *failure);
  return ask(args, io, policy_call("PUT", args, std::get<std::string>(body)), [&](auto& a) {
    return "applied version " + std::to_string(a.at("version").template get<std::uint64_t>()) + " to " + args.network +
           "\n";
  });
}

Exit policy_remove(const Arguments& args, const Streams& io) {
  return ask(args, io, policy_call("DELETE", args),
             [&](auto&) { return "removed the applied policy of " + args.network + "\n"; });
}

// All versions as a table; or the text of one.
Exit policy_history(const Arguments& args, const Streams& io) {
  if (args.version == 0 || args.json)
    return ask(args, io, history_call(args), [](auto& a) { return show_history(a, now_ms()); });
  auto text = applied_version(args);
  if (auto* failure = std::get_if<Failure>(&text)) return fail(io, *failure);
  const auto shown = printable(std::get<std::string>(text), true);
  io.out << shown << (shown.empty() || shown.ends_with('\n') ? "" : "\n");
  return kDone;
}

Exit explain(const Arguments& args, const Streams& io) {
  Call request{"GET", {"v1", "explain"}, {{"from", args.from}, {"to", args.to}, {"port", args.port}}, ""};
  if (!args.network.empty()) request.query["network"] = args.network;
  return ask(
      args, io, request, [](auto& a) { return show_explain(a); },
      [](const json& a) { return a.at("allowed").get<bool>() ? kDone : kExplainRefused; });
}

Exit print_completion(const Arguments& args, const Streams& io) {
  io.out << completion(args.shell);
  return kDone;
}

Exit version(const Arguments& args, const Streams& io) {
  io.out << (args.json ? R"({"version":")" MICROSEG_VERSION "\"}\n" : "microseg " MICROSEG_VERSION "\n");
  return kDone;
}

using Command = Exit (*)(const Arguments&, const Streams&);

// The tree of commands. Every one knows the common options, so they may stand before or after its name.
class Parser {
 public:
  explicit Parser(Arguments& args) : args_(args), app_("Show and change which connections microseg allows") {
    app_.name("microseg");
    app_.set_version_flag("--version", std::string("microseg " MICROSEG_VERSION));
    app_.footer(
        "Examples:\n"
        "  microseg status\n"
        "  microseg endpoints --network app\n"
        "  microseg explain web db 5432\n"
        "  echo 'allow web -> api : 8080' | microseg policy apply app\n"
        "\n"
        "Exit codes: 0 done or allowed, 1 refused by microsegd, 2 wrong usage,\n"
        "3 microsegd cannot be reached, 4 `explain`: the connection is refused.");
    common(app_);
    app_.require_subcommand(1);
    build();
  }

  // Runs nothing; the command to run, or an exit code when there is none (help, version, wrong usage).
  std::variant<Command, int> parse(int argc, const char* const* argv, const Streams& io) {
    try {
      app_.parse(argc, argv);
    } catch (const CLI::ParseError& e) {
      if (e.get_exit_code() == 0) return app_.exit(e, io.out, io.err);  // --help, --version
      const auto unknown = app_.remaining(true);
      return int{fail(io, {kUsage, (unknown.empty() ? e.what() : "unknown argument '" + unknown.front() + "'") +
                                       std::string("; see microseg --help")})};
    }
    return command_;
  }

 private:
  CLI::App* add(CLI::App& parent, const char* name, const char* what, Command command, const char* examples) {
    auto* sub = parent.add_subcommand(name, what);
    sub->footer(std::string("Examples:\n") + examples);
    common(*sub);
    sub->callback([this, command] { command_ = command; });
    return sub;
  }

  void common(CLI::App& app) {
    app.add_option("--api-socket", args_.socket,
                   "microsegd's admin socket (environment MICROSEG_API_SOCKET, default /run/microseg/api.sock)")
        ->type_name("PATH");
    app.add_flag("--json", args_.json, "Print the API's answer as JSON, for programs");
  }

  void network_argument(CLI::App* app) {
    app->add_option("NETWORK", args_.network, "Name, id or unique id prefix of a network")->required()->type_name("");
  }
  CLI::Option* file_argument(CLI::App* app) {
    return app->add_option("FILE", args_.file, "File with the policy; - or none: standard input")->type_name("");
  }
  void network_option(CLI::App* app, const char* what) {
    app->add_option("--network", args_.network, what)->type_name("NETWORK");
  }

  void build() {
    add(app_, "status", "Show the daemon's health", status, "  microseg status\n  microseg status --json | jq .health");
    add(app_, "networks", "List networks with their counters", networks, "  microseg networks");
    auto* list = add(app_, "endpoints", "List endpoints: service, class, address, why quarantined", endpoints,
                     "  microseg endpoints\n  microseg endpoints --network app");
    network_option(list, "Only those of this network");
    build_policy();
    auto* why = add(app_, "explain", "Tell whether a connection is allowed, and by which statement", explain,
                    "  microseg explain web api 8080\n  microseg explain web dns 53/udp --network app\n"
                    "  microseg explain 172.19.0.2 db icmp\n"
                    "  microseg explain api world 443\n  microseg explain 192.0.2.7 web 80");
    why->add_option("FROM", args_.from, "Service, container, address or endpoint id")->required()->type_name("");
    why->add_option("TO", args_.to, "Service, container, address or endpoint id")->required()->type_name("");
    why->add_option("PORT", args_.port, "N, N/tcp, N/udp, N/sctp or icmp")->required()->type_name("");
    network_option(why, "The network meant, where both are on several");
    auto* script = add(app_, "completion", "Print a shell's completion script", print_completion,
                       "  source <(microseg completion bash)\n"
                       "  microseg completion zsh > ~/.zfunc/_microseg\n"
                       "  microseg completion fish > ~/.config/fish/completions/microseg.fish");
    script->add_option("SHELL", args_.shell, "bash, zsh or fish")
        ->required()
        ->check(CLI::IsMember({"bash", "zsh", "fish"}))
        ->type_name("");
    add(app_, "version", "Print the version of this program", version, "  microseg version");
  }

  void build_policy() {
    auto* policy = app_.add_subcommand("policy", "Check, show, apply, remove or look back at a network's policy");
    common(*policy);
    policy->require_subcommand(1);
    network_argument(add(*policy, "show", "Show where a network's policy comes from and what is in force", policy_show,
                         "  microseg policy show app"));
    file_argument(add(*policy, "check", "Tell whether a policy is valid, and how many classes it needs; changes nothing",
                      policy_check,
                      "  microseg policy check app.policy\n"
                      "  echo 'allow web -> api : 8080' | microseg policy check"));
    auto* apply = add(*policy, "apply", "Replace the applied policy; in force when the command returns", policy_apply,
                      "  microseg policy apply app app.policy\n"
                      "  echo 'allow web -> api : 8080' | microseg policy apply app\n"
                      "  microseg policy apply app - < app.policy\n"
                      "  microseg policy apply app --version 3");
    network_argument(apply);
    auto* file = file_argument(apply);
    apply->add_option("--version", args_.version, "Apply once more what was applied as version N")
        ->check(CLI::PositiveNumber)
        ->type_name("N")
        ->excludes(file);
    auto* history = add(*policy, "history", "List the policies that were applied, or print one of them", policy_history,
                        "  microseg policy history app\n"
                        "  microseg policy history app 3 > app.policy\n"
                        "  microseg policy apply app --version 3");
    network_argument(history);
    history->add_option("VERSION", args_.version, "Print the text of this version")->check(CLI::PositiveNumber)->type_name("");
    network_argument(add(*policy, "remove", "Remove the applied policy; options and labels stay in force",
                         policy_remove, "  microseg policy remove app"));
  }

  Arguments& args_;
  Command command_ = nullptr;
  CLI::App app_;
};

}  // namespace

int run(int argc, const char* const* argv, std::istream& in, std::ostream& out, std::ostream& err) {
  const Streams io{in, out, err};
  Arguments args;
  const char* socket = std::getenv("MICROSEG_API_SOCKET");
  args.socket = socket && *socket ? socket : "/run/microseg/api.sock";
  Parser parser(args);
  auto parsed = parser.parse(argc, argv, io);
  if (auto* code = std::get_if<int>(&parsed)) return *code;
  const Exit code = std::get<Command>(parsed)(args, io);
  if (!out.flush()) return fail(io, {kRefused, "done, but cannot write the answer to standard output"});
  return code;
}

}  // namespace microseg::cli
