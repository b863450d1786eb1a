// GDRCopy's stand-in over memory of the process, which a made-up driver takes for a GPU's.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <vector>

#include "../../gpu/gdrapi_stand_in.hpp"
#include "device/cuda/context.hpp"
#include "device/cuda/gdr_copy.hpp"
#include "made_up_driver.hpp"

namespace hfr {

// Allocations as the driver knows them.
struct MadeUpMemory {
  struct Allocation {
    CUdeviceptr begin = 0;
    size_t bytes = 0;
    unsigned long long id = 0;
    bool legacy = true;
  };
  std::vector<Allocation> allocations;

  static MadeUpMemory& get() {
    static MadeUpMemory only;
    return only;
  }
};

inline CUresult look_up(unsigned count, CUpointer_attribute* names, void** values,
                        CUdeviceptr address) {
  const auto& all = MadeUpMemory::get().allocations;
  auto found = std::find_if(all.begin(), all.end(), [&](const MadeUpMemory::Allocation& a) {
    return a.begin <= address && address < a.begin + a.bytes;
  });
  const MadeUpMemory::Allocation a = found == all.end() ? MadeUpMemory::Allocation{} : *found;
  for (unsigned i = 0; i < count; ++i) {
    switch (names[i]) {
      case CU_POINTER_ATTRIBUTE_BUFFER_ID:
        *static_cast<unsigned long long*>(values[i]) = a.id;
        break;
      case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
        *static_cast<CUdeviceptr*>(values[i]) = a.begin;
        break;
      case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
        *static_cast<size_t*>(values[i]) = a.bytes;
        break;
      case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
        *static_cast<int*>(values[i]) = a.legacy ? 1 : 0;
        break;
      default:
        return CUDA_ERROR_INVALID_VALUE;
    }
  }
  return CUDA_SUCCESS;
}

class WithGdrCopy : public testing::Test {
 protected:
  void SetUp() override {
    auto loaded = GdrCopy::load(HFR_GDR_STAND_IN);
    ASSERT_TRUE(loaded.ok()) << loaded.status().message();
    gdr_ = std::move(*loaded);
    stand_in_ = hfr_tests::GdrStandIn::of(HFR_GDR_STAND_IN);
    ASSERT_NE(stand_in_, nullptr);
    stand_in_->host_memory = true;
    MadeUpMemory::get().allocations.clear();
  }
  // Nothing stays behind.
  void TearDown() override {
    gdr_ = nullptr;
    EXPECT_EQ(stand_in_->mapped, 0);
    EXPECT_EQ(stand_in_->pinned, 0);
    EXPECT_EQ(stand_in_->sessions, 0);
    for (auto* flag : {&stand_in_->persistent, &stand_in_->cannot_tell, &stand_in_->no_module,
                       &stand_in_->refuses_pins, &stand_in_->refuses_maps,
                       &stand_in_->refuses_copies, &stand_in_->breaks_bytes})
      *flag = false;
    stand_in_->slow_from = 0;
    stand_in_->pins = stand_in_->reads = stand_in_->writes = 0;
  }

  // With other settings of the stand-in.
  void load_again() {
    gdr_ = nullptr;
    auto loaded = GdrCopy::load(HFR_GDR_STAND_IN);
    ASSERT_TRUE(loaded.ok()) << loaded.status().message();
    gdr_ = std::move(*loaded);
  }

  std::unique_ptr<GdrCopy> gdr_;
  hfr_tests::GdrStandIn* stand_in_ = nullptr;
};

// Memory that begins with a GPU's page.
class Pages {
 public:
  explicit Pages(size_t bytes)
      : data_(static_cast<std::byte*>(std::aligned_alloc(kGpuPageBytes, bytes))) {
    std::fill_n(data_, bytes, std::byte{0});
  }
  ~Pages() { std::free(data_); }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  std::byte* data() const { return data_; }
  CUdeviceptr address() const { return reinterpret_cast<CUdeviceptr>(data_); }

 private:
  std::byte* data_;
};

}  // namespace hfr
