#include "device/cuda/driver.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hfr {
namespace {

using testing::HasSubstr;

TEST(CudaDriver, NoDriverIsASentence) {
  const Result<Driver> driver = load_driver("libhfreduce-no-such-driver.so.1");
  ASSERT_FALSE(driver.ok());
  EXPECT_EQ(driver.status().code(), Code::kUnsupported);
  EXPECT_THAT(driver.status().message(), HasSubstr("libhfreduce-no-such-driver.so.1"));
  EXPECT_THAT(driver.status().message(), HasSubstr("HFREDUCE_DEVICE=host"));
}

// The C library has none of the functions: as a driver that is too old lacks some.
TEST(CudaDriver, AnOldDriverIsASentence) {
  const Result<Driver> driver = load_driver("libc.so.6");
  ASSERT_FALSE(driver.ok());
  EXPECT_EQ(driver.status().code(), Code::kUnsupported);
  EXPECT_THAT(driver.status().message(), HasSubstr("cuInit"));
  EXPECT_THAT(driver.status().message(), HasSubstr("update"));
}

TEST(CudaDriver, LoadsOnceOrSaysWhyNot) {
  const Result<Driver>& driver = cuda_driver();
  EXPECT_EQ(&driver, &cuda_driver());
  if (!driver.ok()) {
    EXPECT_EQ(driver.status().code(), Code::kUnsupported);
    EXPECT_FALSE(driver.status().message().empty());
  }
}

}  // namespace
}  // namespace hfr
