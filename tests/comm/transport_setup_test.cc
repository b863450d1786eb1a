#include "comm/transport_setup.hpp"

#include <gmock/gmock.h>

namespace hfr {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// Three ranks on two nodes.
const Shape kShape = make_shape(0, std::vector<std::string>{"a", "a", "b"});

TransportChoice choose(const std::string& setting, const TransportFacts& facts) {
  auto choice = choose_transport(setting, facts, kShape, {});
  EXPECT_TRUE(choice.ok()) << choice.status().message();
  return choice.ok() ? *choice : TransportChoice::kTcp;
}

TEST(ChooseTransport, AutoTakesWhatAllHave) {
  EXPECT_EQ(choose("auto", {false, {"", "", ""}}), TransportChoice::kVerbs);
  EXPECT_EQ(choose("auto", {false, {"", "", "no device"}}), TransportChoice::kTcp);
  EXPECT_EQ(choose("auto", {false, {"no", "no", "no"}}), TransportChoice::kTcp);
  EXPECT_EQ(choose("auto", {true, {"", "", ""}}), TransportChoice::kLoopback);
}

TEST(ChooseTransport, WhatIsAskedForIsTaken) {
  EXPECT_EQ(choose("tcp", {true, {"", "", ""}}), TransportChoice::kTcp);
  EXPECT_EQ(choose("loopback", {false, {"", "", ""}}), TransportChoice::kLoopback);
  EXPECT_EQ(choose("verbs", {true, {"", "", ""}}), TransportChoice::kVerbs);
}

TEST(ChooseTransport, VerbsAskedForAndNotThereNamesTheRank) {
  auto choice = choose_transport("verbs", {false, {"", "", "its port is down"}}, kShape, {});
  ASSERT_FALSE(choice.ok());
  EXPECT_EQ(choice.status().code(), Code::kUnsupported);
  EXPECT_THAT(choice.status().message(), AllOf(HasSubstr("HFREDUCE_TRANSPORT=verbs"),
                                               HasSubstr("rank 2 (node 1): its port is down")));
}

TEST(SetVerbsOptions, TakesTheSettings) {
  struct NoProof : Handshake {
    Result<int> run(int, Side, uint64_t) const override { return 0; }
  } proof;
  VerbsOptions options{.bind_host = "", .handshake = proof, .rails = {}, .logger = {}};
  Config config;
  config.ib_gid_index = "3";
  config.ib_mtu = "1024";
  config.ib_service_level = 2;
  config.ib_traffic_class = 106;
  config.timeout_ms = 1000;
  set_verbs_options(config, {VerbsRail{.device = "a"}}, 0, options);
  ASSERT_EQ(options.rails.size(), 1u);
  EXPECT_EQ(options.gid_index, 3);
  EXPECT_EQ(options.mtu, 1024);
  EXPECT_EQ(options.service_level, 2);
  EXPECT_EQ(options.traffic_class, 106);
  EXPECT_EQ(options.mend_ns, 500'000'000u);
}

}  // namespace
}  // namespace hfr
