// Mates hand their copies over together: in one order, by one thread, and only once all are there.
#include "comm/gpu_mates.hpp"

#include <gtest/gtest.h>

#include <latch>
#include <string>
#include <thread>

namespace hfr_tests {
namespace {

using hfr::CopyDirection;
using hfr::GpuMates;

// A device's side of which nothing but the order of copies matters.
class FakeSide : public hfr::UserSide {
 public:
  FakeSide(char name, std::string& log) : name_(name), log_(log) {}

  hfr::Status hand_over_chunk(CopyDirection direction, size_t idx) override {
    if (refuses) return hfr::Status(hfr::Code::kSystemError, "refused");
    EXPECT_TRUE(begun);
    const bool way_there = direction == CopyDirection::kIn;
    if (way_there || direction == CopyDirection::kOut) {
      log_ += way_there ? name_ : static_cast<char>(name_ - 'a' + 'A');
    } else if (grouped) {
      log_ += static_cast<char>('0' + static_cast<int>(direction));
    }
    chunks.push_back(idx);
    return hfr::Status();
  }
  bool refuses = false;
  bool grouped = false;
  std::vector<size_t> chunks;

  hfr::Status check_buffer(const void*, size_t) override { return hfr::Status(); }
  hfr::Status check_stream(void*) override { return hfr::Status(); }
  hfr::Result<void*> allocate(size_t) override { return nullptr; }
  hfr::Status free(void*) override { return hfr::Status(); }
  hfr::Status mark_input(void*, uint64_t) override { return hfr::Status(); }
  bool takes_early() const override { return true; }
  size_t most_early() const override { return 1; }
  bool can_enqueue(size_t) const override { return true; }
  void submit_early(CopyDirection, const hfr::CopyDescriptor&) override {}
  hfr::Status begin_hand_over(void*, uint64_t) override { return hfr::Status(); }
  hfr::Status end_hand_over(void*) override { return hfr::Status(); }
  hfr::Status begin_chunks() override {
    begun = true;
    return hfr::Status();
  }
  hfr::Status end_step(CopyDirection direction) override {
    const bool is_copied = direction == CopyDirection::kIn || direction == CopyDirection::kOut;
    if (name_ == 'a' && (grouped || is_copied)) log_ += '|';
    return hfr::Status();
  }
  bool begun = false;
  hfr::Bounce* take_bounce() override { return nullptr; }
  void free_bounce(hfr::Bounce*) override {}
  hfr::Status bounce_in(void*, hfr::Bounce&, const void*, void*, size_t) override {
    return hfr::Status();
  }
  hfr::Status bounce_out(void*, hfr::Bounce&, bool) override { return hfr::Status(); }
  hfr::Status bounce_go(hfr::Bounce&) override { return hfr::Status(); }
  hfr::Result<bool> bounce_came(hfr::Bounce&) override { return true; }
  bool bounce_left(hfr::Bounce&) override { return true; }
  bool input_ready(uint64_t) override { return true; }

 private:
  char name_;
  std::string& log_;
};

TEST(GpuMates, FindEachOtherByTheirKey) {
  const uint64_t one = GpuMates::new_key(), other = GpuMates::new_key();
  auto mates = GpuMates::join(one, 2);
  EXPECT_EQ(GpuMates::join(one, 2), mates);
  EXPECT_NE(GpuMates::join(other, 2), mates);
}

TEST(GpuMates, KnowWhoHasCalledAndHow) {
  GpuMates mates(2);
  mates.arrive(0, 4, true);
  EXPECT_FALSE(mates.all_arrived(4));
  mates.arrive(1, 3, true);
  EXPECT_FALSE(mates.all_arrived(4));
  EXPECT_TRUE(mates.all_arrived(3));
  mates.arrive(1, 4, false);
  EXPECT_TRUE(mates.all_arrived(4));
  EXPECT_FALSE(mates.all_in_streams(4));
  mates.arrive(0, 5, true);
  mates.arrive(1, 5, true);
  EXPECT_TRUE(mates.all_in_streams(5));
}

// The copy-out of a chunk before all copy-ins of the one a window later, whoever comes last.
TEST(GpuMates, OneOrderForAll) {
  constexpr size_t kMates = 3;
  constexpr int kRounds = 500;
  std::string log;  // written by one thread at a time, or the thread sanitizer says so
  GpuMates mates(kMates);
  std::vector<FakeSide> sides = {{'a', log}, {'b', log}, {'c', log}};
  for (size_t i = 0; i < kMates; ++i) mates.enter(i, &sides[i]);
  std::latch ready(kMates);
  std::vector<std::thread> threads;
  for (size_t me = 0; me < kMates; ++me) {
    threads.emplace_back([&, me] {
      ready.arrive_and_wait();
      for (int i = 0; i < kRounds; ++i) {
        mates.push(me, 3, 2);
        while (!mates.handed_over(me)) std::this_thread::yield();
        EXPECT_TRUE(mates.finish(me).ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::string want;
  for (int i = 0; i < kRounds; ++i) want += "abc|abc|ABC|abc|ABC|ABC|";
  EXPECT_EQ(log, want);
}

// Each step of a chunk by all ranks before the next one by any; what it waits for, the lane's
// previous chunk, before it.
TEST(GpuMates, StepsOfAGroup) {
  std::string log;
  FakeSide a('a', log), b('b', log);
  a.grouped = b.grouped = true;
  const std::array<hfr::UserSide*, 2> sides = {&a, &b};
  EXPECT_TRUE(hfr::hand_over_chunks(sides, 2, 1).ok());
  const std::string there = "22|33|ab|", back = "AB|44|";  // push, add, in; out, pull
  EXPECT_EQ(log, there + back + there + back);
  EXPECT_EQ(a.chunks, (std::vector<size_t>{0, 0, 0, 0, 0, 1, 1, 1, 1, 1}));
}

TEST(GpuMates, ARefusalReachesAll) {
  std::string log;
  GpuMates mates(2);
  std::vector<FakeSide> sides = {{'a', log}, {'b', log}};
  sides[1].refuses = true;
  for (size_t i = 0; i < 2; ++i) mates.enter(i, &sides[i]);
  mates.push(0, 1, 1);
  EXPECT_FALSE(mates.handed_over(0));
  mates.push(1, 1, 1);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_TRUE(mates.handed_over(i));
    EXPECT_EQ(mates.finish(i).message(), "refused");
  }
}

// Whoever gives up is not handed over by a mate that comes later, and must wait for one that has
// begun.
TEST(GpuMates, GivingUp) {
  std::string log;
  GpuMates mates(2);
  std::vector<FakeSide> sides = {{'a', log}, {'b', log}};
  for (size_t i = 0; i < 2; ++i) mates.enter(i, &sides[i]);
  for (size_t me : {0u, 1u}) mates.push(me, 1, 1);
  EXPECT_FALSE(mates.give_up(0)) << "all were there";
  log.clear();
  GpuMates again(2);
  for (size_t i = 0; i < 2; ++i) again.enter(i, &sides[i]);
  again.push(0, 1, 1);
  EXPECT_TRUE(again.give_up(0));
  again.push(1, 1, 1);
  EXPECT_FALSE(again.handed_over(1));
  EXPECT_TRUE(again.give_up(1));
  EXPECT_EQ(log, "");
}

}  // namespace
}  // namespace hfr_tests
