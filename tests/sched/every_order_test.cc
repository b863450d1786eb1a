// verify against every order: what verify accepts never goes wrong, mutated schedules included.
#include <gtest/gtest.h>

#include <random>

#include "explorer.hpp"
#include "mutants.hpp"
#include "sched/verify.hpp"

namespace hfr {
namespace {

constexpr size_t kMaxStates = 400'000;
constexpr size_t kGenerations = 4;

std::string first_fault(const std::vector<Schedule>& schedules) {
  Explorer explorer(std::vector<std::vector<Schedule>>(kGenerations, schedules), kMaxStates);
  return explorer.run();
}

struct Case {
  std::string name;
  std::vector<Schedule> schedules;
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
    Explorer explorer(std::vector<std::vector<Schedule>>(kGenerations, it.schedules), kMaxStates);
    EXPECT_EQ(explorer.run(), "") << it.name;
    EXPECT_TRUE(explorer.complete()) << it.name;
  }
}

TEST(EveryOrder, MixedTrainsNeverGoWrong) {
  for (int n = 2; n <= 3; ++n) {
    const Forest trees = double_binary_tree(n);
    const std::vector<std::vector<Schedule>> kinds = {
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

TEST(EveryOrder, VerifyRejectsEachMutantThatGoesWrong) {
  int faulty = 0;
  int harmless = 0;
  for (const Case& it : cases(3)) {
    for (const Mutant& mutant : all_mutants(it.schedules)) {
      const std::string fault = first_fault(mutant.schedules);
      const Status status = verify({mutant.schedules}, 1);
      faulty += fault.empty() ? 0 : 1;
      harmless += status.ok() ? 1 : 0;
      if (!status.ok() && fault.empty())
        printf("%s: %s\n    %s\n", it.name.c_str(), mutant.what.c_str(), status.message().c_str());
      if (status.ok()) printf("OK %s: %s\n", it.name.c_str(), mutant.what.c_str());
      EXPECT_TRUE(fault.empty() || !status.ok()) << it.name << ": " << mutant.what << ": " << fault;
    }
  }
  printf("%d %d\n", faulty, harmless);
  EXPECT_GT(faulty, 100);
  EXPECT_GT(harmless, 5);
}

}  // namespace
}  // namespace hfr
