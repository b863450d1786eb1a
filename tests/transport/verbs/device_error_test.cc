#include "transport/verbs/device_error.hpp"

#include <gmock/gmock.h>

#include <cerrno>

namespace hfr::verbs {
namespace {

using testing::AllOf;
using testing::HasSubstr;

VerbsRail some_rail() {
  VerbsRail rail;
  rail.device = "mlx5_3";
  rail.port = 2;
  return rail;
}

TEST(DeviceError, SaysWhatOnWhichRailAndWhatToTry) {
  struct Case {
    int error;
    const char* advice;
  };
  for (const Case& c :
       {Case{ENOMEM, "ulimit -l"}, Case{ENOMEM, "HFREDUCE_IB_QPS"}, Case{EINVAL, "ibv_devinfo -v"},
        Case{EACCES, "/dev/infiniband/uverbs"}, Case{EMFILE, "ulimit -n"},
        Case{EHOSTUNREACH, "ip route"}, Case{EIO, "HFREDUCE_IB_HCA"}}) {
    const Status status = device_error("making a queue pair", some_rail(), c.error);
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(status.message(),
                AllOf(HasSubstr("mlx5_3 port 2: making a queue pair"), HasSubstr(c.advice)));
  }
}

TEST(DeviceError, KeepsWhatCannotBeHadApart) {
  EXPECT_EQ(device_error("x", some_rail(), ENOMEM).code(), Code::kOutOfMemory);
  EXPECT_EQ(device_error("x", some_rail(), EINVAL).code(), Code::kSystemError);
}

}  // namespace
}  // namespace hfr::verbs
