// Which buffers are mapped, for how long, and that an address that was given out again is not taken
// for what it was.
#include "device/cuda/gdr_mappings.hpp"

#include <optional>

#include "made_up_engine.hpp"

namespace hfr {
namespace {

constexpr size_t kLimit = 4096;
constexpr size_t kLarge = size_t{4} << 20;  // more than is mapped whole
static_assert(kLarge > GdrMappings::kWhole);

class Mappings : public WithEngine {
 protected:
  void SetUp() override {
    WithEngine::SetUp();
    begin();
  }
  void TearDown() override {
    mappings_.reset();
    WithEngine::TearDown();
  }
  void begin() {
    mappings_.emplace(*context_);
    mappings_->use(*gdr_, {kLimit, kLimit});
  }

  void allocate(CUdeviceptr begin, size_t bytes, unsigned long long id, bool legacy = true) {
    MadeUpMemory::get().allocations.push_back({begin, bytes, id, legacy});
  }
  void free(unsigned long long id) {
    std::erase_if(MadeUpMemory::get().allocations, [&](const auto& a) { return a.id == id; });
  }
  // So many calls with that buffer.
  void see(CUdeviceptr buffer, size_t bytes, uint64_t times = 1, bool ours = false) {
    for (uint64_t i = 0; i < times; ++i) {
      CUpointer_attribute name = CU_POINTER_ATTRIBUTE_BUFFER_ID;
      unsigned long long id = 0;
      void* value = &id;
      ASSERT_EQ(look_up(1, &name, &value, buffer), CUDA_SUCCESS);
      mappings_->see(buffer, bytes, id, ours);
    }
  }
  void see_often(CUdeviceptr buffer, size_t bytes, bool ours = false) {
    see(buffer, bytes, GdrMappings::kUsesBefore, ours);
  }
  bool is_mapped(CUdeviceptr buffer, size_t bytes) {
    const void* ptr = reinterpret_cast<const void*>(buffer);
    const bool read = mappings_->reader(ptr, bytes) != nullptr;
    EXPECT_EQ(read, mappings_->writer(ptr, bytes) != nullptr);
    return read;
  }

