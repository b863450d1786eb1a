#include "engine/trace.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hfr_tests {
namespace {

using hfr::CopyDescriptor;
using hfr::CopyDirection;
using hfr::Counter;
using hfr::Trace;
using hfr::TraceStage;
using testing::HasSubstr;
using testing::Not;

class ManualClock : public hfr::Clock {
 public:
  uint64_t now_ns() const override { return now; }
  uint64_t now = 0;
};

std::string text(const Trace& trace) { return trace.text(3, "rank 3", {"here", -5}); }

// Copies of one direction: copy n waits for gate >= n and signals n.
struct Copies {
  CopyDescriptor copy(uint64_t n) {
    CopyDescriptor result;
    result.bytes = 100 * n;
    result.wait = &gate;
    result.wait_value = n;
    result.signal = &signal;
    result.signal_value = n;
    return result;
  }
  Counter gate, signal;
};

TEST(Trace, ACopyBeginsWhenItMayGoAndTheOneBeforeHasEnded) {
  ManualClock clock;
  Trace trace(clock);
  Copies copies;
  auto look_at = [&](uint64_t now_us) {
    clock.now = now_us * 1000;
    trace.look();
  };
  for (uint64_t n = 1; n <= 4; ++n) trace.watch(CopyDirection::kIn, copies.copy(n));
  copies.gate.store(2);
  look_at(10);
  copies.signal.store(1);
  look_at(17);
  copies.signal.store(2);
  look_at(30);
  copies.gate.store(3);
  look_at(50);
  EXPECT_THAT(text(trace), Not(HasSubstr("\"chunk\":2"))) << "not yet";
  copies.signal.store(3);
  look_at(55);
  const std::string found = text(trace);
  // Chunks count from 0, counters from 1.
  EXPECT_THAT(
      found,
      HasSubstr(
          R"("name":"copy-in","pid":3,"tid":0,"ts":10.000,"dur":7.000,"args":{"chunk":0,"bytes":100}})"));
  EXPECT_THAT(found, HasSubstr(R"("ts":17.000,"dur":13.000,"args":{"chunk":1,"bytes":200}})"));
  EXPECT_THAT(found, HasSubstr(R"("ts":50.000,"dur":5.000,"args":{"chunk":2,"bytes":300}})"));
  EXPECT_THAT(found, Not(HasSubstr("\"chunk\":3"))) << "it may not go yet";
}

TEST(Trace, DirectionsAndAddsAreTold) {
  ManualClock clock;
  Trace trace(clock);
  Copies out;
  out.gate.store(1);
  out.signal.store(1);
  trace.watch(CopyDirection::kOut, out.copy(1));
  trace.look();
  trace.record(TraceStage::kAdd, 8, 64, 1000, 2500);
  EXPECT_THAT(text(trace), HasSubstr(R"("name":"copy-out","pid":3,"tid":1,)"));
  EXPECT_THAT(
      text(trace),
      HasSubstr(
          R"("name":"add","pid":3,"tid":5,"ts":1.000,"dur":1.500,"args":{"chunk":8,"bytes":64})"));
}

TEST(Trace, SaysWhatItsTimesAreToldBy) {
  ManualClock clock;
  EXPECT_THAT(
      text(Trace(clock)),
      HasSubstr(
          R"("name":"hfreduce_clock","pid":3,"args":{"machine":"here","to_realtime_ns":-5}})"));
}

TEST(Trace, KeepsTheLatest) {
  ManualClock clock;
  Trace trace(clock);
  for (uint64_t n = 0; n < Trace::kCapacity + 2; ++n) trace.record(TraceStage::kAdd, n, 1, 0, 0);
  const std::string found = text(trace);
  EXPECT_THAT(found, Not(HasSubstr(R"("chunk":1,)")));
  EXPECT_THAT(found, HasSubstr(R"("chunk":2,)"));
  EXPECT_THAT(found, HasSubstr("\"chunk\":" + std::to_string(Trace::kCapacity + 1) + ","));
}

}  // namespace
}  // namespace hfr_tests
