// Which service an endpoint is, and which endpoint options are refused.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include "microseg/model/network.h"

using namespace microseg;
using namespace microseg::model;

namespace {

const char* const kSwarm = "com.docker.swarm.service.name";
const char* const kStack = "com.docker.stack.namespace";
const char* const kCompose = "com.docker.compose.service";

std::string text(const std::optional<ResolvedIdentity>& id) {
  if (!id) return "nobody";
  return fmt::format("'{}' by {}", id->identity.service, to_string(id->source));
}

}  // namespace

TEST_CASE("the first source of a service's name decides") {
  struct {
    const char* title;
    Options options;
    policy::Labels labels;
    const char* identity;
  } rows[] = {
      {"the container's name", {}, {}, "'shop-web-1' by container name"},
      {"compose", {}, {{kCompose, "web"}}, "'web' by label com.docker.compose.service"},
      {"Swarm without a stack",
       {},
       {{kSwarm, "web"}, {kCompose, "no"}},
       "'web' by label com.docker.swarm.service.name"},
      {"Swarm with a stack",
       {},
       {{kSwarm, "shop_web"}, {kStack, "shop"}},
       "'web' by label com.docker.swarm.service.name"},
      {"... named like the service",
       {},
       {{kSwarm, "shop_shop_web"}, {kStack, "shop"}},
       "'shop_web' by label com.docker.swarm.service.name"},
      {"another stack's prefix stays",
       {},
       {{kSwarm, "shop_web"}, {kStack, "sho"}},
       "'shop_web' by label com.docker.swarm.service.name"},
      {"a prefix is not all of a name",
       {},
       {{kSwarm, "shop_"}, {kStack, "shop"}},
       "'shop_' by label com.docker.swarm.service.name"},
      {"a label of ours",
       {},
       {{"microseg.service", "db"}, {kSwarm, "no"}, {kCompose, "no"}},
       "'db' by container label microseg.service"},
      {"an endpoint option",
       {{"microseg.service", "api"}},
       {{"microseg.service", "no"}},
       "'api' by endpoint option microseg.service"},
      {"an endpoint option in any case",
       {{"MicroSeg.Service", "api"}},
       {},
       "'api' by endpoint option microseg.service"},
      {"options that are not ours", {{"com.docker.network.endpoint.x", "y"}}, {}, "'shop-web-1' by container name"},
      {"a name that policy can not write is nobody's, and no reason to go on",
       {},
       {{"microseg.service", "d b"}, {kCompose, "web"}},
       "'d b' by container label microseg.service"},
      {"an empty one too", {}, {{"microseg.service", ""}, {kCompose, "web"}}, "'' by container label microseg.service"},
      {"labels are case-sensitive, as Docker's are",
       {},
       {{"Microseg.Service", "db"}, {kCompose, "web"}},
       "'web' by label com.docker.compose.service"},
  };
  for (auto& row : rows) {
    CAPTURE(row.title);
    const Container container{std::string(64, 'a'), "shop-web-1", row.labels};
    auto id = resolve_identity(row.options, &container);
    CHECK(text(id) == std::string(row.identity));
    REQUIRE(id);
    CHECK(id->identity.labels == row.labels);  // selectors see the container's labels wherever its name came from
    CHECK(id->container_id == container.id);
    CHECK(id->container_name == container.name);
  }
}

TEST_CASE("without a container only an endpoint option can answer") {
  CHECK(text(resolve_identity({}, nullptr)) == "nobody");
  CHECK(text(resolve_identity({{"other", "x"}}, nullptr)) == "nobody");
  auto id = resolve_identity({{"microseg.service", "db"}}, nullptr);
  CHECK(text(id) == "'db' by endpoint option microseg.service");
  CHECK(id->container_id.empty());
  CHECK(id->identity.labels.empty());
}

TEST_CASE("a container without a name or a label is nobody") {
  const Container nameless{std::string(64, 'a'), "", {{"tier", "web"}}};
  CHECK(text(resolve_identity({}, &nameless)) == "nobody");
}

TEST_CASE("an unwritable name matches no name, only any and selectors") {
  const Container container{"", "web", {{"microseg.service", "we b"}, {"tier", "front"}}};
  const auto id = resolve_identity({}, &container)->identity;
  auto policy =
      policy::parse("allow web -> any : 1; allow {tier=front} -> any : 2; allow any -> any : 3", "test").value();
  for (auto [port, allowed] : {std::pair{1, false}, {2, true}, {3, true}})
    CHECK(policy::explain(policy, id, id, kTcp, static_cast<std::uint16_t>(port)).allowed == allowed);
}

TEST_CASE("endpoint options") {
  const std::string name =
      "endpoint option microseg.service: expected a service's name of 1 to 255 letters, digits, '_', "
      "'.' and '-', found ";
  struct {
    Options options;
    std::string error;  // "" = accepted
  } rows[] = {
      {{}, ""},
      {{{"com.docker.network.endpoint.macaddress", "AkIK"}, {"my.opt", "v"}}, ""},
      {{{"microseg.service", "db"}}, ""},
      {{{"Microseg.SERVICE", "any"}}, ""},
      {{{"microseg.service", std::string(255, 'x')}}, ""},
      {{{"microseg.service", ""}}, name + "''"},
      {{{"microseg.service", "d b"}}, name + "'d b'"},
      {{{"microseg.service", "db "}}, name + "'db '"},
      {{{"microseg.service", "shop/db"}}, name + "'shop/db'"},
      {{{"microseg.service", "db\n"}}, name + "'db\\x0a'"},
      {{{"microseg.service", "{tier=db}"}}, name + "'{tier=db}'"},
      {{{"microseg.service", "\"db\""}}, name + "'\"db\"'"},
      {{{"microseg.service", "d\xc3\xa9"}}, name + "'d\\xc3\\xa9'"},
      {{{"microseg.service", std::string(256, 'x')}}, name + "'" + std::string(80, 'x') + "...'"},
      {{{"microseg.svc", "db"}}, "unknown endpoint option 'microseg.svc': did you mean 'microseg.service'?"},
      {{{"microseg.policy", "allow a -> b"}},
       "unknown endpoint option 'microseg.policy': did you mean 'microseg.service'?"},
      {{{"MICROSEG.", ""}}, "unknown endpoint option 'microseg.': did you mean 'microseg.service'?"},
      {{{"microseg.service", "db"}, {"Microseg.Service", "api"}},
       "endpoint option 'microseg.service' is given twice, in different case"},
  };
  for (auto& row : rows) {
    auto checked = check_endpoint_options(row.options);
    CHECK((checked ? std::string() : checked.error().text) == row.error);
    if (!checked) CHECK(checked.error().code == Errc::invalid);
  }
}
