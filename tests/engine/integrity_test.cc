// A bit that flips at any stage of a chunk's way is found, and the failure says where.
#include <gmock/gmock.h>

#include <set>

#include "base/text.hpp"
#include "cluster.hpp"

namespace hfr_tests {
namespace {

using hfr::cat;
using hfr::Code;
using hfr::CopyDescriptor;
using hfr::CopyDirection;
using testing::AllOf;
using testing::HasSubstr;

constexpr size_t kChunk = size_t{32} << 10;  // 24 of them are no butterfly's message

void flip(void* memory, size_t bytes, size_t at) {
  static_cast<std::byte*>(memory)[at % bytes] ^=
      std::byte{static_cast<unsigned char>(1u << (at % 8))};
}

// What was flipped, for all wrappers of a test.
struct Flipped {
  bool done = false;
  uint64_t chunk = 0;
  int peer = -1;  // of an arrival
};

// Flips a bit of the idx-th copy in a direction: in the slot, once it is there or before it is
// read.
class FlippingDevice : public hfr::HostDevice {
 public:
  FlippingDevice(CopyDirection direction, size_t idx, Flipped& flipped)
      : direction_(direction), idx_(idx), flipped_(flipped) {}

  bool submit(CopyDirection direction, const CopyDescriptor& copy) override {
    if (!hfr::HostDevice::submit(direction, copy)) return false;
    if (direction == direction_ && num_seen_++ == idx_) copy_ = copy;
    return true;
  }
  bool poll() override {
    const bool mine = copy_.bytes > 0 && !flipped_.done;
    // On the way out only for this rank's turn: the others copy from the slot, too.
    const bool out = mine && direction_ == CopyDirection::kOut && copy_.may_go();
    if (out) flip_in(const_cast<void*>(copy_.src));
    const bool moved = hfr::HostDevice::poll();
    if (out) flip_in(const_cast<void*>(copy_.src));
    const bool copied = copy_.signal != nullptr && copy_.signal->load() >= copy_.signal_value;
    if (mine && direction_ == CopyDirection::kIn && copied) flip_in(copy_.dst);
    if (mine && (copied || corrupted() != nullptr)) flipped_ = {true, copy_.signal_value - 1, -1};
    return moved;
  }

 private:
  void flip_in(void* slot) { flip(slot, copy_.bytes, 12345 + idx_); }

  const CopyDirection direction_;
  const size_t idx_;
  Flipped& flipped_;
  size_t num_seen_ = 0;
  CopyDescriptor copy_;
};

// Flips a bit of the idx-th arrival.
class FlippingTransport : public ForwardingTransport {
 public:
  FlippingTransport(std::unique_ptr<hfr::Transport> inner, size_t idx, Flipped& flipped)
      : ForwardingTransport(std::move(inner)), idx_(idx), flipped_(flipped) {}

  void set_landing(uint32_t number, void* memory, size_t bytes) override {
    if (landings_.size() <= number) landings_.resize(number + 1);
    landings_[number] = {static_cast<std::byte*>(memory), bytes};
    ForwardingTransport::set_landing(number, memory, bytes);
  }
  size_t poll(std::span<hfr::TransportEvent> events) override {
    const size_t count = ForwardingTransport::poll(events);
    for (size_t i = 0; i < count; ++i) {
      const hfr::TransportEvent& event = events[i];
      if (event.kind != hfr::TransportEvent::Kind::kArrival || num_seen_++ != idx_) continue;
      flip(landings_[event.tag.landing].first, event.bytes, 999 + idx_);
      flipped_ = {true, event.tag.chunk, event.peer};
    }
    return count;
  }

 private:
  std::unique_ptr<hfr::Transport> inner_;
  const size_t idx_;
  Flipped& flipped_;
  std::vector<std::pair<std::byte*, size_t>> landings_;
  size_t num_seen_ = 0;
};

// Flips a bit of what the idx-th add stores beside the result slot: the owner's own result.
class FlippingPool : public hfr::InlinePool {
 public:
  FlippingPool(size_t idx, Flipped& flipped)
      : hfr::InlinePool(**hfr::select_kernel_table("")), idx_(idx), flipped_(flipped) {}
  // submit() comes here, too.
  void run(const hfr::ReduceDescriptor& work) override {
    hfr::InlinePool::run(work);
    spoil(work);
  }

