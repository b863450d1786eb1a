#include "sim/sim_transport.hpp"

#include <gtest/gtest.h>

#include <set>

#include "clusters.hpp"

namespace hfr_tests {
namespace {

using namespace hfr::sim;

struct NoWakes : Wakes {
  void wake(int) override {}
  void counter_moved(int, const hfr::Counter&) override {}
  void keep_busy(int, SimTime) override {}
  SimTime busy_until(int) const override { return 0; }
  void peer_lost(int rank) override { lost.insert(rank); }
  std::set<int> lost;  // who lost a peer
};

// Two nodes of one rank each, of which 0 has put something to 1.
class Pair {
 public:
  explicit Pair(const ClusterSpec& cluster)
      : cluster_(cluster), links_(loop_, 2), machine_(cluster_, {0, 1}, 0, loop_.flows()) {
    const SimTime gives_up_after = machine_.on_host() ? kNever : 1'000'000 * kPsPerUs;
    for (int rank : {0, 1}) {
      transports_.push_back(std::make_unique<SimTransport>(
          SimTransport::Parts{loop_, machine_, wakes_, directory_, links_, gives_up_after, false,
                              nullptr},
          Place{rank, rank, 0}));
      directory_.push_back(transports_.back().get());
    }
    EXPECT_TRUE(at(0).put(1, nullptr, 100, {}, 7));
    run();
  }
  SimTransport& at(int rank) { return *transports_[static_cast<size_t>(rank)]; }
  Links& links() { return links_; }
  const std::set<int>& lost() const { return wakes_.lost; }
  void run() {
    while (loop_.step([] {})) {
    }
  }

 private:
  const ClusterSpec cluster_;
  EventLoop loop_;
  Links links_;
  Machine machine_;
  NoWakes wakes_;
  TransportDirectory directory_;
  std::vector<std::unique_ptr<SimTransport>> transports_;
};

const std::set<int> kNobody;

// Sockets are open until the process closes them or ends.
TEST(SimTransport, AHostRankThatFailedIsSilent) {
  Pair pair(host_cluster(1));
  pair.at(1).stop();
  EXPECT_TRUE(pair.at(0).put(1, nullptr, 100, {}, 8));
  pair.run();
  EXPECT_EQ(pair.lost(), kNobody);
  pair.at(1).close();
  pair.run();
  EXPECT_EQ(pair.lost(), std::set<int>{0});
}

TEST(SimTransport, AGpuRankThatFailedCloses) {
  Pair pair(gpu_cluster(1));
  pair.at(1).stop();
  pair.run();
  EXPECT_EQ(pair.lost(), std::set<int>{0});
}

TEST(SimTransport, NobodyHearsOfANodeWithoutPower) {
  for (const ClusterSpec& cluster : {host_cluster(1), gpu_cluster(1)}) {
    Pair pair(cluster);
    pair.links().cut(1);
    pair.at(1).vanish();
    pair.run();
    EXPECT_EQ(pair.lost(), kNobody);
  }
}

// A put that meets a broken link waits for it. Verbs wait so long and then give the peer up.
TEST(SimTransport, AHostPutWaitsForItsLink) {
  Pair host(host_cluster(1)), gpu(gpu_cluster(1));
  for (Pair* pair : {&host, &gpu}) {
    pair->links().cut(0);
    EXPECT_TRUE(pair->at(0).put(1, nullptr, 100, {}, 8));
    pair->run();
  }
  EXPECT_EQ(host.lost(), kNobody);
  EXPECT_EQ(gpu.lost(), std::set<int>{0});
  host.links().restore(0);
  host.run();
  std::array<hfr::TransportEvent, 4> events;
  EXPECT_EQ(host.at(1).poll(events), 2u);
}

}  // namespace
}  // namespace hfr_tests
