#include <gmock/gmock.h>

#include "transport/verbs/transport.hpp"

namespace hfr {
namespace {

bool allows(const std::string& hca, const std::string& device, int port = 1) {
  auto allowed = hca_allows(hca, device, port);
  EXPECT_TRUE(allowed.ok()) << allowed.status().message();
  return allowed.ok() && *allowed;
}

TEST(Hca, NothingAllowsAll) { EXPECT_TRUE(allows("", "mlx5_0")); }

TEST(Hca, NamesAreWhole) {
  EXPECT_TRUE(allows("mlx5_1", "mlx5_1"));
  EXPECT_FALSE(allows("mlx5_1", "mlx5_10"));
  EXPECT_FALSE(allows("mlx5_10", "mlx5_1"));
  EXPECT_TRUE(allows("mlx5_0,mlx5_3", "mlx5_3"));
  EXPECT_FALSE(allows("mlx5_0,mlx5_3", "mlx5_2"));
}

TEST(Hca, PortsNarrow) {
  EXPECT_TRUE(allows("mlx5_0:2", "mlx5_0", 2));
  EXPECT_FALSE(allows("mlx5_0:2", "mlx5_0", 1));
  EXPECT_TRUE(allows("mlx5_0", "mlx5_0", 2));
}

TEST(Hca, CaretExcludes) {
  EXPECT_FALSE(allows("^mlx5_0,mlx5_1:2", "mlx5_0"));
  EXPECT_FALSE(allows("^mlx5_0,mlx5_1:2", "mlx5_1", 2));
  EXPECT_TRUE(allows("^mlx5_0,mlx5_1:2", "mlx5_1", 1));
  EXPECT_TRUE(allows("^mlx5_0", "rxe0"));
}

TEST(Hca, NonsenseIsNamed) {
  for (const char* bad : {",", "mlx5_0,", "^", ":1", "mlx5_0:", "mlx5_0:x", "mlx5_0:0", "a:256"}) {
    auto allowed = hca_allows(bad, "mlx5_0", 1);
    ASSERT_FALSE(allowed.ok()) << bad;
    EXPECT_EQ(allowed.status().code(), Code::kInvalidArgument);
    EXPECT_THAT(allowed.status().message(),
                testing::HasSubstr("HFREDUCE_IB_HCA=" + std::string(bad)));
  }
}

}  // namespace
}  // namespace hfr
