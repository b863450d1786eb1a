#include "base/stalls.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace hfr_tests {
namespace {

using hfr::StallReport;
using hfr::WaitStage;

StallReport report(int reporter, int blamed, WaitStage stage = WaitStage::kSum) {
  return {{reporter, blamed, stage}, hfr::Status(hfr::Code::kTimeout, "late")};
}

TEST(Stalls, TheChainEndsAtWhoIsSilent) {
  const std::vector<StallReport> reports = {report(4, 2), report(0, 4), report(2, 7)};
  EXPECT_EQ(hfr::find_cause(reports).wait.to, 7);
  EXPECT_EQ(hfr::find_cause(reports).wait.from, 2);
  EXPECT_EQ(hfr::find_cause(std::vector{report(3, 1)}).wait.to, 1);
  EXPECT_EQ(hfr::find_cause(std::vector{report(5, 5)}).wait.to, 5);
}

// Whoever reports first.
TEST(Stalls, TheCopyIsWhatHoldsACircleUp) {
  std::vector<StallReport> reports = {report(0, 1), report(1, 2, WaitStage::kCopyIn), report(2, 0)};
  for (int first = 0; first < 3; ++first) {
    std::rotate(reports.begin(), reports.begin() + 1, reports.end());
    EXPECT_EQ(hfr::find_cause(reports).wait.to, 2);
    EXPECT_EQ(hfr::find_cause(reports).wait.from, 1);
  }
}

TEST(Stalls, OfSeveralChainsTheOneThatHoldsUpMost) {
  const std::vector<StallReport> reports = {report(5, 6), report(0, 3), report(1, 3), report(2, 1)};
  EXPECT_EQ(hfr::find_cause(reports).wait.to, 3);
}

TEST(Stalls, WhoDoesNotKnowIsTheEndOfAChain) {
  EXPECT_EQ(hfr::find_cause(std::vector{report(3, -1)}).wait.to, -1);
  EXPECT_EQ(hfr::find_cause(std::vector{report(3, -1), report(0, 3)}).wait.to, 3);
}

TEST(Stalls, ASilentRendezvousIsNamed) {
  const hfr::Failure mine = {hfr::Status(hfr::Code::kRemoteError, "lost rank 8"), 8};
  const hfr::Failure failure = hfr::unanswered(mine, 3);
  EXPECT_EQ(failure.rank, 3);
  EXPECT_EQ(failure.status.code(), hfr::Code::kRemoteError);
  EXPECT_EQ(failure.status.message(),
            "lost rank 8; rank 3, which hosts the rendezvous, does not answer either");
}

}  // namespace
}  // namespace hfr_tests
