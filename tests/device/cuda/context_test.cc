// Streams of other devices, with a driver that is made up.
#include "device/cuda/context.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "made_up_driver.hpp"

namespace hfr {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// Stream 0x10 * n is of context n; 0x1 and 0x2 are the driver's own.
CUstream stream_of(uintptr_t n) { return reinterpret_cast<CUstream>(0x10 * n); }

Driver with_streams() {
  Driver driver = made_up_driver();
  driver.cuStreamGetCtx = [](CUstream stream, CUcontext* of) {
    const auto handle = reinterpret_cast<uintptr_t>(stream);
    if (handle >= 0x100) return CUDA_ERROR_INVALID_HANDLE;
    if (handle < 0x10 && current_contexts().empty()) return CUDA_ERROR_INVALID_CONTEXT;
    *of = handle < 0x10 ? current_contexts().back() : made_up_context(handle / 0x10);
    return CUDA_SUCCESS;
  };
  return driver;
}

class StreamsOf : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = CudaContext::open(driver_, made_up_context(1), 0);
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    mine_ = *opened;
    ASSERT_TRUE(current_contexts().empty());
  }
  void TearDown() override { current_contexts().clear(); }

  const Driver driver_ = with_streams();
  std::shared_ptr<CudaContext> mine_;
};

TEST_F(StreamsOf, ItsDeviceAreTaken) {
  EXPECT_TRUE(mine_->check_stream(stream_of(1)).ok());
  EXPECT_TRUE(mine_->check_stream(stream_of(3)).ok()) << "another context of the device";
  EXPECT_TRUE(mine_->check_stream(CU_STREAM_LEGACY).ok()) << "no context is current";
  current_contexts().push_back(made_up_context(1));
  EXPECT_TRUE(mine_->check_stream(CU_STREAM_PER_THREAD).ok());
  EXPECT_EQ(current_contexts().size(), 1u);
}

TEST_F(StreamsOf, AnotherDeviceAreRefused) {
  for (const bool drivers_own : {false, true}) {
    current_contexts().assign(1, made_up_context(2));
    const Status status = mine_->check_stream(drivers_own ? CU_STREAM_LEGACY : stream_of(2));
    EXPECT_EQ(status.code(), Code::kInvalidArgument);
    EXPECT_THAT(status.message(),
                AllOf(HasSubstr("the stream is on CUDA device 1"), HasSubstr("made on device 0")));
    EXPECT_EQ(current_contexts(), std::vector{made_up_context(2)}) << "the caller's own again";
  }
}

TEST_F(StreamsOf, NobodyAreRefused) {
  const Status status = mine_->check_stream(reinterpret_cast<CUstream>(0x100));
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("CUDA_ERROR_INVALID_HANDLE"));
}

}  // namespace
}  // namespace hfr
