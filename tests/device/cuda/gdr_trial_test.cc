// GDRCopy's trial: what is broken is not used, and what is slower only where it is not.
#include "device/cuda/gdr_trial.hpp"

#include <gmock/gmock.h>

#include "made_up_engine.hpp"

namespace hfr {
namespace {

using testing::HasSubstr;

class GdrTrialOf : public WithEngine {
 protected:
  Result<GdrLimits> run(std::optional<size_t> limit, size_t bytes = kGpuPageBytes) {
    GdrMappings none(*context_);
    Bounces bounces(*context_, true, none);
    EXPECT_TRUE(bounces.open(bytes).ok());
    GdrTrial trial(*context_, *gdr_, bounces);
    Result<GdrLimits> limits = trial.run(limit);
    trial.free();
    bounces.free();
    return limits;
  }
};

TEST_F(GdrTrialOf, ALimitThatIsGivenIsKept) {
  const auto limits = run(12'345);
  ASSERT_TRUE(limits.ok()) << limits.status().message();
  EXPECT_EQ(limits->read, 12'345);
  EXPECT_EQ(limits->write, 12'345);
  const auto small = run(12'345, 4096);
  ASSERT_TRUE(small.ok()) << small.status().message();
  EXPECT_EQ(small->read, 4096);
  EXPECT_EQ(small->write, 4096);
  EXPECT_GT(stand_in_->reads, 10);
  EXPECT_GT(stand_in_->writes, 10);
}

// Not even a byte fits the pattern of other places.
TEST_F(GdrTrialOf, WhereSmallMessagesAreTiny) {
  const auto limits = run(std::nullopt, 1);
  ASSERT_TRUE(limits.ok()) << limits.status().message();
  EXPECT_LE(limits->read, 1);
}

TEST_F(GdrTrialOf, UpToWhereTheEngineIsFaster) {
  MadeUpEngine::get().takes_us = 1'000;
  stand_in_->slow_from = 1025;
  const auto limits = run(std::nullopt);
  ASSERT_TRUE(limits.ok()) << limits.status().message();
  EXPECT_EQ(limits->read, 1024);
  EXPECT_EQ(limits->write, 1024);
}

TEST_F(GdrTrialOf, AllOrNothing) {
  MadeUpEngine::get().takes_us = 1'000;
  auto limits = run(std::nullopt, 10'000);
  ASSERT_TRUE(limits.ok()) << limits.status().message();
  EXPECT_EQ(limits->read, 10'000);
  EXPECT_EQ(limits->write, 10'000);
  stand_in_->slow_from = 1;
  limits = run(std::nullopt, 10'000);
  ASSERT_TRUE(limits.ok()) << limits.status().message();
  EXPECT_EQ(limits->read, 0);
  EXPECT_EQ(limits->write, 0);
}

TEST_F(GdrTrialOf, WhatIsBrokenIsFound) {
  stand_in_->breaks_bytes = true;
  EXPECT_THAT(run(std::nullopt).status().message(), HasSubstr("other bytes"));
}

TEST_F(GdrTrialOf, WhatIsRefusedIsTold) {
  stand_in_->refuses_copies = true;
  EXPECT_THAT(run(std::nullopt).status().message(), HasSubstr("refused"));
  stand_in_->refuses_copies = false;
  stand_in_->refuses_pins = true;
  EXPECT_THAT(run(std::nullopt).status().message(), HasSubstr("gdr_pin_buffer"));
}

TEST_F(GdrTrialOf, ABusyEngineEndsIt) {
  MadeUpEngine::get().stuck = true;
  const auto limits = run(std::nullopt);
  ASSERT_FALSE(limits.ok());
  EXPECT_EQ(limits.status().code(), Code::kTimeout);
}

}  // namespace
}  // namespace hfr
