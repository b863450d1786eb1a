// Small messages' ways: what stands in streams, and what the CPU copies through GDRCopy when.
#include "device/cuda/bounces.hpp"

#include <gtest/gtest.h>

#include <optional>

#include "made_up_engine.hpp"

namespace hfr {
namespace {

constexpr size_t kBytes = 1000;

class BouncesOf : public WithEngine {
 protected:
  void TearDown() override {
    if (bounces_) bounces_->free();
    bounces_.reset();
    mappings_.reset();
    WithEngine::TearDown();
  }
  // `limits`: of GDRCopy; both buffers are mapped.
  void open(const GdrLimits& limits, bool memory_operations = true) {
    mappings_.emplace(*context_);
    if (limits.read + limits.write > 0) mappings_->use(*gdr_, limits);
    bounces_.emplace(*context_, memory_operations, *mappings_);
    ASSERT_TRUE(bounces_->open(kBytes).ok());
    MadeUpMemory::get().allocations = {{send_.address(), kGpuPageBytes, 1, true},
                                       {recv_.address(), kGpuPageBytes, 2, true}};
    for (uint64_t i = 0; i < GdrMappings::kUsesBefore && mappings_->takes(kBytes); ++i) {
      mappings_->see(send_.address(), kBytes, 1, false);
      mappings_->see(recv_.address(), kBytes, 2, false);
    }
    std::fill_n(send_.data(), kBytes, std::byte{7});
    calls_since();
  }
  Bounce& take() {
    Bounce* bounce = bounces_->take();
    EXPECT_NE(bounce, nullptr);
    bounces_->aim(*bounce, send_.data(), recv_.data(), kBytes);
    return *bounce;
  }
  // The engine adds: it makes eights of sevens.
  void add(Bounce& bounce) {
    for (size_t i = 0; i < kBytes; ++i) {
      ASSERT_EQ(bounce.data[i], std::byte{7});
      bounce.data[i] = std::byte{8};
    }
  }
  bool result_there() const {
    return std::all_of(recv_.data(), recv_.data() + kBytes,
                       [](std::byte b) { return b == std::byte{8}; });
  }