 private:
  void spoil(const hfr::ReduceDescriptor& work) {
    void* own = work.streaming_dst != nullptr ? work.streaming_dst
                : work.num_dsts > 1           ? work.dsts[1]
                                              : nullptr;
    if (own == nullptr || flipped_.done || num_seen_++ != idx_) return;
    flip(own, work.count * sizeof(int64_t), 77);
    flipped_.done = true;
  }
  const size_t idx_;
  Flipped& flipped_;
  size_t num_seen_ = 0;
};

// One operation of 24 chunks; the rank that failed first, or -1.
int run_until_failure(EngineCluster& cluster) {
  Buffers buffers(cluster.num_ranks(), 24 * kChunk / sizeof(int64_t), false);
  for (int rank = 0; rank < cluster.num_ranks(); ++rank)
    EXPECT_TRUE(cluster[rank].submit(buffers.descriptor(rank)));
  for (int turns = 0; turns < 1'000'000 && !cluster.all_done(0); ++turns) {
    for (int rank = 0; rank < cluster.num_ranks(); ++rank) {
      cluster[rank].progress();
      if (cluster[rank].failed()) return rank;
    }
  }
  buffers.check();
  return -1;
}

std::string who(const EngineCluster& cluster, int rank) {
  return cat("rank ", rank, " (node ", cluster.shape(rank).node, ")");
}

void expect_told(EngineCluster& cluster, int at, const std::string& way, int from, int to,
                 const Flipped& flipped) {
  ASSERT_TRUE(flipped.done);
  ASSERT_GE(at, 0) << "nobody noticed";
  const hfr::Failure& failure = cluster[at].failure();
  EXPECT_EQ(failure.status.code(), Code::kCorrupted) << failure.status.message();
  EXPECT_EQ(failure.rank, from);
  EXPECT_THAT(failure.status.message(),
              AllOf(HasSubstr("operation #0"), HasSubstr(cat("chunk ", flipped.chunk, " of 24 ")),
                    HasSubstr(cat("changed in ", way, " from ", who(cluster, from), " to ",
                                  who(cluster, to), ": their checksum was "))));
}

// Each rank's copies in `direction`, the first and later ones.
void flip_copies(CopyDirection direction) {
  for (const auto& nodes : {std::vector<int>{3}, {2, 2}}) {
    for (int rank = 0; rank < 3; ++rank) {
      for (size_t idx : {0, 1, 7}) {
        Flipped flipped;
        EngineCluster cluster(
            {.ranks_per_node = nodes,
             .chunk_bytes = kChunk,
             .check = true,
             .device_of = [&](int r, const hfr::Clock&) -> std::unique_ptr<hfr::Device> {
               if (r != rank) return nullptr;
               return std::make_unique<FlippingDevice>(direction, idx, flipped);
             }});
        const int at = run_until_failure(cluster);
        const auto window = static_cast<uint64_t>(cluster.context(0).staging.shape().window);
        const int owner = cluster.shape(rank).owner(cluster.shape(rank).node,
                                                    static_cast<int>(flipped.chunk % window));
        if (direction == CopyDirection::kIn) {
          expect_told(cluster, at, "copy-in", rank, owner, flipped);
        } else {
          expect_told(cluster, at, "copy-out", owner, rank, flipped);
        }
      }
    }
  }
}

TEST(Integrity, CopyIn) { flip_copies(CopyDirection::kIn); }
TEST(Integrity, CopyOut) { flip_copies(CopyDirection::kOut); }

TEST(Integrity, BetweenNodes) {
  for (const auto& nodes : {std::vector<int>{1, 1}, {2, 2}, {1, 1, 1}, {1, 1, 1, 1, 1}}) {
    for (const char* forest : {"tree", "ring"}) {
      for (int rank = 0; rank < 2; ++rank) {
        std::set<std::string> ways;
        for (size_t idx = 0; idx < 10; ++idx) {
          Flipped flipped;
          EngineCluster cluster(
              {.ranks_per_node = nodes,
               .chunk_bytes = kChunk,
               .forest = forest,
               .check = true,
               .wrap_transport =
                   [&](int r, const hfr::Clock&,
                       std::unique_ptr<hfr::Transport> inner) -> std::unique_ptr<hfr::Transport> {
                 if (r != rank) return inner;
                 return std::make_unique<FlippingTransport>(std::move(inner), idx, flipped);
               }});
          const int at = run_until_failure(cluster);
          if (!flipped.done) break;  // nothing more arrives there
          ASSERT_EQ(at, rank);
          const std::string told = cluster[at].failure().status.message();
          const bool final_value = told.find("the final value") != std::string::npos;
          expect_told(cluster, at,
                      final_value ? "sending the final value" : "sending the partial sum",
                      flipped.peer, rank, flipped);
          ways.insert(final_value ? "final" : "partial");
        }
        EXPECT_FALSE(ways.empty());
      }
    }
  }
}

TEST(Integrity, TheButterfly) {
  for (size_t idx : {0, 1}) {
    Flipped flipped;
    EngineCluster cluster(
        {.ranks_per_node = {1, 1, 1, 1},
         .check = true,
         .wrap_transport = [&](int r, const hfr::Clock&, std::unique_ptr<hfr::Transport> inner)
             -> std::unique_ptr<hfr::Transport> {
           if (r != 2) return inner;
           return std::make_unique<FlippingTransport>(std::move(inner), idx, flipped);
         }});
    Buffers buffers(4, 100, false);
    for (int rank = 0; rank < 4; ++rank) cluster[rank].submit(buffers.descriptor(rank));
    for (int turns = 0; turns < 100'000 && !cluster[2].failed(); ++turns) cluster.turn();
    ASSERT_TRUE(flipped.done);
    ASSERT_TRUE(cluster[2].failed());
    EXPECT_EQ(cluster[2].failure().status.code(), Code::kCorrupted);
    EXPECT_THAT(cluster[2].failure().status.message(),
                HasSubstr(cat("changed in sending the partial sum from ",
                              who(cluster, flipped.peer), " to rank 2 (node 2)")));
  }
}

TEST(Integrity, TheOwnersResult) {
  for (size_t streaming_bytes : {size_t{0}, size_t{1}}) {
    Flipped flipped;
    EngineCluster cluster(
        {.ranks_per_node = {2},
         .chunk_bytes = kChunk,
         .streaming_bytes = streaming_bytes,
         .check = true,
         .rank_with_pool = 1,
         .make_pool = [&] { return std::make_unique<FlippingPool>(3, flipped); }});
    const int at = run_until_failure(cluster);
    ASSERT_TRUE(flipped.done);
    ASSERT_EQ(at, 1);
    EXPECT_EQ(cluster[at].failure().status.code(), Code::kCorrupted);
    EXPECT_THAT(cluster[at].failure().status.message(),
                HasSubstr("storing the owner's result from rank 1 (node 0) to rank 1 (node 0)"));
  }
}

// Whoever waits for the rank that noticed hears what it did.
TEST(Integrity, TheNodesOtherRanksSayTheSame) {
  Flipped flipped;
  EngineCluster cluster(
      {.ranks_per_node = {3},
       .chunk_bytes = kChunk,
       .check = true,
       .device_of = [&](int r, const hfr::Clock&) -> std::unique_ptr<hfr::Device> {
         if (r != 0) return nullptr;
         return std::make_unique<FlippingDevice>(CopyDirection::kIn, 0, flipped);
       }});
  const int at = run_until_failure(cluster);
  ASSERT_GE(at, 0);
  for (int rank = 0; rank < 3; ++rank) {
    for (int turns = 0; turns < 10; ++turns) cluster[rank].progress();
    ASSERT_TRUE(cluster[rank].failed());
    EXPECT_EQ(cluster[rank].failure().status.message(), cluster[at].failure().status.message());
    EXPECT_EQ(cluster[rank].failure().status.code(), Code::kCorrupted);
  }
}

// Without the check the same flip goes unnoticed: the tests above would fail for want of it.
TEST(Integrity, NobodyLooksUnlessAsked) {
  Flipped flipped;
  EngineCluster cluster(
      {.ranks_per_node = {3},
       .chunk_bytes = kChunk,
       .direct = false,
       .device_of = [&](int r, const hfr::Clock&) -> std::unique_ptr<hfr::Device> {
         if (r != 0) return nullptr;
         return std::make_unique<FlippingDevice>(CopyDirection::kIn, 0, flipped);
       }});
  Buffers buffers(3, 24 * kChunk / sizeof(int64_t), false);
  for (int rank = 0; rank < 3; ++rank) cluster[rank].submit(buffers.descriptor(rank));
  for (int turns = 0; turns < 1'000'000 && !cluster.all_done(0); ++turns) cluster.turn();
  EXPECT_TRUE(flipped.done);
  EXPECT_FALSE(cluster[0].failed());
  EXPECT_FALSE(buffers.is_right(0));
}

TEST(Integrity, NothingIsFoundWhereNothingFlips) {
  unsigned seed = 1;
  for (const auto& nodes :
       {std::vector<int>{1}, {2}, {5}, {1, 1}, {2, 2}, {3, 1, 2}, {1, 1, 1, 1, 1}}) {
    for (const bool staged : {false, true}) {
      for (const bool mixed : {false, true}) {
        for (const size_t streaming_bytes : {size_t{0}, size_t{1}}) {
          EngineCluster cluster({.ranks_per_node = nodes,
                                 .window = 4,
                                 .chunk_bytes = 4096,
                                 .staged = staged,
                                 .mixed = mixed,
                                 .streaming_bytes = streaming_bytes,
                                 .check = true});
          run_in_random_turns(cluster, {1, 1000, 0, 40'000, 7, 512, 9000}, seed++);
        }
      }
    }
  }
}

}  // namespace
}  // namespace hfr_tests