  std::optional<GdrMappings> mappings_;
};

constexpr CUdeviceptr kAt = CUdeviceptr{1} << 40;

TEST_F(Mappings, WhatComesAFewTimesIsMapped) {
  allocate(kAt, kLarge, 1);
  see(kAt, 8, GdrMappings::kUsesBefore - 1);
  EXPECT_FALSE(is_mapped(kAt, 8));
  see(kAt, 8);
  EXPECT_TRUE(is_mapped(kAt, 8));
  see(kAt, 8, 10);
  EXPECT_EQ(stand_in_->pins, 1);
}

TEST_F(Mappings, LimitsAreOfEachDirection) {
  allocate(kAt, kLarge, 1);
  mappings_->use(*gdr_, {16, 64});
  see_often(kAt, 64);
  void* at = reinterpret_cast<void*>(kAt);
  EXPECT_NE(mappings_->reader(at, 16), nullptr);
  EXPECT_EQ(mappings_->reader(at, 17), nullptr);
  EXPECT_NE(mappings_->writer(at, 64), nullptr);
  EXPECT_EQ(mappings_->writer(at, 65), nullptr);
  EXPECT_TRUE(mappings_->takes(64));
  EXPECT_FALSE(mappings_->takes(65));
}

TEST_F(Mappings, NoneWithoutALibrary) {
  GdrMappings none(*context_);
  EXPECT_FALSE(none.takes(1));
  EXPECT_EQ(none.reader(this, 1), nullptr);
  EXPECT_EQ(none.writer(this, 1), nullptr);
}

// One mapping for all tensors of a small block; of a large allocation the pages around the buffer.
TEST_F(Mappings, SmallAllocationsAreMappedWholeAndOfLargeOnesPages) {
  allocate(kAt, GdrMappings::kWhole, 1);
  see_often(kAt + 512, 8);
  EXPECT_TRUE(is_mapped(kAt, 8));
  EXPECT_TRUE(is_mapped(kAt + GdrMappings::kWhole - 8, 8));
  EXPECT_FALSE(is_mapped(kAt + GdrMappings::kWhole - 4, 8));
  allocate(kAt + kLarge, kLarge, 2);
  see_often(kAt + kLarge + kGpuPageBytes + 512, 8);
  EXPECT_TRUE(is_mapped(kAt + kLarge + kGpuPageBytes, 8));
  EXPECT_TRUE(is_mapped(kAt + kLarge + 2 * kGpuPageBytes - 8, 8));
  EXPECT_FALSE(is_mapped(kAt + kLarge + 2 * kGpuPageBytes - 4, 8));
  EXPECT_FALSE(is_mapped(kAt + kLarge, 8));
  EXPECT_EQ(stand_in_->pins, 2);
}

// Across the end of what was mapped before, and larger ones at the same place.
TEST_F(Mappings, LargerBuffersTakeThePlaceOfSmaller) {
  allocate(kAt, kLarge, 1);
  see_often(kAt, 8);
  see_often(kAt + kGpuPageBytes - 4, 8);
  EXPECT_TRUE(is_mapped(kAt + kGpuPageBytes - 4, 8));
  EXPECT_TRUE(is_mapped(kAt, 8));
  EXPECT_EQ(stand_in_->mapped, 1);
}

TEST_F(Mappings, AnAddressThatWasGivenOutAgainIsMappedAgain) {
  allocate(kAt, kLarge, 1);
  see_often(kAt, 8);
  free(1);
  allocate(kAt, kLarge, 2);
  see(kAt, 8);
  EXPECT_FALSE(is_mapped(kAt, 8));
  EXPECT_EQ(stand_in_->mapped, 0);
  see_often(kAt, 8);
  EXPECT_TRUE(is_mapped(kAt, 8));
  // A smaller one in the middle of what the other one was.
  free(2);
  allocate(kAt + 256, 64, 3);
  see(kAt + 256, 8);
  EXPECT_FALSE(is_mapped(kAt, 8));
  EXPECT_EQ(stand_in_->pins, 2);
}

// Neighbours on one page are two allocations, each with a mapping of its own.
TEST_F(Mappings, NeighboursOnAPageAreNotTakenForEachOther) {
  allocate(kAt, 512, 1);
  allocate(kAt + 512, 512, 2);
  see_often(kAt, 8);
  see_often(kAt + 512, 8);
  EXPECT_TRUE(is_mapped(kAt, 8));
  EXPECT_TRUE(is_mapped(kAt + 512, 8));
  EXPECT_FALSE(is_mapped(kAt + 508, 8));
  free(1);
  allocate(kAt, 512, 3);
  see(kAt, 8);
  EXPECT_FALSE(is_mapped(kAt, 8));
  EXPECT_TRUE(is_mapped(kAt + 512, 8));
}

// Other pages may come to lie at such an address, under the same id.
TEST_F(Mappings, OnlyWhatCuMemAllocReturned) {
  allocate(kAt, 512, 1, false);
  see(kAt, 8, 100);
  EXPECT_FALSE(is_mapped(kAt, 8));
  EXPECT_EQ(stand_in_->pins, 0);
}

// Where a mapping keeps memory that was freed: little of it, or what hfr_mem_free will give up.
TEST_F(Mappings, LargeAllocationsOfOthersAreNotKept) {
  stand_in_->persistent = true;
  mappings_.reset();
  load_again();
  begin();
  allocate(kAt, kLarge, 1);
  allocate(kAt + kLarge, kLarge, 2);
  allocate(kAt + 2 * kLarge, GdrMappings::kWhole, 3);
  see_often(kAt, 8);
  see_often(kAt + kLarge, 8, true);
  see_often(kAt + 2 * kLarge, 8);
  EXPECT_FALSE(is_mapped(kAt, 8));
  EXPECT_TRUE(is_mapped(kAt + kLarge, 8));
  EXPECT_TRUE(is_mapped(kAt + 2 * kLarge, 8));
  mappings_->forget(kAt + kLarge, kLarge);
  EXPECT_FALSE(is_mapped(kAt + kLarge, 8));
  EXPECT_EQ(stand_in_->mapped, 1);
}

TEST_F(Mappings, WhatWasFreedIsGivenUpWithTheNextMapping) {
  for (unsigned long long id = 1; id <= 3; ++id) {
    allocate(kAt + id * kLarge, kLarge, id);
    see_often(kAt + id * kLarge, 8);
  }
  EXPECT_EQ(stand_in_->mapped, 3);
  free(1);
  free(2);
  allocate(kAt, kLarge, 4);
  see_often(kAt, 8);
  EXPECT_EQ(stand_in_->mapped, 2);
}

// Buffers in turn, more than are mapped: those that are stay, until they have not come for long.
TEST_F(Mappings, WhatIsInUseStays) {
  constexpr size_t kNum = 3 * GdrMappings::kMost;
  auto buffer = [](size_t i) { return kAt + i * kGpuPageBytes; };
  allocate(kAt, kNum * kGpuPageBytes, 1);
  for (size_t i = 0; i < GdrMappings::kMost; ++i) see_often(buffer(i), 8);
  for (size_t round = 0; round < 2 * GdrMappings::kUsesBefore; ++round) {
    for (size_t i = 0; i < GdrMappings::kMost; ++i) see(buffer(i), 8);
    for (size_t i = GdrMappings::kMost; i < kNum; ++i) see(buffer(i), 8, 2);
  }
  for (size_t i = 0; i < kNum; ++i) EXPECT_EQ(is_mapped(buffer(i), 8), i < GdrMappings::kMost) << i;
  EXPECT_EQ(stand_in_->pins, static_cast<int>(GdrMappings::kMost));
  // The first ones no more, and one of the others from then on.
  see(buffer(GdrMappings::kMost - 1), 8, GdrMappings::kUsesWithout);
  see_often(buffer(kNum - 1), 8);
  EXPECT_TRUE(is_mapped(buffer(kNum - 1), 8));
  EXPECT_TRUE(is_mapped(buffer(GdrMappings::kMost - 1), 8));
  EXPECT_FALSE(is_mapped(buffer(0), 8));
  EXPECT_EQ(stand_in_->mapped, static_cast<int>(GdrMappings::kMost));
}

// All places are in use by what was freed: that makes room, though none of it has been unused for
// long.
TEST_F(Mappings, WhatWasFreedMakesRoom) {
  for (unsigned long long id = 1; id <= GdrMappings::kMost; ++id) {
    allocate(kAt + id * kLarge, kLarge, id);
    see_often(kAt + id * kLarge, 8);
  }
  EXPECT_EQ(stand_in_->mapped, static_cast<int>(GdrMappings::kMost));
  for (unsigned long long id = 1; id <= GdrMappings::kMost; ++id) free(id);
  allocate(kAt, kLarge, 1000);
  see(kAt, 8, 2 * GdrMappings::kMost);
  EXPECT_TRUE(is_mapped(kAt, 8));
  EXPECT_EQ(stand_in_->mapped, 1);
}

TEST_F(Mappings, WhatIsRefusedIsNotAskedForAgain) {
  allocate(kAt, kLarge, 1);
  stand_in_->refuses_pins = true;
  see_often(kAt, 8);
  stand_in_->refuses_pins = false;
  see(kAt, 8, 100);
  EXPECT_FALSE(is_mapped(kAt, 8));
  EXPECT_EQ(stand_in_->pins, 0);
}

// An operation that is still under way keeps what it uses.
TEST_F(Mappings, WhatIsForgottenStaysWithWhoUsesIt) {
  Pages memory(kGpuPageBytes);
  allocate(memory.address(), kGpuPageBytes, 1);
  see_often(memory.address(), 8);
  auto reader = mappings_->reader(memory.data(), 8);
  ASSERT_NE(reader, nullptr);
  mappings_->forget(memory.address(), kGpuPageBytes);
  EXPECT_EQ(stand_in_->mapped, 1);
  uint64_t value = 1;
  EXPECT_TRUE(reader->read(&value, memory.address(), sizeof(value)));
  EXPECT_EQ(value, 0);
  reader = nullptr;
  EXPECT_EQ(stand_in_->mapped, 0);
}

}  // namespace
}  // namespace hfr