  Pages send_{kGpuPageBytes}, recv_{kGpuPageBytes};
  std::optional<GdrMappings> mappings_;
  std::optional<Bounces> bounces_;
  CUstream stream_ = reinterpret_cast<CUstream>(0x30);
};

TEST_F(BouncesOf, WithoutGdrCopyAllStandsInTheStream) {
  open({});
  Bounce& bounce = take();
  ASSERT_EQ(bounces_->copy_in(stream_, bounce), CUDA_SUCCESS);
  ASSERT_EQ(bounces_->copy_out(stream_, bounce, true), CUDA_SUCCESS);
  EXPECT_EQ(calls_since(), "in word wait out word ");
  EXPECT_TRUE(bounces_->any_gated());
  EXPECT_TRUE(bounces_->came(bounce));
  EXPECT_FALSE(bounces_->came(bounce));
  bounces_->let_go(bounce);
  EXPECT_EQ(bounce.out->go, 1);
  EXPECT_TRUE(bounces_->left(bounce));
  EXPECT_EQ(bounce.out->go, 0);
  bounces_->give_back(&bounce);
  EXPECT_FALSE(bounces_->any_gated());
  EXPECT_TRUE(bounces_->all_passed());
}

// Blocking: the driver is not called.
TEST_F(BouncesOf, TheCpuAloneCopiesForCallsThatWait) {
  open({kBytes, kBytes});
  Bounce& bounce = take();
  ASSERT_EQ(bounces_->copy_in(nullptr, bounce), CUDA_SUCCESS);
  EXPECT_TRUE(bounces_->came(bounce));
  EXPECT_FALSE(bounces_->came(bounce));
  add(bounce);
  ASSERT_EQ(bounces_->copy_out(nullptr, bounce, false), CUDA_SUCCESS);
  EXPECT_TRUE(result_there());
  EXPECT_TRUE(bounces_->left(bounce));
  EXPECT_FALSE(bounces_->left(bounce));
  bounces_->give_back(&bounce);
  EXPECT_EQ(calls_since(), "");
  EXPECT_EQ(stand_in_->reads, 2);  // the input, and that the result has come to the GPU
  EXPECT_EQ(stand_in_->writes, 1);
  EXPECT_TRUE(bounces_->all_passed());
}

// In a stream: the words alone, and the result is written before the stream is let go.
TEST_F(BouncesOf, WordsAloneStandInTheStream) {
  open({kBytes, kBytes});
  Bounce& bounce = take();
  ASSERT_EQ(bounces_->copy_in(stream_, bounce), CUDA_SUCCESS);
  EXPECT_EQ(calls_since(), "word ");
  EXPECT_EQ(stand_in_->reads, 0);
  ASSERT_EQ(bounces_->copy_out(stream_, bounce, true), CUDA_SUCCESS);
  EXPECT_EQ(calls_since(), "wait word ");
  ASSERT_TRUE(bounces_->came(bounce));
  add(bounce);
  EXPECT_FALSE(result_there());
  bounces_->let_go(bounce);
  EXPECT_TRUE(result_there());
  EXPECT_EQ(bounce.out->go, 1);
  EXPECT_TRUE(bounces_->left(bounce));
  bounces_->give_back(&bounce);
}

// The engine may be quicker than the caller.
TEST_F(BouncesOf, TheResultMayBeThereBeforeTheWaitIsHandedOver) {
  open({kBytes, kBytes});
  Bounce& bounce = take();
  ASSERT_EQ(bounces_->copy_in(stream_, bounce), CUDA_SUCCESS);
  ASSERT_TRUE(bounces_->came(bounce));
  add(bounce);
  bounces_->let_go(bounce);
  EXPECT_FALSE(bounces_->left(bounce));
  ASSERT_EQ(bounces_->copy_out(stream_, bounce, true), CUDA_SUCCESS);
  EXPECT_EQ(calls_since(), "word wait word ");
  EXPECT_TRUE(result_there());
  EXPECT_TRUE(bounces_->left(bounce));
  bounces_->give_back(&bounce);
}

// A wait flushes what the CPU wrote; where it cannot, and streams do not see it, the copy engine
// copies.
TEST_F(BouncesOf, StreamsSeeWhatTheCpuWrote) {
  MadeUpEngine::get().ordering = CU_GPU_DIRECT_RDMA_WRITES_ORDERING_NONE;
  for (bool flushes : {true, false}) {
    MadeUpEngine::get().flushes = flushes;
    open({kBytes, kBytes});
    Bounce& bounce = take();
    ASSERT_EQ(bounces_->copy_in(stream_, bounce), CUDA_SUCCESS);
    ASSERT_EQ(bounces_->copy_out(stream_, bounce, true), CUDA_SUCCESS);
    EXPECT_EQ(calls_since(), flushes ? "word flushing-wait word " : "word wait out word ");
    ASSERT_TRUE(bounces_->came(bounce));
    bounces_->let_go(bounce);
    EXPECT_TRUE(bounces_->left(bounce));
    bounces_->give_back(&bounce);
    // Calls that wait are not concerned.
    Bounce& late = take();
    ASSERT_EQ(bounces_->copy_in(nullptr, late), CUDA_SUCCESS);
    ASSERT_TRUE(bounces_->came(late));
    ASSERT_EQ(bounces_->copy_out(nullptr, late, false), CUDA_SUCCESS);
    EXPECT_EQ(calls_since(), "");
    EXPECT_TRUE(bounces_->left(late));
    bounces_->give_back(&late);
    bounces_->free();
    bounces_.reset();
    mappings_.reset();
  }
}

TEST_F(BouncesOf, OneDirectionAlone) {
  open({0, kBytes});
  Bounce& bounce = take();
  ASSERT_EQ(bounces_->copy_in(nullptr, bounce), CUDA_SUCCESS);
  ASSERT_TRUE(bounces_->came(bounce));
  add(bounce);
  ASSERT_EQ(bounces_->copy_out(nullptr, bounce, false), CUDA_SUCCESS);
  EXPECT_EQ(calls_since(), "in word ");
  EXPECT_TRUE(result_there());
  EXPECT_TRUE(bounces_->left(bounce));
  bounces_->give_back(&bounce);
}

// Ordered by events: the caller's stream tells by one, and nothing else stands in it.
TEST_F(BouncesOf, ByEvents) {
  open({kBytes, kBytes}, false);
  for (CUstream stream : {stream_, CUstream{nullptr}}) {
    Bounce& bounce = take();
    ASSERT_EQ(bounces_->copy_in(stream, bounce), CUDA_SUCCESS);
    EXPECT_EQ(calls_since(), stream != nullptr ? "event " : "");
    ASSERT_TRUE(bounces_->came(bounce));
    add(bounce);
    ASSERT_EQ(bounces_->copy_out(stream, bounce, false), CUDA_SUCCESS);
    EXPECT_EQ(calls_since(), "");
    EXPECT_TRUE(result_there());
    EXPECT_TRUE(bounces_->left(bounce));
    bounces_->give_back(&bounce);
  }
}

// After a failure streams are let go, and nothing is written.
TEST_F(BouncesOf, AFailureWritesNothing) {
  open({kBytes, kBytes});
  Bounce& bounce = take();
  ASSERT_EQ(bounces_->copy_in(stream_, bounce), CUDA_SUCCESS);
  ASSERT_EQ(bounces_->copy_out(stream_, bounce, true), CUDA_SUCCESS);
  bounces_->open_all();
  EXPECT_EQ(bounce.out->go, 1);
  EXPECT_TRUE(bounces_->all_passed());
  EXPECT_EQ(stand_in_->writes, 0);
}

TEST_F(BouncesOf, WhatIsRefusedIsTold) {
  open({kBytes, kBytes});
  Bounce& bounce = take();
  stand_in_->refuses_copies = true;
  ASSERT_EQ(bounces_->copy_in(nullptr, bounce), CUDA_SUCCESS);
  EXPECT_FALSE(bounces_->refused());
  EXPECT_TRUE(bounces_->came(bounce));
  EXPECT_TRUE(bounces_->refused());
}

// A stream is let go when everybody knows of the failure, and not before.
TEST_F(BouncesOf, ARefusedResultDoesNotLetTheStreamGo) {
  open({kBytes, kBytes});
  Bounce& bounce = take();
  ASSERT_EQ(bounces_->copy_in(stream_, bounce), CUDA_SUCCESS);
  ASSERT_EQ(bounces_->copy_out(stream_, bounce, true), CUDA_SUCCESS);
  ASSERT_TRUE(bounces_->came(bounce));
  stand_in_->refuses_copies = true;
  bounces_->let_go(bounce);
  EXPECT_TRUE(bounces_->refused());
  EXPECT_EQ(bounce.out->go, 0);
  bounces_->open_all();
  EXPECT_EQ(bounce.out->go, 1);
}

TEST_F(BouncesOf, OnesAreWhatADeadDeviceReadsAs) {
  open({kBytes, kBytes});
  for (size_t ones : {kBytes, kBytes - 1}) {
    std::fill_n(send_.data(), kBytes, std::byte{0});
    std::fill_n(send_.data(), ones, std::byte{0xff});
    Bounce& bounce = take();
    ASSERT_EQ(bounces_->copy_in(nullptr, bounce), CUDA_SUCCESS);
    ASSERT_TRUE(bounces_->came(bounce));
    EXPECT_EQ(bounces_->reads_as_dead(bounce), ones == kBytes);
    bounces_->give_back(&bounce);
  }
}

TEST_F(BouncesOf, AreTakenInTurnAndTheSpareOneNever) {
  open({});
  std::vector<Bounce*> taken;
  for (size_t i = 0; i < Bounces::kNum; ++i) taken.push_back(&take());
  EXPECT_EQ(bounces_->take(), nullptr);
  EXPECT_EQ(std::count(taken.begin(), taken.end(), &bounces_->spare()), 0);
  bounces_->give_back(taken[0]);
  EXPECT_EQ(bounces_->take(), taken[0]);
}

}  // namespace
}  // namespace hfr
