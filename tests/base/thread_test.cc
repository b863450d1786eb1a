#include "base/thread.hpp"

#include <gmock/gmock.h>

#include <cerrno>
#include <stdexcept>

namespace hfr {
namespace {

using testing::HasSubstr;

template <typename Exception>
Status status_of(const Exception& exception) {
  try {
    throw exception;
  } catch (...) {
    return status_of_exception();
  }
}

TEST(StatusOfException, OnlyAThreadThatCannotStartIsCalledThat) {
  const Status thread =
      status_of(std::system_error(EAGAIN, std::system_category(), "what std::thread says"));
  EXPECT_EQ(thread.code(), Code::kSystemError);
  EXPECT_THAT(thread.message(), HasSubstr("a thread cannot be started"));
  const Status other = status_of(std::system_error(ENOENT, std::system_category(), "reading it"));
  EXPECT_EQ(other.code(), Code::kInternalError);
  EXPECT_THAT(other.message(), HasSubstr("reading it"));
  EXPECT_EQ(status_of(std::bad_alloc()).code(), Code::kOutOfMemory);
  EXPECT_EQ(status_of(std::out_of_range("past the end")).message(), "past the end");
}

}  // namespace
}  // namespace hfr
