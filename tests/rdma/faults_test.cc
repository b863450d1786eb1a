// What goes wrong between nodes: cables, devices, limits, deaths. Results stay right, or every rank
// gets an error in time that says what to look at.
#include <gmock/gmock.h>
#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <algorithm>
#include <atomic>
#include <new>
#include <span>
#include <thread>

#include "nodes.hpp"

namespace hfr_tests {
namespace {

using std::chrono::milliseconds;
using testing::AnyOf;
using testing::ContainsRegex;
using testing::HasSubstr;

// Of what only a deadline ends: half of it is for mending, the other half must be enough for all
// that is done besides.
constexpr uint32_t kShortTimeoutMs = 12'000;

class RdmaFaults : public RdmaTest {
 public:
  void TearDown() override {
    if (IsSkipped()) return;
    for (int node : cut_) mend_cable(node);
    for (int node : lossy_) lose_nothing(node);
    for (int node : without_address_) give_address(node);
  }
  void cut(int node) {
    cut_cable(node);
    cut_.push_back(node);
  }
  void mend(int node) {
    mend_cable(node);
    std::erase(cut_, node);
  }
  void lose(int node, int percent) {
    lose_frames(node, percent);
    lossy_.push_back(node);
  }
  void rename(int node) {
    take_address(node);
    without_address_.push_back(node);
  }

