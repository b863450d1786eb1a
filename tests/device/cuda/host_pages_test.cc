#include "device/cuda/host_pages.hpp"

#include <gtest/gtest.h>

namespace hfr {
namespace {

const void* at(uintptr_t address) { return reinterpret_cast<const void*>(address); }

TEST(HostPages, KnowsWhatWasAddedAndNothingElse) {
  HostPages pages;
  EXPECT_FALSE(pages.contains(at(0x7f0000000000)));
  pages.add(at(0x7f0000000123));
  EXPECT_TRUE(pages.contains(at(0x7f0000000fff)));
  EXPECT_FALSE(pages.contains(at(0x7f0000001000)));
}

TEST(HostPages, BuffersAPowerOfTwoApartDoNotDriveEachOtherOut) {
  for (int shift = 12; shift < 40; ++shift) {
    HostPages pages;
    const uintptr_t first = 0x7f0000000000;
    for (size_t i = 0; i < HostPages::kCertain; ++i) pages.add(at(first + (i << shift)));
    for (size_t i = 0; i < HostPages::kCertain; ++i) {
      EXPECT_TRUE(pages.contains(at(first + (i << shift)))) << i << " << " << shift;
    }
  }
}

TEST(HostPages, KeepsMostOfManyBuffers) {
  HostPages pages;
  constexpr uintptr_t kBuffers = 128;
  for (uintptr_t i = 0; i < kBuffers; ++i) pages.add(at(0x7f0000000000 + (i << 21)));
  uintptr_t known = 0;
  for (uintptr_t i = 0; i < kBuffers; ++i) known += pages.contains(at(0x7f0000000000 + (i << 21)));
  EXPECT_GT(known, kBuffers * 3 / 4);
}

}  // namespace
}  // namespace hfr
