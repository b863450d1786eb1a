#include "topo/rails.hpp"

#include <gmock/gmock.h>

namespace hfr {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(OrderRails, OnlyTheNearest) {
  EXPECT_THAT(order_rails(std::vector{20, 10, 30, 10}, 0), ElementsAre(1, 3));
  EXPECT_THAT(order_rails(std::vector{10}, 5), ElementsAre(0));
  EXPECT_THAT(order_rails({}, 0), IsEmpty());
}

TEST(OrderRails, RanksBeginWithDifferentOnes) {
  const std::vector<int> equal(3, 10);
  EXPECT_THAT(order_rails(equal, 0), ElementsAre(0, 1, 2));
  EXPECT_THAT(order_rails(equal, 1), ElementsAre(1, 2, 0));
  EXPECT_THAT(order_rails(equal, 5), ElementsAre(2, 0, 1));
}

TEST(NumaDistances, OneForEach) {
  const std::vector<int> numa = {0, -1, 0};
  const std::vector<int> distances = numa_distances(numa);
  ASSERT_EQ(distances.size(), 3u);
  EXPECT_EQ(distances[0], distances[2]);
}

}  // namespace
}  // namespace hfr
