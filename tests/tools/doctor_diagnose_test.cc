// What doctor chooses and finds wrong, and how it says so.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tools/doctor_net.hpp"

namespace hfr::tools {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

Link port() {
  Link link;
  link.kind = Link::Kind::kVerbs;
  link.name = "mlx5_0";
  link.port = 1;
  link.interface = "eth1";
  link.layer = "Ethernet";
  link.state = "ACTIVE";
  link.up = true;
  link.addresses = {{1, "10.9.0.1", "RoCE v2"}};
  return link;
}

Link interface(const std::string& name, const std::string& address) {
  Link link;
  link.name = name;
  link.layer = "Ethernet";
  link.state = "up";
  link.up = true;
  link.addresses = {{0, address, "IPv4"}};
  return link;
}

std::vector<Link> links(Link of_verbs) {
  return {std::move(of_verbs), interface("lo", "127.0.0.1"), interface("eth0", "192.0.2.1")};
}

VerbsFacts good() { return {Status(), {"mlx5_0 port 1"}, true, std::nullopt}; }

VerbsFacts bad(const std::string& why) {
  VerbsFacts facts = good();
  facts.usable = Status(Code::kUnsupported, why);
  facts.rails.clear();
  return facts;
}

TEST(DoctorDiagnosis, VerbsWherePortsAreUsable) {
  const NetReport report = diagnose(links(port()), Config(), good());
  EXPECT_EQ(report.transport, "verbs");
  EXPECT_THAT(report.why, HasSubstr("1 port can be used"));
  EXPECT_TRUE(report.links[0].used);
  EXPECT_FALSE(report.links[1].used) << "loopback";
  EXPECT_TRUE(report.links[2].used) << "ranks meet there";
  EXPECT_TRUE(report.healthy());
}

TEST(DoctorDiagnosis, TcpWhereThereIsNoDevice) {
  const NetReport report = diagnose({interface("lo", "127.0.0.1"), interface("eth0", "192.0.2.1")},
                                    Config(), bad("no libibverbs"));
  EXPECT_EQ(report.transport, "tcp");
  EXPECT_EQ(report.why, "no libibverbs");
  EXPECT_TRUE(report.healthy()) << "a machine without NIC is not ill";
}

TEST(DoctorDiagnosis, ADeviceThatCannotBeUsedIsWrong) {
  NetReport report = diagnose(links(port()), Config(), bad("libibverbs.so.1 was not found"));
  EXPECT_EQ(report.transport, "tcp");
  EXPECT_THAT(report.problems, ElementsAre("libibverbs.so.1 was not found"));
  VerbsFacts no_files = bad("no device");
  no_files.has_device_files = false;
  report = diagnose(links(port()), Config(), no_files);
  EXPECT_THAT(report.problems, ElementsAre(HasSubstr("ib_uverbs")));
}

TEST(DoctorDiagnosis, WhatWasAskedForIsChosen) {
  Config config;
  config.transport = "tcp";
  const NetReport report = diagnose(links(port()), config, good());
  EXPECT_EQ(report.transport, "tcp");
  EXPECT_THAT(report.why, HasSubstr("HFREDUCE_TRANSPORT=tcp"));
  EXPECT_FALSE(report.links[0].used);
}

TEST(DoctorDiagnosis, AskedForVerbsWithoutThem) {
  Config config;
  config.transport = "verbs";
  const NetReport report =
      diagnose({interface("eth0", "192.0.2.1")}, config, bad("no verbs device"));
  EXPECT_THAT(report.problems, ElementsAre("no verbs device"));
}

TEST(DoctorDiagnosis, PortsThatAreIll) {
  auto problem = [](Link link) {
    const NetReport report = diagnose(links(std::move(link)), Config(), bad("none is up"));
    EXPECT_FALSE(report.healthy());
    EXPECT_EQ(report.links[0].problems.size(), 1u);
    return report.links[0].problems.empty() ? "" : report.links[0].problems[0];
  };
  Link link = port();
  link.state = "DOWN";
  link.up = false;
  EXPECT_THAT(problem(link), HasSubstr("ip link set eth1 up"));
  link.layer = "InfiniBand";
  EXPECT_THAT(problem(link), Not(HasSubstr("ip link")));
  link.state = "INIT";
  EXPECT_THAT(problem(link), HasSubstr("subnet manager"));
  link = port();
  link.addresses.clear();
  EXPECT_THAT(problem(link), HasSubstr("ip addr add"));
  link.addresses = {{0, "fe80::1", "RoCE v2"}};
  EXPECT_THAT(problem(link), HasSubstr("link-local"));
  link.addresses.push_back({1, "10.9.0.1", "RoCE v2"});
  EXPECT_THAT(diagnose(links(link), Config(), good()).links[0].problems, IsEmpty());
}

TEST(DoctorDiagnosis, TooLittleMemoryMayBeLocked) {
  VerbsFacts facts = good();
  facts.lockable = size_t{8} << 20;
  EXPECT_THAT(diagnose(links(port()), Config(), facts).problems,
              ElementsAre(HasSubstr("limited to 8.0 MiB")));
  EXPECT_THAT(diagnose({interface("eth0", "192.0.2.1")}, Config(), facts).problems, IsEmpty())
      << "nobody registers anything";
  facts.lockable = size_t{512} << 20;
  EXPECT_TRUE(diagnose(links(port()), Config(), facts).healthy());
  facts.has_gpus = true;
  EXPECT_THAT(diagnose(links(port()), Config(), facts).problems,
              ElementsAre(AllOf(HasSubstr("limited to 512.0 MiB"), HasSubstr("768.0 MiB"))));
  facts.lockable = size_t{1} << 30;
  EXPECT_TRUE(diagnose(links(port()), Config(), facts).healthy());
}

TEST(DoctorDiagnosis, Interfaces) {
  const VerbsFacts none = bad("there is none");
  EXPECT_THAT(diagnose({interface("lo", "127.0.0.1")}, Config(), none).problems,
              ElementsAre(HasSubstr("only one that is up")));
  EXPECT_THAT(diagnose({}, Config(), none).problems, ElementsAre(HasSubstr("not even loopback")));
  Config config;
  config.socket_ifname = "eth9";
  EXPECT_THAT(diagnose({interface("eth0", "192.0.2.1")}, config, none).problems,
              ElementsAre(HasSubstr("HFREDUCE_SOCKET_IFNAME=eth9")));
  Link down = interface("eth0", "192.0.2.1");
  down.up = false;
  down.state = "down";
  EXPECT_THAT(diagnose({down}, Config(), none).links[0].problems,
              ElementsAre(HasSubstr("no carrier")));
}

TEST(DoctorReport, SaysWhatIsKnown) {
  Link measured = port();
  measured.gbit_per_s = 200;
  measured.numa = 1;
  measured.numa_distance = 21;
  measured.mtu = 4200;
  measured.speed = LinkSpeed{23456.7, 1.25};
  Link down = interface("eth0", "192.0.2.1");
  down.up = false;
  down.state = "down";
  const NetReport report = diagnose({measured, down}, Config(), good());
  const std::string text = report_text(report);
  EXPECT_THAT(text, HasSubstr("transport  verbs: "));
  EXPECT_THAT(text, HasSubstr("mlx5_0 port 1: ACTIVE, Ethernet, 200 Gbit/s, on eth1, MTU 4200, "
                              "NUMA node 1 at distance 21, used"));
  EXPECT_THAT(text, HasSubstr("GID 1 (10.9.0.1, RoCE v2)"));
  EXPECT_THAT(text, HasSubstr("23457 MB/s"));
  EXPECT_THAT(text, HasSubstr("1.25 us"));
  EXPECT_THAT(text, HasSubstr("WRONG: the interface has no carrier"));
  EXPECT_THAT(text, Not(HasSubstr("nothing is wrong")));
}

TEST(DoctorReport, JsonHoldsTheSame) {
  Link measured = port();
  measured.speed = LinkSpeed{1000, 2.5};
  Link strange = interface("eth\xff", "192.0.2.1");
  const NetReport report = diagnose({measured, strange}, Config(), good());
  const auto json = nlohmann::json::parse(report_json(report));
  EXPECT_EQ(json["transport"], "verbs");
  EXPECT_EQ(json["healthy"], true);
  ASSERT_EQ(json["links"].size(), 2u);
  const auto& link = json["links"][0];
  EXPECT_EQ(link["kind"], "verbs");
  EXPECT_EQ(link["port"], 1);
  EXPECT_EQ(link["addresses"][0]["type"], "RoCE v2");
  EXPECT_EQ(link["speed"]["put_mbytes_per_s"], 1000);
  EXPECT_EQ(link["speed"]["half_round_trip_us"], 2.5);
  EXPECT_TRUE(link["gbit_per_s"].is_null()) << "unknown";
  EXPECT_TRUE(link["numa_node"].is_null());
  EXPECT_TRUE(json["links"][1]["speed"].is_null());
}

}  // namespace
}  // namespace hfr::tools
