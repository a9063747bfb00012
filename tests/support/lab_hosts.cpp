#include "support/lab_hosts.h"

#include <fmt/format.h>

#include "kernel/netns.h"
#include "microseg/reconcile/steps.h"
#include "support/lab_box.h"
#include "support/scenario.h"

namespace microseg::lab {
namespace {

std::string fresh_directory() {
  static int count = 0;
  return fmt::format("/tmp/spanned-{}", ++count);
}

Ip underlay_of(unsigned n) { return test::ip(fmt::format("192.0.2.{}", n)); }

void join(const Host& a, const Host& b) {
  a.netns().run(fmt::format("ip link add to{} type veth peer name to{} netns {}", b.number(), a.number(), b.netns().path()));
  for (auto* ends : {&a, &b}) {
    const Host &here = *ends, &there = ends == &a ? b : a;
    here.netns().run(fmt::format("ip addr replace {0}/32 dev lo; ip link set to{1} up; ip route add {2}/32 dev to{1} src {0}",
                                 here.address().str(), there.number(), there.address().str()));
  }
  a.netns().await(fmt::format("to{}", b.number()));
  b.netns().await(fmt::format("to{}", a.number()));
}

}  // namespace

Host::Host(unsigned n, const model::Network& network)
    : n_(n),
      directory_(fresh_directory()),
      kernel_(need(kernel::make_linux_kernel(directory_, need(kernel::open_netns(netns_.path()))))),
      network_(network),
      shown_(fmt::format("host {}", n),
             [this] { return describe(netns_) + "--- in its segment\n" + describe(segment()); }) {
  network_.underlay = {underlay_of(n), {}};
  judgement_.numbering = policy::Numbering{1, policy::alphabet_of(need(policy::parse(network.settings.policy, "")))};
  need(kernel_->create_segment(network_.id.brief()));
  enforce(network.settings.policy);
}

Host::~Host() { (void)kernel_->delete_segment(network_.id.brief()); }

Container& Host::start(const std::string& service, unsigned last, policy::Labels labels) {
  auto& out = *containers_.emplace_back(
      std::make_unique<Container>(Container{test::endpoint(service, last, fresh_id()), {}}));
  if (out.endpoint.identity) out.endpoint.identity->identity.labels = std::move(labels);
  out.endpoint.sandbox = out.netns.path();
  become();
  segment().await(out.link());
  return out;
}

void Host::stop(const Container& container) {
  std::erase_if(containers_, [&](auto& c) { return c.get() == &container; });
  become();
}

void Host::enforce(const std::string& policy) {
  judgement_.allow = render::allow_elements(
      need(policy::compile(need(policy::parse(policy, "")), *judgement_.numbering)));
  become();
}

void Host::bump() {
  auto kept = std::exchange(judgement_.allow, kstate::make_elements({}));
  auto copy = *kept;
  copy.insert({kstate::bytes_of_number(65535) + kstate::bytes_of_number(65535) + kstate::bytes_of_protocol(1) +
                   kstate::bytes_of_port(1),
               kstate::bytes_of_number(65535) + kstate::bytes_of_number(65535) + kstate::bytes_of_protocol(1) +
                   kstate::bytes_of_port(1),
               {}});
  judgement_.allow = kstate::make_elements(std::move(copy));  // one more that concerns nobody
  become();
  const auto before = generation_;
  judgement_.allow = std::move(kept);
  become();
  if (generation_ == before) fail("no new generation");
}

Ip Host::address() const { return underlay_of(n_); }

std::map<std::string, std::uint64_t> Host::counters() const { return need(kernel_->counters(network_.id.brief())); }

std::uint16_t Host::class_of(const std::string& service) const {
  return policy::class_of(*judgement_.numbering, {service, {}});
}

void Host::meet(const Host& other) {
  network_.underlay.peers.push_back(other.address());
  become();
}

void Host::become() {
  std::vector<const model::Endpoint*> endpoints;
  for (auto& c : containers_) endpoints.push_back(&c->endpoint);
  const auto desired = render::segment(network_, endpoints, judgement_);
  std::vector<std::string> sysctls;
  for (auto& [path, value] : desired.sysctls) sysctls.push_back(path);
  const std::string name = network_.id.brief();
  const auto step = reconcile::plan(desired, need(kernel_->observe(name, sysctls)), generation_);
  for (auto& op : step.plan) need(kernel_->apply(name, op));
  generation_ = step.generation;
  const auto left = reconcile::plan(desired, need(kernel_->observe(name, sysctls)), generation_).plan;
  if (!left.empty()) fail("a plan did not do it all: " + kstate::to_text(left));
}

Hosts::Hosts(unsigned count, const std::string& policy, model::Options options) {
  const auto network = test::spanning_network(policy, std::move(options));
  for (unsigned n = 1; n <= count; ++n) hosts_.push_back(std::make_unique<Host>(n, network));
  for (auto& a : hosts_)
    for (auto& b : hosts_)
      if (a->number() < b->number()) {
        join(*a, *b);
        a->meet(*b);
        b->meet(*a);
      }
}

}  // namespace microseg::lab
