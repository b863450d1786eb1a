// Streams of other devices, with a driver that is made up.
#include "device/cuda/context.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

namespace hfr {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// Context n is of device (n - 1) mod 2. Stream 0x10 * n is of context n; 0x1 and 0x2 are the
// driver's own.
CUcontext context(uintptr_t n) { return reinterpret_cast<CUcontext>(n); }
CUstream stream_of(uintptr_t n) { return reinterpret_cast<CUstream>(0x10 * n); }

std::vector<CUcontext>& current() {
  static std::vector<CUcontext> stack;
  return stack;
}

Driver made_up() {
  Driver driver;
  driver.cuGetErrorName = [](CUresult, const char** name) {
    *name = "CUDA_ERROR_INVALID_HANDLE";
    return CUDA_SUCCESS;
  };
  driver.cuGetErrorString = [](CUresult, const char** text) {
    *text = "invalid resource handle";
    return CUDA_SUCCESS;
  };
  driver.cuThreadExchangeStreamCaptureMode = [](CUstreamCaptureMode*) { return CUDA_SUCCESS; };
  driver.cuCtxPushCurrent = [](CUcontext pushed) {
    current().push_back(pushed);
    return CUDA_SUCCESS;
  };
  driver.cuCtxPopCurrent = [](CUcontext* popped) {
    *popped = current().back();
    current().pop_back();
    return CUDA_SUCCESS;
  };
  driver.cuCtxGetDevice = [](CUdevice* device) {
    *device = static_cast<int>((reinterpret_cast<uintptr_t>(current().back()) - 1) % 2);
    return CUDA_SUCCESS;
  };
  driver.cuDeviceGetPCIBusId = [](char* id, int size, CUdevice) {
    std::strncpy(id, "0000:5e:00.0", static_cast<size_t>(size));
    return CUDA_SUCCESS;
  };
  driver.cuStreamGetCtx = [](CUstream stream, CUcontext* of) {
    const auto handle = reinterpret_cast<uintptr_t>(stream);
    if (handle >= 0x100) return CUDA_ERROR_INVALID_HANDLE;
    if (handle < 0x10 && current().empty()) return CUDA_ERROR_INVALID_CONTEXT;
    *of = handle < 0x10 ? current().back() : context(handle / 0x10);
    return CUDA_SUCCESS;
  };
  return driver;
}

class StreamsOf : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = CudaContext::open(driver_, context(1), 0);
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    mine_ = *opened;
    ASSERT_TRUE(current().empty());
  }
  void TearDown() override { current().clear(); }

  const Driver driver_ = made_up();
  std::shared_ptr<CudaContext> mine_;
};

TEST_F(StreamsOf, ItsDeviceAreTaken) {
  EXPECT_TRUE(mine_->check_stream(stream_of(1)).ok());
  EXPECT_TRUE(mine_->check_stream(stream_of(3)).ok()) << "another context of the device";
  EXPECT_TRUE(mine_->check_stream(CU_STREAM_LEGACY).ok()) << "no context is current";
  current().push_back(context(1));
  EXPECT_TRUE(mine_->check_stream(CU_STREAM_PER_THREAD).ok());
  EXPECT_EQ(current().size(), 1u);
}

TEST_F(StreamsOf, AnotherDeviceAreRefused) {
  for (const bool drivers_own : {false, true}) {
    current().assign(1, context(2));
    const Status status = mine_->check_stream(drivers_own ? CU_STREAM_LEGACY : stream_of(2));
    EXPECT_EQ(status.code(), Code::kInvalidArgument);
    EXPECT_THAT(status.message(),
                AllOf(HasSubstr("the stream is on CUDA device 1"), HasSubstr("made on device 0")));
    EXPECT_EQ(current(), std::vector{context(2)}) << "the caller's own again";
  }
}

TEST_F(StreamsOf, NobodyAreRefused) {
  const Status status = mine_->check_stream(reinterpret_cast<CUstream>(0x100));
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("CUDA_ERROR_INVALID_HANDLE"));
}

}  // namespace
}  // namespace hfr
