#include "support/lab_segment.h"

#include <fmt/format.h>

#include <algorithm>

#include "microseg/render/segment.h"

namespace microseg::lab {
namespace {

// A store that outlives the engines that open it.
class Shared final : public store::Store {
 public:
  explicit Shared(std::shared_ptr<Store> store) : store_(std::move(store)) {}
  Result<model::State> load() override { return store_->load(); }
  Status write(const store::Change& change) override { return store_->write(change); }
  Result<std::vector<model::AppliedPolicy>> revisions(const NetworkId& network) override {
    return store_->revisions(network);
  }

 private:
  std::shared_ptr<Store> store_;
};

std::string fresh_directory() {
  static int count = 0;
  return fmt::format("/tmp/segments-{}", ++count);
}

}  // namespace

Lab::Lab() : directory_(fresh_directory()), store_(store::make_memory()) { start(); }

Lab::~Lab() {
  shown_.clear();
  boxes_.clear();
  if (!engine_) start();
  for (auto& network : engine_->networks()) (void)engine_->delete_network(network.id);
  stop();
}

void Lab::start() {
  engine_ = std::make_unique<engine::Engine>(engine::Config{.version = "test", .docker = nullptr});
  thread_ = std::thread([this] {
    engine_->run([this]() -> Result<engine::Parts> {
      MS_TRY(auto kernel, kernel::make_linux_kernel(directory_));
      return engine::Parts{std::move(kernel), std::make_unique<Shared>(store_), {}};
    });
  });
  (void)engine_->networks();  // answered once everything is adopted
}

void Lab::stop() {
  if (!engine_) return;
  engine_->stop();
  thread_.join();
  engine_.reset();
}

NetworkId Lab::network(const NetworkSpec& spec) {
  auto request = network_request(spec);
  need(engine_->create_network(request));
  shown_.push_back(std::make_unique<Shown>("segment " + request.id.brief(),
                                           [path = path_of(request.id)] { return describe(Netns::open(path)); }));
  return request.id;
}

Box& Lab::add(const NetworkId& network, const std::string& service, const std::vector<std::string>& addresses,
              std::optional<Mac> mac, bool with_addresses) {
  auto request = endpoint_request(network, addresses);
  request.mac = mac;
  if (!service.empty()) request.options["microseg.service"] = service;
  auto& box = *boxes_.emplace_back(std::make_unique<Box>(request));
  auto answered = need(engine_->create_endpoint(request));
  auto joined = need(engine_->join({network, request.id, box.sandbox}));
  plug(box, joined, answered, with_addresses);
  segment(network).await(box.link());
  return box;
}

Box& Lab::run(const NetworkId& network, const std::string& service, const std::vector<std::string>& addresses,
              std::optional<Mac> mac) {
  return add(network, service, addresses, mac, true);
}
Box& Lab::run_mute(const NetworkId& network, const std::string& service, const std::vector<std::string>& addresses) {
  return add(network, service, addresses, {}, false);
}

void Lab::end(Box& box) {
  need(engine_->leave(box.endpoint.network, box.endpoint.id));
  need(engine_->delete_endpoint(box.endpoint.network, box.endpoint.id));
  std::erase_if(boxes_, [&](auto& b) { return b.get() == &box; });
}

void Lab::apply(const NetworkId& network, const std::string& policy) {
  (void)need(engine_->apply_policy(network.str(), policy));
}

std::map<std::string, std::uint64_t> Lab::counters(const NetworkId& network) const {
  auto kernel = need(kernel::make_linux_kernel(directory_));
  return need(kernel->counters(network.brief()));
}

Result<kstate::Segment> Lab::observe(const NetworkId& network) const {
  auto kernel = need(kernel::make_linux_kernel(directory_));
  std::vector<std::string> sysctls;
  for (auto& [path, value] : render::segment({.id = network,
                             .options = {},
                             .settings = {},
                             .subnets = {},
                             .name = {},
                             .labels = {},
                             .applied = {},
                             .blocks = {}},
                                             {}, {})
                                 .sysctls)
    sysctls.push_back(path);
  return kernel->observe(network.brief(), sysctls);
}

}  // namespace microseg::lab
