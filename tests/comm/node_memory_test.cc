#include "comm/node_memory.hpp"

#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "base/waiter.hpp"
#include "bootstrap/auth.hpp"

namespace hfr_tests {
namespace {

// The rank at the door died before this one came: whoever fetches blames it, and set-up first asks
// whether it is known to be gone, as with any connection that ends.
TEST(NodeMemory, ADoorWhoseRankIsGoneIsThatRanksFailure) {
  std::optional<hfr::MemoryDoor> door;
  {
    auto opened = hfr::MemoryDoor::open();
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    door.emplace(std::move(*opened));
  }
  const std::string name = door->name();
  door.reset();
  const hfr::SecretHandshake handshake(hfr::Secret::random(), "test", 8);
  auto memory =
      hfr::fetch_node_memory(name, 6, 4096, 4096, handshake, hfr::monotonic_ns() + 60'000'000'000);
  ASSERT_FALSE(memory.ok());
  EXPECT_EQ(memory.status().code(), hfr::Code::kRemoteError) << memory.status().message();
  EXPECT_NE(memory.status().message().find("rank 6"), std::string::npos)
      << memory.status().message();
}

}  // namespace
}  // namespace hfr_tests
