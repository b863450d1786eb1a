#include "base/stalls.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace hfr_tests {
namespace {

hfr::StallReport report(int reporter, int blamed) {
  return {reporter, blamed, hfr::Status(hfr::Code::kTimeout, "late")};
}

TEST(Stalls, TheChainEndsAtWhoIsSilent) {
  const std::vector<hfr::StallReport> reports = {report(4, 2), report(0, 4), report(2, 7)};
  EXPECT_EQ(hfr::find_cause(reports).blamed, 7);
  EXPECT_EQ(hfr::find_cause(reports).reporter, 2);
  EXPECT_EQ(hfr::find_cause(std::vector{report(3, 1)}).blamed, 1);
  EXPECT_EQ(hfr::find_cause(std::vector{report(3, -1)}).blamed, -1);
}

TEST(Stalls, ACircleEndsBeforeItCloses) {
  EXPECT_EQ(hfr::find_cause(std::vector{report(0, 1), report(1, 2), report(2, 1)}).reporter, 2);
  EXPECT_EQ(hfr::find_cause(std::vector{report(5, 5)}).blamed, 5);
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
