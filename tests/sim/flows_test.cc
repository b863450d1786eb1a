#include "sim/flows.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace hfr_tests {
namespace {

using namespace hfr::sim;

constexpr SimTime kSecond = 1'000'000'000'000;

TEST(Flows, OneAloneGetsAll) {
  FlowNetwork net;
  const ResourceId link = net.add_resource(100);
  net.start(std::vector<Use>{{link, 1}}, 50, 7, 0);
  EXPECT_EQ(net.next_end(0), kSecond / 2);
  EXPECT_FALSE(net.take_ended(kSecond / 2 - 1));
  EXPECT_EQ(net.take_ended(kSecond / 2), 7u);
  EXPECT_EQ(net.next_end(kSecond / 2), kNever);
  EXPECT_DOUBLE_EQ(net.used(link), 50);
}

TEST(Flows, CostsCountSeveralTimes) {
  FlowNetwork net;
  const ResourceId memory = net.add_resource(100);
  const std::vector<Use> uses = {{memory, 2}, {memory, 3}};
  const FlowId flow = net.start(uses, 10, 0, 0);
  EXPECT_DOUBLE_EQ(net.rate(flow, 0), 20);
}

// Two share a link until one has ended; its rest then goes at full speed.
//   0 s: 50 and 50.   1 s: A's 50 are through, B has 50 left of 100.   1.5 s: B has ended.
TEST(Flows, WhatIsFreedGoesToTheOther) {
  FlowNetwork net;
  const ResourceId link = net.add_resource(100);
  net.start(std::vector<Use>{{link, 1}}, 50, 1, 0);
  net.start(std::vector<Use>{{link, 1}}, 100, 2, 0);
  ASSERT_EQ(net.next_end(0), kSecond);
  ASSERT_EQ(net.take_ended(kSecond), 1u);
  EXPECT_EQ(net.next_end(kSecond), kSecond * 3 / 2);
}

// The textbook case: a long flow over both links and a short one on each.
//   link 1: 10, link 2: 4.  long and short 2 get 2 each, short 1 the remaining 8.
TEST(Flows, MaxMinAcrossLinks) {
  FlowNetwork net;
  const ResourceId one = net.add_resource(10);
  const ResourceId two = net.add_resource(4);
  const FlowId both = net.start(std::vector<Use>{{one, 1}, {two, 1}}, 1000, 0, 0);
  const FlowId first = net.start(std::vector<Use>{{one, 1}}, 1000, 0, 0);
  const FlowId second = net.start(std::vector<Use>{{two, 1}}, 1000, 0, 0);
  EXPECT_DOUBLE_EQ(net.rate(both, 0), 2);
  EXPECT_DOUBLE_EQ(net.rate(first, 0), 8);
  EXPECT_DOUBLE_EQ(net.rate(second, 0), 2);
  // Without the second, the long one is held up by the first link only at 5 and by the other at 4.
  net.stop(second, 0);
  EXPECT_DOUBLE_EQ(net.rate(both, 0), 4);
  EXPECT_DOUBLE_EQ(net.rate(first, 0), 6);
}

TEST(Flows, StoppedOnesCountAsFarAsTheyCame) {
  FlowNetwork net;
  const ResourceId link = net.add_resource(100);
  const FlowId flow = net.start(std::vector<Use>{{link, 1}}, 1000, 0, 0);
  net.next_end(0);
  net.stop(flow, 2 * kSecond);
  EXPECT_DOUBLE_EQ(net.used(link), 200);
  EXPECT_EQ(net.num_flows(), 0u);
}

TEST(Flows, CutLinksHoldWhatRunsOverThem) {
  FlowNetwork net;
  const ResourceId link = net.add_resource(100);
  net.start(std::vector<Use>{{link, 1}}, 100, 5, 0);
  ASSERT_EQ(net.next_end(0), kSecond);
  net.set_capacity(link, 0);
  EXPECT_EQ(net.next_end(kSecond / 2), kNever);
  net.set_capacity(link, 50);
  EXPECT_EQ(net.next_end(10 * kSecond), 11 * kSecond);
}

TEST(Flows, TiesEndInTheOrderOfStarting) {
  FlowNetwork net;
  for (uint64_t i = 0; i < 20; ++i) {
    const ResourceId own = net.add_resource(10);
    net.start(std::vector<Use>{{own, 1}}, 10, i, 0);
  }
  ASSERT_EQ(net.next_end(0), kSecond);
  for (uint64_t i = 0; i < 20; ++i) EXPECT_EQ(net.take_ended(kSecond), i);
}

// All flows at once, by the definition: raise all rates together, freeze those that meet a full
// resource, and go on with the rest.
std::vector<double> fill_at_once(const std::vector<double>& capacities,
                                 const std::vector<std::vector<Use>>& flows) {
  std::vector<double> rates(flows.size(), 0);
  std::vector<bool> frozen(flows.size(), false);
  for (size_t left = flows.size(); left > 0;) {
    double step = 1e300;
    size_t tightest = 0;
    for (size_t r = 0; r < capacities.size(); ++r) {
      double room = capacities[r], cost = 0;
      for (size_t f = 0; f < flows.size(); ++f) {
        for (const Use& use : flows[f]) {
          if (use.resource != r) continue;
          room -= use.cost * rates[f];
          if (!frozen[f]) cost += use.cost;
        }
      }
      if (cost > 0 && room / cost < step) {
        step = room / cost;
        tightest = r;
      }
    }
    for (size_t f = 0; f < flows.size(); ++f) {
      if (!frozen[f]) rates[f] += std::max(step, 0.0);
    }
    for (size_t f = 0; f < flows.size(); ++f) {
      const bool there = std::any_of(flows[f].begin(), flows[f].end(),
                                     [&](const Use& use) { return use.resource == tightest; });
      if (there && !frozen[f]) {
        frozen[f] = true;
        --left;
      }
    }
  }
  return rates;
}

class RandomFlows : public testing::TestWithParam<unsigned> {};

// Flows come and go at random, and after each change the rates are those of all worked out
// together.
TEST_P(RandomFlows, AreThoseOfAllWorkedOutTogether) {
  std::mt19937 random(GetParam());
  FlowNetwork net;
  std::vector<double> capacities;
  const size_t num_resources = 1 + random() % 12;
  for (size_t r = 0; r < num_resources; ++r) {
    capacities.push_back(1 + random() % 20);
    net.add_resource(capacities.back());
  }
  std::vector<FlowId> ids;
  std::vector<std::vector<Use>> flows;
  for (int change = 0; change < 300; ++change) {
    const unsigned what = random() % 10;
    if (what == 0) {
      const auto r = static_cast<ResourceId>(random() % num_resources);
      capacities[r] = 1 + random() % 20;
      net.set_capacity(r, capacities[r]);
    } else if (what < 5 && !ids.empty()) {
      const size_t which = random() % ids.size();
      net.stop(ids[which], 0);
      ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(which));
      flows.erase(flows.begin() + static_cast<std::ptrdiff_t>(which));
    } else {
      std::vector<Use> uses;
      for (size_t r = 0; r < num_resources; ++r) {
        if (random() % 3 == 0)
          uses.push_back({static_cast<ResourceId>(r), 0.5 * (1 + random() % 6)});
      }
      if (uses.empty()) uses.push_back({0, 1});
      ids.push_back(net.start(uses, 1e9, 0, 0));
      flows.push_back(uses);
    }
    if (random() % 3 == 0) continue;  // several changes at once
    const std::vector<double> expected = fill_at_once(capacities, flows);
    for (size_t f = 0; f < ids.size(); ++f) {
      ASSERT_NEAR(net.rate(ids[f], 0), expected[f], 1e-6 * (1 + expected[f]))
          << "flow " << f << " of " << ids.size() << " after change " << change;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomFlows, testing::Range(0u, 40u));

}  // namespace
}  // namespace hfr_tests
