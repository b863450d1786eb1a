#include "tools/perf_device.hpp"

#include <gtest/gtest.h>

#include <cstring>

#include "tools/perf_join.hpp"
#include "tools/perf_values.hpp"

namespace hfr::tools {
namespace {

std::unique_ptr<PerfDevice> host() { return make_device(HFR_DEVICE_HOST, nullptr); }

// No bytes, less than a pattern, one pattern, just more than a piece (16 of them), many pieces.
TEST(PerfDevice, PatternsGoOnOverPieces) {
  const std::vector<std::byte> pattern = exact_input(HFR_FLOAT32, HFR_SUM, 0, 2);
  auto device = host();
  for (size_t count : {0u, 1u, 16'381u, 16u * 16'381 + 1, 1'500'007u}) {
    const size_t bytes = count * sizeof(float);
    auto* buffer = static_cast<std::byte*>(device->allocate(bytes + 1));
    buffer[bytes] = std::byte{7};
    fill(*device, buffer, bytes, pattern);
    EXPECT_EQ(buffer[bytes], std::byte{7}) << "nothing behind the buffer is touched";
    std::vector<std::byte> expected(bytes);
    tile(expected.data(), bytes, pattern);
    EXPECT_TRUE(bytes == 0 || std::memcmp(buffer, expected.data(), bytes) == 0);
    EXPECT_EQ(count_wrong_on(*device, buffer, bytes, HFR_FLOAT32, HFR_SUM, pattern), 0u);
    if (count > 0) {
      buffer[0] ^= std::byte{1};
      buffer[bytes - 1] ^= std::byte{1};
      EXPECT_EQ(count_wrong_on(*device, buffer, bytes, HFR_FLOAT32, HFR_SUM, pattern),
                count == 1 ? 1u : 2u);
    }
    device->free(buffer);
  }
}

TEST(PerfDevice, HostStreamsAreNotCaptured) {
  EXPECT_THROW(host()->capture([] {}), PerfError);
}

}  // namespace
}  // namespace hfr::tools
