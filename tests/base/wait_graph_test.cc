#include "base/wait_graph.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <random>
#include <vector>

namespace hfr_tests {
namespace {

using hfr::find_holdup;
using hfr::WaitEdge;
using hfr::WaitStage;

// One of each strength, weakest first.
constexpr std::array kStages = {WaitStage::kSum, WaitStage::kPartialSum, WaitStage::kCopyIn};

int strength(const WaitEdge& edge) {
  return static_cast<int>(std::find(kStages.begin(), kStages.end(), edge.stage) - kStages.begin());
}

WaitEdge strongest(const std::vector<WaitEdge>& edges) {
  return *std::min_element(edges.begin(), edges.end(), [](const WaitEdge& a, const WaitEdge& b) {
    if (a.operation != b.operation) return a.operation < b.operation;
    if (a.chunk != b.chunk) return a.chunk < b.chunk;
    return strength(a) != strength(b) ? strength(a) > strength(b) : a.from < b.from;
  });
}

// The rule by its words, each rank's path walked from its beginning; edges[r] is rank r's.
WaitEdge expected(const std::vector<WaitEdge>& edges) {
  auto waits = [&](int rank) { return edges[static_cast<size_t>(rank)].to >= 0; };
  auto next = [&](int rank) { return edges[static_cast<size_t>(rank)].to; };
  std::vector<int> held_up(edges.size(), 0);
  std::map<int, WaitEdge> circles;  // by the rank that holds them up
  for (const WaitEdge& edge : edges) {
    if (edge.to < 0) continue;
    int at = edge.from;
    for (size_t step = 0; step < edges.size() && waits(at); ++step) at = next(at);
    if (waits(at)) {  // so many steps lead into the circle
      std::vector<WaitEdge> circle;
      do {
        circle.push_back(edges[static_cast<size_t>(at)]);
        at = next(at);
      } while (at != circle.front().from);
      at = strongest(circle).to;
      circles[at] = strongest(circle);
    }
    ++held_up[static_cast<size_t>(at)];
  }
  const auto most = std::max_element(held_up.begin(), held_up.end());
  if (*most == 0) return {};
  const auto cause = static_cast<int>(most - held_up.begin());
  if (circles.contains(cause)) return circles[cause];
  std::vector<WaitEdge> last;
  for (const WaitEdge& edge : edges) {
    if (edge.to == cause) last.push_back(edge);
  }
  return strongest(last);
}

void check(std::vector<WaitEdge> edges, std::mt19937& random) {
  const WaitEdge right = expected(edges);
  std::shuffle(edges.begin(), edges.end(), random);
  const auto found = find_holdup(edges);
  ASSERT_EQ(found.has_value(), right.to >= 0);
  if (!found) return;
  ASSERT_EQ(edges[*found].from, right.from);
  ASSERT_EQ(edges[*found].to, right.to);
}

// 13^4 graphs: each rank waits for nobody, or for one of the four (itself, too) in one of 3 ways.
TEST(WaitGraph, AllGraphsOfFourRanks) {
  constexpr int kRanks = 4;
  constexpr int kChoices = 1 + kRanks * static_cast<int>(kStages.size());
  std::mt19937 random(1);
  for (int graph = 0; graph < kChoices * kChoices * kChoices * kChoices; ++graph) {
    std::vector<WaitEdge> edges;
    for (int rank = 0, rest = graph; rank < kRanks; ++rank, rest /= kChoices) {
      const int choice = rest % kChoices - 1;
      edges.push_back(
          {rank, choice < 0 ? -1 : choice / 3,
           choice < 0 ? WaitStage::kNothing : kStages[static_cast<size_t>(choice % 3)]});
    }
    check(edges, random);
    if (HasFatalFailure()) FAIL() << "graph " << graph;
  }
}

TEST(WaitGraph, RandomGraphs) {
  for (unsigned seed = 0; seed < 500; ++seed) {
    std::mt19937 random(seed);
    const int num_ranks = 1 + static_cast<int>(random() % 60);
    const unsigned silent_in = 2 + random() % 20;  // one in so many ranks says nothing
    std::vector<WaitEdge> edges;
    for (int rank = 0; rank < num_ranks; ++rank) {
      const int to = static_cast<int>(random() % static_cast<unsigned>(num_ranks));
      edges.push_back({rank, random() % silent_in == 0 ? -1 : to, kStages[random() % 3],
                       random() % 2, random() % 3});
    }
    check(edges, random);
    if (HasFatalFailure()) FAIL() << "seed " << seed;
  }
}

// Bytes of chunk 3 are lost between 1 and 2; who waits for them holds up later chunks everywhere.
TEST(WaitGraph, TheEarliestChunkIsWhatHoldsARingUp) {
  for (int shift = 0; shift < 4; ++shift) {
    std::vector<WaitEdge> edges;
    for (int rank = 0; rank < 4; ++rank) {
      const int at = (rank + shift) % 4;
      const uint64_t chunk = rank == 2 ? 3 : 4 + static_cast<uint64_t>(rank);
      edges.push_back({at, (at + 3) % 4, WaitStage::kPartialSum, 7, chunk});
    }
    EXPECT_EQ(find_holdup(edges), 2u);
    edges[0].operation = 6;
    EXPECT_EQ(find_holdup(edges), 0u) << "an earlier operation, whatever its chunk";
  }
}

// Who waits for the circle, 0 here, is not what holds it up.
TEST(WaitGraph, ACircleIsToldByAWaitOfItsOwn) {
  const std::vector<WaitEdge> edges = {
      {0, 9, WaitStage::kCopyIn}, {7, 9, WaitStage::kFinalValue}, {9, 7, WaitStage::kPartialSum}};
  EXPECT_EQ(find_holdup(edges), 1u);
}

TEST(WaitGraph, WithoutAWaitThereIsNothing) {
  EXPECT_FALSE(find_holdup({}));
  const std::vector<WaitEdge> unknown = {{3, -1, WaitStage::kNothing}, {1, -1, WaitStage::kSum}};
  EXPECT_FALSE(find_holdup(unknown));
}

TEST(WaitGraph, ARankThatIsNamedTwiceCountsOnce) {
  const std::vector<WaitEdge> edges = {
      {0, 7, WaitStage::kSum}, {0, 8, WaitStage::kSum}, {0, 8, WaitStage::kSum}};
  EXPECT_EQ(find_holdup(edges), 0u);
}

// What each stage counts for in a circle of two.
TEST(WaitGraph, WhatARankDoesByItselfIsStrongerThanBytesAndBytesThanASum) {
  const std::vector<std::vector<WaitStage>> by_strength = {
      {WaitStage::kNothing, WaitStage::kSum},
      {WaitStage::kPartialSum, WaitStage::kFinalValue, WaitStage::kTaking},
      {WaitStage::kStarting, WaitStage::kAddingPart, WaitStage::kCopyIn, WaitStage::kCopyOut,
       WaitStage::kAdding, WaitStage::kGroupPart, WaitStage::kCarrying},
      {WaitStage::kStream}};
  for (size_t weak = 0; weak < by_strength.size(); ++weak) {
    for (size_t strong = weak; strong < by_strength.size(); ++strong) {
      for (WaitStage a : by_strength[weak]) {
        for (WaitStage b : by_strength[strong]) {
          const std::vector<WaitEdge> edges = {{0, 1, a}, {1, 0, b}};
          EXPECT_EQ(find_holdup(edges), weak == strong ? 0u : 1u)
              << static_cast<int>(a) << " and " << static_cast<int>(b);
        }
      }
    }
  }
}

}  // namespace
}  // namespace hfr_tests
