// verify against every order: what verify accepts never goes wrong, mutated schedules included.
#include <gtest/gtest.h>

#include <random>
#include <utility>

#include "explorer.hpp"
#include "mutants.hpp"
#include "sched/verify.hpp"

namespace hfr {
namespace {

constexpr size_t kMaxStates = 400'000;
constexpr size_t kGenerations = 4;

std::string first_fault(const ScheduleSet& schedules) {
  Explorer explorer(std::vector<ScheduleSet>(kGenerations, schedules), kMaxStates);
  return explorer.run();
}

struct Case {
  std::string name;
  ScheduleSet schedules;
};

std::vector<Case> cases(int most_nodes) {
  std::vector<Case> list;
  for (int n = 1; n <= most_nodes; ++n) {
    const Forest trees = double_binary_tree(n);
    for (size_t i = 0; i < trees.size(); ++i) {
      list.push_back({cat("tree", i, "of", n), build_tree_all_reduce(trees[i])});
    }
    list.push_back({cat("path", n), build_tree_all_reduce(ring(n)[0])});
    list.push_back({cat("butterfly", n), build_butterfly_all_reduce(n)});
  }
  return list;
}

TEST(EveryOrder, TheBuildersSchedulesNeverGoWrong) {
  for (const Case& it : cases(4)) {
    Explorer explorer(std::vector<ScheduleSet>(kGenerations, it.schedules), kMaxStates);
    EXPECT_EQ(explorer.run(), "") << it.name;
    EXPECT_TRUE(explorer.complete()) << it.name;
  }
}

TEST(EveryOrder, MixedTrainsNeverGoWrong) {
  for (int n = 2; n <= 3; ++n) {
    const Forest trees = double_binary_tree(n);
    const std::vector<ScheduleSet> kinds = {
        build_tree_all_reduce(trees[0]), build_tree_all_reduce(trees[1]),
        build_tree_all_reduce(ring(n)[1]), build_butterfly_all_reduce(n)};
    for (size_t code = 0; code < 256; ++code) {
      Explorer explorer(
          {kinds[code % 4], kinds[code / 4 % 4], kinds[code / 16 % 4], kinds[code / 64]},
          kMaxStates);
      ASSERT_EQ(explorer.run(), "") << n << " nodes, code " << code;
      ASSERT_TRUE(explorer.complete());
    }
  }
}

// What verify refuses though no run goes wrong: a schedule that publishes never or twice, one that
// reads an arrival twice, and one that would blame the wrong node.
bool is_refused_by_form(const std::string& what) {
  return what.find("publish") != std::string::npos || what.starts_with("double") ||
         what.starts_with("from");
}

TEST(EveryOrder, VerifyRejectsTheMutantsThatGoWrongAndNoOthers) {
  int faulty = 0;
  int harmless = 0;
  for (const Case& it : cases(3)) {
    for (const Mutant& mutant : all_mutants(it.schedules)) {
      SCOPED_TRACE(it.name + ": " + mutant.what);
      const std::string fault = first_fault(mutant.schedules);
      const Status status = verify({mutant.schedules}, 1);
      if (fault.empty()) {
        EXPECT_TRUE(status.ok() || is_refused_by_form(mutant.what)) << status.message();
      } else {
        EXPECT_FALSE(status.ok()) << fault;
      }
      faulty += fault.empty() ? 0 : 1;
      harmless += status.ok() ? 1 : 0;
    }
  }
  EXPECT_GT(faulty, 500);
  EXPECT_GT(harmless, 30);
}

TEST(EveryOrder, VerifyRejectsDoubleMutantsThatGoWrong) {
  std::mt19937 random(7);
  auto pick = [&](const ScheduleSet& schedules) {
    std::vector<Mutant> mutants = all_mutants(schedules);
    return std::move(mutants[random() % mutants.size()]);
  };
  const std::vector<Case> all = cases(3);
  for (int i = 0; i < 1500; ++i) {
    const Case& it = all[random() % all.size()];
    const Mutant once = pick(it.schedules);
    const Mutant twice = pick(once.schedules);
    SCOPED_TRACE(it.name + ": " + once.what + ", " + twice.what);
    if (!verify({twice.schedules}, 1).ok()) continue;
    EXPECT_EQ(first_fault(twice.schedules), "");
  }
}

}  // namespace
}  // namespace hfr
