// Verdicts from what real engines record while one rank's device, adding or link is slow, in a time
// of the test's own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>

#include "../engine/cluster.hpp"
#include "tools/inspect_verdict.hpp"

namespace hfr_tests {
namespace {

using hfr::Clock;
using hfr::CopyDescriptor;
using hfr::CopyDirection;
using hfr::tools::RankState;
using hfr::tools::Verdict;

constexpr uint64_t kUsualNs = 50'000;
constexpr uint64_t kSlowNs = 1'000'000;

// Says that an add is done some time after it was.
class LatePool : public hfr::InlinePool {
 public:
  LatePool(const Clock& clock, uint64_t delay_ns)
      : InlinePool(**hfr::select_kernel_table("")), clock_(clock), delay_ns_(delay_ns) {}
  bool submit(const hfr::ReduceDescriptor& work, hfr::Token token) override {
    run(work);
    pending_.push_back({token, clock_.now_ns() + delay_ns_});
    return true;
  }
  size_t poll(std::span<hfr::Token> done) override {
    size_t count = 0;
    while (count < done.size() && !pending_.empty() && pending_.front().at_ns <= clock_.now_ns()) {
      done[count++] = pending_.front().token;
      pending_.pop_front();
    }
    return count;
  }

 private:
  struct Pending {
    hfr::Token token;
    uint64_t at_ns;
  };
  const Clock& clock_;
  const uint64_t delay_ns_;
  std::deque<Pending> pending_;
};

// One copy after the other in each direction; each takes some time.
class LateDevice : public StagedDevice {
 public:
  LateDevice(const Clock& clock, uint64_t delay_ns) : clock_(clock), delay_ns_(delay_ns) {}
  bool submit(CopyDirection direction, const CopyDescriptor& copy) override {
    queues_[static_cast<size_t>(direction)].push_back({copy, 0});
    return true;
  }
  bool poll() override {
    bool moved = false;
    for (CopyDirection direction : {CopyDirection::kIn, CopyDirection::kOut}) {
      auto& queue = queues_[static_cast<size_t>(direction)];
      if (queue.empty() || !queue.front().copy.may_go()) continue;
      if (queue.front().at_ns == 0) queue.front().at_ns = clock_.now_ns() + delay_ns_;
      if (queue.front().at_ns > clock_.now_ns()) continue;
      StagedDevice::submit(direction, queue.front().copy);
      queue.pop_front();
      moved |= StagedDevice::poll();
    }
    return moved;
  }

 private:
  struct Pending {
    CopyDescriptor copy;
    uint64_t at_ns;
  };
  const Clock& clock_;
  const uint64_t delay_ns_;
  std::array<std::deque<Pending>, hfr::kNumDirections> queues_;
};

// Says that a put is done some time after it was handed over.
class LateTransport : public ForwardingTransport {
 public:
  LateTransport(const Clock& clock, uint64_t delay_ns, std::unique_ptr<hfr::Transport> inner)
      : ForwardingTransport(std::move(inner)), clock_(clock), delay_ns_(delay_ns) {}
  size_t poll(std::span<hfr::TransportEvent> events) override {
    size_t count = 0;
    std::array<hfr::TransportEvent, 16> fresh;
    const size_t num_fresh = ForwardingTransport::poll(std::span(fresh).first(events.size() / 2));
    for (size_t i = 0; i < num_fresh; ++i) {
      if (fresh[i].kind == hfr::TransportEvent::Kind::kPutDone) {
        late_.push_back({fresh[i], clock_.now_ns() + delay_ns_});
      } else {
        events[count++] = fresh[i];
      }
    }
    while (count < events.size() && !late_.empty() && late_.front().at_ns <= clock_.now_ns()) {
      events[count++] = late_.front().event;
      late_.pop_front();
    }
    return count;
  }

 private:
  struct Late {
    hfr::TransportEvent event;
    uint64_t at_ns;
  };
  const Clock& clock_;
  const uint64_t delay_ns_;
  std::unique_ptr<hfr::Transport> inner_;
  std::deque<Late> late_;
};

struct Speeds {
  uint64_t add_ns = kUsualNs;
  uint64_t copy_ns = kUsualNs;
  uint64_t put_ns = kUsualNs;
};

// Three nodes of two ranks, whose rank `slow_rank` has these speeds.
Verdict run(int slow_rank, const Speeds& slow) {
  auto speeds = [=](int rank) { return rank == slow_rank ? slow : Speeds{}; };
  EngineCluster cluster(
      {.ranks_per_node = {2, 2, 2},
       .window = 4,
       .chunk_bytes = 262'144,
       .staged = true,
       .recorded = true,
       .pool_of =
           [&](int rank, const Clock& clock) {
             return std::make_unique<LatePool>(clock, speeds(rank).add_ns);
           },
       .device_of =
           [&](int rank, const Clock& clock) {
             return std::make_unique<LateDevice>(clock, speeds(rank).copy_ns);
           },
       .wrap_transport =
           [&](int rank, const Clock& clock, std::unique_ptr<hfr::Transport> inner) {
             return std::make_unique<LateTransport>(clock, speeds(rank).put_ns, std::move(inner));
           }});
  for (uint64_t op = 0; op < 4; ++op) {
    Buffers buffers(6, 262'144, false);  // eight chunks
    for (int rank = 0; rank < 6; ++rank)
      EXPECT_TRUE(cluster[rank].submit(buffers.descriptor(rank)));
    while (!cluster.all_done(op)) {
      cluster.turn();
      cluster.clock().now += 5'000;
    }
    buffers.check();
  }
  std::vector<RankState> ranks;
  for (int rank = 0; rank < 6; ++rank) {
    ranks.push_back({cluster.record(rank), hfr::ProcessState::kRunning, cluster.clock().now, ""});
  }
  return judge(ranks);
}

TEST(InspectCluster, AllAtUsualSpeed) {
  const Verdict verdict = run(-1, {});
  EXPECT_TRUE(verdict.healthy()) << verdict.sentence;
}

TEST(InspectCluster, ASlowAdder) {
  for (int rank = 0; rank < 6; ++rank) {
    const Verdict verdict = run(rank, {.add_ns = kSlowNs});
    EXPECT_EQ(verdict.kind, "slow_adder") << verdict.sentence;
    EXPECT_EQ(verdict.culprits, std::vector<int>{rank}) << verdict.sentence;
  }
}

TEST(InspectCluster, ASlowDevice) {
  for (int rank = 0; rank < 6; ++rank) {
    const Verdict verdict = run(rank, {.copy_ns = kSlowNs});
    EXPECT_EQ(verdict.kind, "slow_copy") << verdict.sentence;
    EXPECT_EQ(verdict.culprits, std::vector<int>{rank}) << verdict.sentence;
  }
}

TEST(InspectCluster, ASlowLink) {
  for (int rank = 0; rank < 6; ++rank) {
    const Verdict verdict = run(rank, {.put_ns = kSlowNs});
    EXPECT_EQ(verdict.kind, "slow_link") << verdict.sentence;
    EXPECT_EQ(verdict.culprits[0], rank) << verdict.sentence;
  }
}

}  // namespace
}  // namespace hfr_tests
