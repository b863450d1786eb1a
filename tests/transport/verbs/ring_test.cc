#include "transport/verbs/ring.hpp"

#include <gmock/gmock.h>

#include <random>
#include <vector>

namespace hfr::verbs {
namespace {

TEST(RequestId, ComesBackAsItWent) {
  std::mt19937_64 random(3);
  for (int i = 0; i < 10'000; ++i) {
    const RequestId id{static_cast<uint32_t>(random()), static_cast<uint16_t>(random()),
                       static_cast<uint16_t>(random() % RequestId::kEpochs), random() % 2 == 0};
    const RequestId back = RequestId::unpack(id.pack());
    ASSERT_EQ(back.count, id.count);
    ASSERT_EQ(back.connection_idx, id.connection_idx);
    ASSERT_EQ(back.epoch, id.epoch);
    ASSERT_EQ(back.receive, id.receive);
  }
}

TEST(Widen, CountsOverTheEdge) {
  EXPECT_EQ(widen(0, 0), 0u);
  EXPECT_EQ(widen(7, 7), 7u);
  EXPECT_EQ(widen(7, 9), 9u);
  EXPECT_EQ(widen(0xffff'fffe, 1), 0x1'0000'0001u);
  EXPECT_EQ(widen(0x5'ffff'ffff, 0), 0x6'0000'0000u);
}

TEST(SendQueue, AsksForACompletionOftenEnough) {
  SendQueue queue;
  uint32_t quiet = 0;
  for (int i = 0; i < 10'000; ++i) {
    const bool wanted = i % 37 == 0;
    const bool signaled = queue.post(wanted);
    EXPECT_TRUE(signaled || !wanted);
    quiet = signaled ? 0 : quiet + 1;
    ASSERT_LT(quiet, SendQueue::kSignalEvery);
    if (signaled) queue.complete(static_cast<uint32_t>(queue.posted()));
  }
}

// However it is used, a full queue empties: its last requests but a few asked for completions.
TEST(SendQueue, AFullQueueEmpties) {
  SendQueue queue;
  std::vector<uint32_t> asked;
  while (queue.has_room(1)) {
    if (queue.post(false)) asked.push_back(static_cast<uint32_t>(queue.posted()));
  }
  EXPECT_EQ(queue.posted(), SendQueue::kDepth);
  ASSERT_FALSE(asked.empty());
  for (uint32_t count : asked) queue.complete(count);
  EXPECT_LT(queue.posted() - queue.completed(), SendQueue::kSignalEvery);
  EXPECT_TRUE(queue.has_room(SendQueue::kDepth - SendQueue::kSignalEvery));
}

TEST(Slot, MessagesLieAtTheEnd) {
  std::vector<std::byte> memory(kSlotBytes + 64, std::byte{0xee});
  const Slot slot(memory.data());
  EXPECT_EQ(Slot::offset(0) + Slot::message_bytes(0), kSlotBytes);
  for (size_t bytes : {size_t{0}, size_t{1}, size_t{8}, size_t{13}, kMaxSmallBytes}) {
    EXPECT_EQ(Slot::offset(bytes) + Slot::message_bytes(bytes), kSlotBytes);
    EXPECT_LE(Slot::message_bytes(bytes), kSlotBytes);
    EXPECT_EQ(slot.payload(bytes), memory.data() + Slot::offset(bytes));
    Header header;
    header.bytes = bytes;
    header.landing = 5;
    std::memset(slot.payload(bytes), 0x55, bytes);
    slot.write(header, 100 + bytes);
    EXPECT_TRUE(slot.has(100 + bytes));
    EXPECT_FALSE(slot.has(101 + bytes));
    EXPECT_EQ(slot.header().landing, 5u);
    EXPECT_EQ(memory[kSlotBytes], std::byte{0xee});
  }
}

}  // namespace
}  // namespace hfr::verbs
