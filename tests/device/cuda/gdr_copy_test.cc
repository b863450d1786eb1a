// GDRCopy's library and what is mapped through it, with a stand-in.
#include "device/cuda/gdr_copy.hpp"

#include <gmock/gmock.h>

#include "gdr_fixture.hpp"

namespace hfr {
namespace {

using testing::HasSubstr;

using Gdr = WithGdrCopy;

TEST_F(Gdr, NoLibraryIsASentence) {
  const auto none = GdrCopy::load("libhfreduce-no-such-library.so.2");
  ASSERT_FALSE(none.ok());
  EXPECT_EQ(none.status().code(), Code::kUnsupported);
  EXPECT_THAT(none.status().message(), HasSubstr("libhfreduce-no-such-library.so.2"));
}

// The C library has none of its functions.
TEST_F(Gdr, AnOldLibraryIsASentence) {
  const auto old = GdrCopy::load("libc.so.6");
  ASSERT_FALSE(old.ok());
  EXPECT_THAT(old.status().message(), HasSubstr("gdr_open"));
  EXPECT_THAT(old.status().message(), HasSubstr("update"));
}

TEST_F(Gdr, NoModuleIsASentence) {
  stand_in_->no_module = true;
  const auto none = GdrCopy::load(HFR_GDR_STAND_IN);
  ASSERT_FALSE(none.ok());
  EXPECT_THAT(none.status().message(), HasSubstr("/dev/gdrdrv"));
}

TEST_F(Gdr, SaysWhetherFreedMemoryIsKept) {
  EXPECT_FALSE(gdr_->keeps_freed_memory());
  stand_in_->persistent = true;
  load_again();
  EXPECT_TRUE(gdr_->keeps_freed_memory());
  stand_in_->persistent = false;
  stand_in_->cannot_tell = true;
  load_again();
  EXPECT_TRUE(gdr_->keeps_freed_memory());
}

// Anywhere in the pages, and nothing beside it is touched; unpinned at the end.
TEST_F(Gdr, ReadsAndWritesInsideOfPages) {
  Pages memory(3 * kGpuPageBytes);
  for (size_t i = 0; i < 3 * kGpuPageBytes; ++i) memory.data()[i] = static_cast<std::byte>(i % 251);
  const size_t from = kGpuPageBytes - 3;
  auto mapping = gdr_->map(memory.address() + from, 10);
  ASSERT_TRUE(mapping.ok()) << mapping.status().message();
  std::array<std::byte, 10> piece{};
  ASSERT_TRUE((*mapping)->read(piece.data(), memory.address() + from, piece.size()));
  for (size_t i = 0; i < piece.size(); ++i) EXPECT_EQ(piece[i], memory.data()[from + i]) << i;
  piece.fill(std::byte{0xee});
  ASSERT_TRUE((*mapping)->write(memory.address() + from, piece.data(), piece.size()));
  for (size_t i = 0; i < 3 * kGpuPageBytes; ++i) {
    const bool written = i >= from && i < from + piece.size();
    ASSERT_EQ(memory.data()[i], written ? std::byte{0xee} : static_cast<std::byte>(i % 251)) << i;
  }
  EXPECT_EQ(stand_in_->pinned, 1);
}

TEST_F(Gdr, WhatIsRefusedIsASentenceAndLeavesNothing) {
  Pages memory(kGpuPageBytes);
  stand_in_->refuses_pins = true;
  auto refused = gdr_->map(memory.address(), 100);
  ASSERT_FALSE(refused.ok());
  EXPECT_THAT(refused.status().message(), HasSubstr("gdr_pin_buffer of 64.0 KiB"));
  stand_in_->refuses_pins = false;
  stand_in_->refuses_maps = true;
  refused = gdr_->map(memory.address(), 100);
  ASSERT_FALSE(refused.ok());
  EXPECT_THAT(refused.status().message(), HasSubstr("gdr_map"));
  stand_in_->refuses_maps = false;
  auto mapping = gdr_->map(memory.address(), 100);
  ASSERT_TRUE(mapping.ok());
  stand_in_->refuses_copies = true;
  std::byte byte{};
  EXPECT_FALSE((*mapping)->read(&byte, memory.address(), 1));
  EXPECT_FALSE((*mapping)->write(memory.address(), &byte, 1));
}

}  // namespace
}  // namespace hfr