 private:
  std::vector<int> cut_, lossy_, without_address_;
};

// One operation whose result says which it was.
hfr_status_t reduce_once(const Member& me, int round, std::span<int> data) {
  std::fill(data.begin(), data.end(), round + me.node);
  const hfr_status_t status = hfr_all_reduce(data.data(), data.data(), data.size(), HFR_INT32,
                                             HFR_SUM, me.comm, nullptr, nullptr);
  if (status != HFR_SUCCESS) return status;
  const int want = me.num_nodes * round + me.num_nodes * (me.num_nodes - 1) / 2;
  EXPECT_EQ(std::count(data.begin(), data.end(), want), static_cast<long>(data.size()))
      << "node " << me.node << " round " << round << " wants " << want << " has " << data[0];
  return status;
}

// Rounds until one fails; what the rank said then.
std::string reduce_until_error(const Member& me) {
  std::vector<int> data(30'000);
  for (int round = 0;; ++round) {
    const hfr_status_t status = reduce_once(me, round, data);
    if (round == 2) me.say("under way");
    if (status == HFR_SUCCESS) continue;
    EXPECT_THAT(status, AnyOf(HFR_TIMEOUT, HFR_REMOTE_ERROR)) << hfr_get_last_error(me.comm);
    return hfr_get_last_error(me.comm);
  }
}

// How far the nodes are, and when they have done enough: shared by the test with their processes.
class Train {
 public:
  Train() {
    void* memory =
        mmap(nullptr, sizeof(State), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    EXPECT_NE(memory, MAP_FAILED);
    state_ = new (memory) State();
  }
  ~Train() { munmap(state_, sizeof(State)); }
  Train(const Train&) = delete;
  Train& operator=(const Train&) = delete;

  void passed_round() { ++state_->rounds; }
  bool ended() const { return state_->ended; }
  void end() { state_->ended = true; }
  // So many rounds that began after this call have passed.
  void await_rounds(int count) {
    const int last = state_->rounds + 1 + count;
    EXPECT_TRUE(await([&] { return state_->rounds >= last; })) << "no " << count << " rounds more";
  }
  // False when it does not come.
  static bool await(const std::function<bool()>& condition) {
    const auto until = std::chrono::steady_clock::now() + kPatience;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > until) return false;
      std::this_thread::sleep_for(milliseconds(1));
    }
    return true;
  }

 private:
  struct State {
    std::atomic<int> rounds{0};  // of node 0
    std::atomic<bool> ended{false};
  };
  State* state_;
};

// All ranks go on until the train ends, which node 0 sees, and agree about it by the sum.
void reduce_until_end(Member& me, Train& train, size_t count) {
  std::vector<int> data(count);
  for (int round = 0, more = 1; more != 0; ++round) {
    ASSERT_EQ(reduce_once(me, round, data), HFR_SUCCESS) << hfr_get_last_error(me.comm);
    if (round == 2) me.say("under way");
    if (me.node == 0) train.passed_round();
    more = me.node == 0 && !train.ended() ? 1 : 0;
    ASSERT_EQ(hfr_all_reduce(&more, &more, 1, HFR_INT32, HFR_SUM, me.comm, nullptr, nullptr),
              HFR_SUCCESS)
        << hfr_get_last_error(me.comm);
  }
}

TEST_F(RdmaFaults, ACableCutAndMendedCostsTimeOnly) {
  constexpr milliseconds kCut{400};
  Train train;
  Nodes nodes(3, [&](Member& me) {
    ASSERT_EQ(me.join(), HFR_SUCCESS) << hfr_get_last_error(nullptr);
    reduce_until_end(me, train, 100'000);
    me.leave();
  });
  nodes.await_all("under way");
  cut(1);
  std::this_thread::sleep_for(kCut);
  mend(1);
  train.await_rounds(3);
  train.end();
  nodes.join();
}

TEST_F(RdmaFaults, FramesThatGetLostAreSentAgain) {
  Train train;
  Nodes nodes(2, [&](Member& me) {
    ASSERT_EQ(me.join(), HFR_SUCCESS) << hfr_get_last_error(nullptr);
    reduce_until_end(me, train, 20'000);
    me.leave();
  });
  nodes.await_all("under way");
  lose(1, 1);
  train.await_rounds(30);
  train.end();
  nodes.join();
}

// Nodes 0 and 1 have two rails each: devices 0 and 2, 1 and 3.
void use_two_rails(const Member& me) {
  const std::string rails = device_name(me.node) + "," + device_name(me.node + 2);
  setenv("HFREDUCE_IB_HCA", rails.c_str(), 1);
}

TEST_F(RdmaFaults, AnotherRailTakesOver) {
  Train train;
  Nodes nodes(2, [&](Member& me) {
    use_two_rails(me);
    ASSERT_EQ(me.join(), HFR_SUCCESS) << hfr_get_last_error(nullptr);
    reduce_until_end(me, train, 30'000);
    me.leave();
  });
  nodes.await_all("under way");
  cut(0);
  const uint64_t before = sent_packets(2);
  train.await_rounds(10);
  EXPECT_TRUE(Train::await([&] { return sent_packets(2) > before + 50; }))
      << "the second rail carried nothing";
  train.end();
  nodes.join();
}

TEST_F(RdmaFaults, ARailThatIsDownAtTheStartIsLeftOut) {
  Train train;
  train.end();  // after one round
  cut(0);
  const uint64_t before = sent_packets(2);
  Nodes nodes(2, [&](Member& me) {
    use_two_rails(me);
    ASSERT_EQ(me.join(), HFR_SUCCESS) << hfr_get_last_error(nullptr);
    reduce_until_end(me, train, 30'000);
    me.leave();
  });
  nodes.join();
  EXPECT_GT(sent_packets(2), before + 5);
}

// What takes a rail away in an operation, without its port going down. Its other pair of rails
// fails as well, the one when it is used, the other when it is joined, before one is tried that
// works.
struct Silence {
  const char* name;
  void (*begin)(RdmaFaults&);
  const char* reason;  // in node 0's log
  const char* retries =
      "3";  // 7: soft-RoCE sends again for ever, and never says that it is in vain
};

class RdmaSilence : public RdmaFaults, public testing::WithParamInterface<Silence> {};

TEST_P(RdmaSilence, AnotherRailTakesOver) {
  Train train;
  Nodes nodes(2, [&](Member& me) {
    use_two_rails(me);
    // An acknowledgement is missed after 0.3 s.
    setenv("HFREDUCE_IB_TIMEOUT", "14", 1);
    setenv("HFREDUCE_IB_RETRY_CNT", GetParam().retries, 1);
    if (me.node == 0) me.say_log();
    ASSERT_EQ(me.join(), HFR_SUCCESS) << hfr_get_last_error(nullptr);
    reduce_until_end(me, train, 30'000);
    me.leave();
  });
  nodes.await_all("under way");
  GetParam().begin(*this);
  nodes.await_text(0, GetParam().reason);
  nodes.await_text(0, "is made anew");
  train.await_rounds(10);
  const uint64_t first = sent_packets(0), second = sent_packets(2);
  train.await_rounds(10);
  EXPECT_EQ(sent_packets(0), first) << "the first rail is still in use";
  EXPECT_GT(sent_packets(2), second + 50) << "the second rail carried nothing";
  train.end();
  nodes.join();
}

INSTANTIATE_TEST_SUITE_P(
    Rail, RdmaSilence,
    testing::Values(
        Silence{"FramesVanish", [](RdmaFaults& test) { test.lose(0, 100); }, " broke: "},
        Silence{"FramesVanishAndTheDeviceSaysNothing", [](RdmaFaults& test) { test.lose(0, 100); },
                " broke: ", "7"},
        Silence{"TheAddressIsGone", [](RdmaFaults& test) { test.rename(0); }, "GID table change"}),
    [](const auto& silence) { return std::string(silence.param.name); });

TEST_F(RdmaFaults, ACableThatStaysCutIsAnErrorThatNamesIt) {
  Nodes nodes(2, [&](Member& me) {
    ASSERT_EQ(me.join(kShortTimeoutMs), HFR_SUCCESS) << hfr_get_last_error(nullptr);
    me.say("error " + reduce_until_error(me));
    EXPECT_EQ(hfr_comm_destroy(me.comm), HFR_SUCCESS);
  });
  nodes.await_all("under way");
  cut(1);
  for (int node = 0; node < 2; ++node) {
    EXPECT_THAT(nodes.await_line(node, "error"),
                ContainsRegex("rxe_[01].*rank [01]|rank [01].*rxe_[01]"));
  }
  nodes.join();
}

TEST_F(RdmaFaults, AKilledPeerIsNamed) {
  Nodes nodes(3, [&](Member& me) {
    ASSERT_EQ(me.join(), HFR_SUCCESS) << hfr_get_last_error(nullptr);
    me.say("error " + reduce_until_error(me));
    EXPECT_EQ(hfr_comm_destroy(me.comm), HFR_SUCCESS);
  });
  nodes.await_all("under way");
  nodes.kill(2);
  for (int node = 0; node < 2; ++node) {
    EXPECT_THAT(nodes.await_line(node, "error"), HasSubstr("rank 2"));
  }
  nodes.join();
}

// Nodes 0 and 2 are where they are; node 1's cable is cut, its connections are being mended, and
// then a node is killed: the one that lost its cable, or one of those that it mends with.
class RdmaMending : public RdmaFaults, public testing::WithParamInterface<int> {};

TEST_P(RdmaMending, ARankKilledInTheMiddleIsNamed) {
  const int victim = GetParam();
  Nodes nodes(3, [&](Member& me) {
    me.say_log();
    ASSERT_EQ(me.join(kShortTimeoutMs), HFR_SUCCESS) << hfr_get_last_error(nullptr);
    me.say("error " + reduce_until_error(me));
    EXPECT_EQ(hfr_comm_destroy(me.comm), HFR_SUCCESS);
  });
  nodes.await_all("under way");
  cut(1);
  nodes.await_text(1, "mending it");
  nodes.kill(victim);
  for (int node = 0; node < 3; ++node) {
    if (node == victim) continue;
    EXPECT_THAT(nodes.await_line(node, "error"), HasSubstr("rank " + std::to_string(victim)));
  }
  nodes.join();
}

INSTANTIATE_TEST_SUITE_P(Victim, RdmaMending, testing::Values(1, 2));

// Every node's error of a set-up that must fail; `prepare` runs in each node's process before.
std::vector<std::string> errors_of_join(int num_nodes, const Nodes::Body& prepare) {
  Nodes nodes(num_nodes, [&](Member& me) {
    prepare(me);
    EXPECT_NE(me.join(), HFR_SUCCESS);
    me.say("error " + std::string(hfr_get_last_error(nullptr)));
  });
  std::vector<std::string> errors;
  for (int node = 0; node < num_nodes; ++node) errors.push_back(nodes.await_line(node, "error"));
  nodes.join();
  return errors;
}

TEST_F(RdmaFaults, AGidThatIsNotThereIsNamed) {
  auto errors = errors_of_join(2, [](Member& me) {
    if (me.node == 1) setenv("HFREDUCE_IB_GID_INDEX", "60", 1);
  });
  for (const std::string& error : errors) {
    EXPECT_THAT(error, testing::AllOf(HasSubstr("rxe_1"), HasSubstr("60")));
  }
}

// On these devices GID 0 is the link-local IPv6 address, 1 the IPv4 one.
TEST_F(RdmaFaults, GidsThatDoNotReachEachOtherAreNamed) {
  auto errors = errors_of_join(
      2, [](Member& me) { setenv("HFREDUCE_IB_GID_INDEX", me.node == 0 ? "0" : "1", 1); });
  for (const std::string& error : errors) {
    EXPECT_THAT(error, testing::AllOf(HasSubstr("rxe_0"), HasSubstr("rxe_1"), HasSubstr("GID")));
  }
}

// A user without the right to lock memory, at the limit that systems begin with long ago.
void limit_registration(rlim_t bytes) {
  const rlimit limit{bytes, bytes};
  ASSERT_EQ(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};
  ASSERT_EQ(syscall(SYS_capget, &header, data), 0);
  data[0].effective &= ~(1u << CAP_IPC_LOCK);
  data[0].permitted &= ~(1u << CAP_IPC_LOCK);
  ASSERT_EQ(syscall(SYS_capset, &header, data), 0);
}

TEST_F(RdmaFaults, ALimitOnLockedMemoryIsExplained) {
  auto errors = errors_of_join(2, [](Member& me) {
    if (me.node == 1) limit_registration(65'536);
  });
  for (const std::string& error : errors) {
    EXPECT_THAT(error, testing::AllOf(HasSubstr("rank 1"), HasSubstr("ulimit -l")));
  }
}

// Staging can be registered, a large buffer cannot.
TEST_F(RdmaFaults, ALimitOnLockedMemoryCostsLargeBuffersACopy) {
  constexpr size_t kBytes = size_t{200} << 20;
  Nodes nodes(2, [](Member& me) {
    if (me.node == 1) {
      limit_registration(kBytes / 2);
      me.say_log();
    }
    ASSERT_EQ(me.join(kTimeoutMs, 65'536), HFR_SUCCESS) << hfr_get_last_error(nullptr);
    void* memory = nullptr;
    ASSERT_EQ(hfr_mem_alloc(me.comm, &memory, me.node == 1 ? kBytes : kBytes / 100), HFR_SUCCESS)
        << hfr_get_last_error(me.comm);
    std::span<int> data(static_cast<int*>(memory), 100'000);
    for (int round = 0; round < 3; ++round)
      ASSERT_EQ(reduce_once(me, round, data), HFR_SUCCESS) << hfr_get_last_error(me.comm);
    EXPECT_EQ(hfr_mem_free(me.comm, memory), HFR_SUCCESS);
    me.leave();
  });
  EXPECT_THAT(nodes.await_text(1, "is copied first"),
              testing::AllOf(HasSubstr("200.0 MiB"), HasSubstr("ulimit -l")));
  nodes.join();
}

// As in a container that was not given the devices, though sysfs shows them.
void hide_devices() {
  ASSERT_EQ(unshare(CLONE_NEWNS), 0);
  ASSERT_EQ(mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
  ASSERT_EQ(mount("none", "/dev/infiniband", "tmpfs", 0, nullptr), 0);
}

void hide_library() {
  ASSERT_EQ(unshare(CLONE_NEWNS), 0);
  ASSERT_EQ(mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
  ASSERT_EQ(
      mount("/dev/null", "/usr/lib/x86_64-linux-gnu/libibverbs.so.1", nullptr, MS_BIND, nullptr),
      0);
}

void hide_name() { setenv("HFREDUCE_IB_HCA", "mlx5_7", 1); }

struct Lack {
  const char* name;
  void (*cause)();
  const char* hint;  // in the error
};

class RdmaLacks : public RdmaFaults, public testing::WithParamInterface<Lack> {};

TEST_P(RdmaLacks, AllTakeTcpWhenOneNodeHasNoDevice) {
  Train train;
  train.end();  // after one round
  std::vector<uint64_t> before;
  for (int node = 0; node < 3; ++node) before.push_back(sent_packets(node));
  Nodes nodes(3, [&](Member& me) {
    setenv("HFREDUCE_TRANSPORT", "auto", 1);
    if (me.node == 1) GetParam().cause();
    ASSERT_EQ(me.join(), HFR_SUCCESS) << hfr_get_last_error(nullptr);
    reduce_until_end(me, train, 30'000);
    me.leave();
  });
  nodes.join();
  for (int node = 0; node < 3; ++node) {
    EXPECT_EQ(sent_packets(node), before[static_cast<size_t>(node)]) << device_name(node);
  }
}

TEST_P(RdmaLacks, WhereVerbsAreAskedForItIsAnError) {
  auto errors = errors_of_join(3, [](Member& me) {
    if (me.node == 1) GetParam().cause();
  });
  for (const std::string& error : errors) {
    EXPECT_THAT(error, testing::AllOf(HasSubstr("rank 1"), HasSubstr(GetParam().hint)));
  }
}

INSTANTIATE_TEST_SUITE_P(OneNode, RdmaLacks,
                         testing::Values(Lack{"Devices", hide_devices, "/dev/infiniband"},
                                         Lack{"Library", hide_library, "libibverbs"},
                                         Lack{"Name", hide_name, "mlx5_7"}),
                         [](const auto& lack) { return std::string(lack.param.name); });

}  // namespace
}  // namespace hfr_tests
