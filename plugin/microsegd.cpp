// microsegd: the driver daemon. Builds the objects, hands each what it depends on, starts the threads, waits for a
// signal. Nothing else knows how the program is put together.
#include <pthread.h>
#include <signal.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <iostream>
#include <thread>

#include "microseg/api/admin.h"
#include "microseg/base/log.h"
#include "microseg/cnm/driver.h"
#include "microseg/engine/engine.h"

using namespace microseg;

namespace {

struct Flags {
  std::string driver_socket = "/run/docker/plugins/microseg.sock";
  std::string api_socket = "/run/microseg/api.sock";
  std::string docker_socket = "/var/run/docker.sock";
  std::string state_dir = "/var/lib/microseg";
  std::string run_dir = "/run/microseg";
  std::string scope = "local";
  std::uint16_t vxlan_port = render::kVxlanPort;
  std::string log_level = "info";
};

void declare(CLI::App& app, Flags& flags) {
  app.add_option("--driver-socket", flags.driver_socket, "Where Docker calls the driver")
      ->envname("MICROSEG_DRIVER_SOCKET")->capture_default_str();
  app.add_option("--api-socket", flags.api_socket, "Where `microseg` asks")
      ->envname("MICROSEG_API_SOCKET")->capture_default_str();
  app.add_option("--docker-socket", flags.docker_socket,
                 "The Docker Engine's API; empty: none, services come from endpoint options alone")
      ->envname("MICROSEG_DOCKER_SOCKET")->capture_default_str();
  app.add_option("--state-dir", flags.state_dir, "Networks, endpoints and policies are kept here")
      ->envname("MICROSEG_STATE_DIR")->capture_default_str();
  app.add_option("--run-dir", flags.run_dir, "Network namespaces are mounted below this directory")
      ->envname("MICROSEG_RUN_DIR")->capture_default_str();
  app.add_option("--scope", flags.scope, "local, or global for networks that Swarm manages")
      ->envname("MICROSEG_SCOPE")->capture_default_str();
  app.add_option("--vxlan-port", flags.vxlan_port, "UDP port between the hosts of a network that spans hosts")
      ->envname("MICROSEG_VXLAN_PORT")->check(CLI::Range(1, 65535))->capture_default_str();
  app.add_option("--log-level", flags.log_level, "error, warn, info or debug")
      ->envname("MICROSEG_LOG_LEVEL")->capture_default_str();
  app.set_version_flag("--version", "microsegd " MICROSEG_VERSION);
}

int fail(const Error& error) {
  log_error("cannot start", {{"error", error.text}});
  return 1;
}

Result<engine::Parts> assemble(const Flags& flags) {
  engine::Parts parts;
  parts.capabilities = kernel::probe();
  for (auto& capability : parts.capabilities) {
    if (capability.missing.empty()) continue;
    log_warn("kernel feature missing", {{"feature", capability.name}, {"why", capability.missing}});
    if (capability.required)
      return Error{Errc::unsupported, 0,
                   "this kernel lacks " + capability.name + " (" + capability.missing + "), which microseg needs"};
  }
  MS_TRY(parts.store, store::open_sqlite(flags.state_dir));
  MS_TRY(parts.kernel, kernel::make_linux_kernel(flags.run_dir + "/netns"));
  return parts;
}

void name_thread(std::thread& thread, const char* name) { (void)pthread_setname_np(thread.native_handle(), name); }

int serve(const Flags& flags, cnm::Scope scope, const sigset_t& signals) {
  // Listen first: Docker's calls wait in the queue while the store is read and the kernel is looked at.
  // Where dockerd asks us for authorization, it tells its own answers as well: a list of containers may be long.
  auto driver_server = http::listen_unix(flags.driver_socket, {.max_body = 64 << 20});
  if (!driver_server) return fail(driver_server.error());
  auto api_server = http::listen_unix(flags.api_socket, {});
  if (!api_server) return fail(api_server.error());

  engine::Config config;
  config.version = MICROSEG_VERSION;
  config.guards_host = scope == cnm::Scope::global;
  config.vxlan_port = flags.vxlan_port;
  if (!flags.docker_socket.empty()) config.docker = docker::make_engine_api(flags.docker_socket);
  engine::Engine engine(std::move(config));
  const cnm::Driver driver(engine, scope);
  const api::Admin admin(engine);
  driver_server.value()->start([&](const http::Request& request) { return driver.handle(request); });
  api_server.value()->start([&](const http::Request& request) { return admin.handle(request); });
  log_info("listening", {{"driver", flags.driver_socket}, {"api", flags.api_socket}, {"version", MICROSEG_VERSION}});

  std::thread engine_thread([&] { engine.run([&] { return assemble(flags); }); });
  name_thread(engine_thread, "engine");
  std::thread docker_thread([&] { engine.watch_docker(); });
  name_thread(docker_thread, "docker");

  int signal = 0;
  (void)sigwait(&signals, &signal);
  log_info("stopping; what the kernel holds stays enforced", {{"signal", std::to_string(signal)}});
  engine.stop();
  driver_server.value()->stop();
  api_server.value()->stop();
  engine_thread.join();
  docker_thread.join();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  // Blocked before any thread starts, so that all inherit it and only sigwait takes them.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  (void)pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  (void)signal(SIGPIPE, SIG_IGN);

  Flags flags;
  CLI::App app{"microsegd: Docker network driver that lets only declared connections through", "microsegd"};
  declare(app, flags);
  CLI11_PARSE(app, argc, argv);

  auto level = parse_log_level(flags.log_level);
  if (!level) return fail(level.error());
  set_log_level(level.value());
  auto scope = cnm::parse_scope(flags.scope);
  if (!scope) return fail(scope.error());
  return serve(flags, scope.value(), signals);
}
