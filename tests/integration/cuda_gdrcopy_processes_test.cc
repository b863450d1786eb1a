// Small messages that the CPU copies through GDRCopy: sums, who copied, and what is mapped. Ranks
// are processes that share GPU 0.
#include "../gpu/ranks.hpp"
#include "cuda_chain.hpp"
#include "cuda_gdrcopy.hpp"

namespace hfr_tests {
namespace {

class GdrCopyRanks : public testing::TestWithParam<int> {
 protected:
  using Body = std::function<std::string(int rank, hfr_comm_t comm, GdrStandIn& stand_in)>;
  static void run(const Body& body) {
    Ranks ranks({.num_ranks = GetParam()},
                [&](int rank, const Ranks::Comms& comms, const Ranks::Say&) -> std::string {
                  GdrStandIn* stand_in = GdrStandIn::of(kLibrary);
                  if (stand_in == nullptr) return "the stand-in was not loaded";
                  return body(rank, comms[0], *stand_in);
                });
    if (const std::string skip = ranks.expect_all_well(); !skip.empty()) GTEST_SKIP() << skip;
  }
};

TEST_P(GdrCopyRanks, TheCpuCopies) {
  run([n = GetParam()](int rank, hfr_comm_t comm, GdrStandIn& stand_in) {
    GpuStream stream;
    std::string wrong;
    for (size_t count : {1u, 3u, 1000u, 4099u}) {
      for (bool in_stream : {false, true}) {
        DeviceBuffer send(count * 4, 4);
        DeviceBuffer recv(count * 4);
        int reads = 0;
        int writes = 0;
        for (int i = 0; i < kTimes; ++i) {
          reads = stand_in.reads;
          writes = stand_in.writes;
          wrong += sum_once(rank, n, comm, in_stream ? stream.get() : nullptr, send, recv, count);
        }
        if (stand_in.reads != reads + 2 || stand_in.writes != writes + 1)
          wrong +=
              "not by the CPU: " + std::to_string(count) + (in_stream ? " in a stream; " : "; ");
      }
    }
    return wrong;
  });
}

// Chains of work in a stream: what comes before is there when the CPU reads, and what comes after
// sees what it wrote, in place.
TEST_P(GdrCopyRanks, OrderInStreams) {
  run([n = GetParam()](int rank, hfr_comm_t comm, GdrStandIn&) {
    GpuStream stream;
    Chain chain(rank, n, 2000);
    std::string wrong;
    for (int i = 0; i < 5 * kTimes; ++i) {
      chain.enqueue(comm, stream, i % n == rank ? kLong / 10 : 0);
      if (i % 4 != 3) continue;
      stream.synchronize();
      wrong += chain.check();
    }
    return wrong;
  });
}

TEST_P(GdrCopyRanks, AddressesThatAreGivenOutAgain) {
  run([n = GetParam()](int rank, hfr_comm_t comm, GdrStandIn& stand_in) {
    std::string wrong;
    CUdeviceptr before = 0;
    int again = 0;
    for (int i = 0; i < 10; ++i) {
      DeviceBuffer send(4000);
      DeviceBuffer recv(4000);
      again += send.address() == before ? 1 : 0;
      before = send.address();
      for (int k = 0; k < kTimes; ++k) wrong += sum_once(rank, n, comm, nullptr, send, recv, 1000);
    }
    if (again == 0) wrong += "no address was given out again; ";
    // Those of the last buffers, and of what was not seen to be freed yet.
    if (stand_in.mapped > 4) wrong += std::to_string(stand_in.mapped) + " stay mapped; ";
    return wrong;
  });
}

// In turn, so that few are mapped and most are not.
TEST_P(GdrCopyRanks, ManyBuffers) {
  run([n = GetParam()](int rank, hfr_comm_t comm, GdrStandIn& stand_in) -> std::string {
    constexpr size_t kPage = size_t{64} << 10;
    constexpr size_t kNum = 100;
    constexpr size_t kCount = 100;
    const auto input = make_input(HFR_FLOAT32, HFR_SUM, rank, n, kCount);
    DeviceBuffer all(kNum * kPage);
    std::vector<std::byte> host(kNum * kPage);
    for (int round = 0; round < 3; ++round) {
      for (size_t i = 0; i < kNum; ++i) std::copy(input.begin(), input.end(), &host[i * kPage]);
      all.upload(host);
      for (size_t i = 0; i < kNum; ++i) {
        auto* data = static_cast<std::byte*>(all.data()) + i * kPage;
        for (int k = 0; k < (i < 8 ? kTimes : 1); ++k) {
          // What is the same everywhere stays so.
          if (hfr_all_reduce(data, data, kCount, HFR_FLOAT32, k == 0 ? HFR_SUM : HFR_MAX, comm,
                             nullptr, nullptr) != HFR_SUCCESS) {
            return hfr_get_last_error(comm);
          }
        }
      }
      const auto want = make_expected(HFR_FLOAT32, HFR_SUM, n, kCount);
      host = all.download();
      for (size_t i = 0; i < kNum; ++i) {
        if (!std::equal(want.begin(), want.end(), &host[i * kPage])) return "wrong sum";
      }
    }
    if (stand_in.mapped < 8 || stand_in.mapped > 32) return "mapped other than what came often";
    return "";
  });
}

INSTANTIATE_TEST_SUITE_P(Cuda, GdrCopyRanks, testing::Values(2, 4),
                         [](const auto& shape) { return std::to_string(shape.param) + "ranks"; });

// An operation's input comes after it has failed, and the buffer is freed before the communicator
// is destroyed: by then nobody may look at it, where the stand-in would end the process.
TEST(CudaGdrCopyFailure, FreedBuffersAreNotReadAfterwards) {
  constexpr int kRanks = 3;
  constexpr int kVictim = 1;
  Ranks ranks(
      {.num_ranks = kRanks},
      [](int rank, const Ranks::Comms& comms, const Ranks::Say& say) -> std::string {
        constexpr size_t kCount = 100;
        hfr_comm_t comm = comms[0];
        GpuStream stream;
        Gate gate;
        DeviceBuffer data(kCount * 4);
        for (int i = 0; i < kTimes; ++i) {
          const std::string wrong = sum_once(rank, kRanks, comm, nullptr, data, data, kCount);
          if (!wrong.empty()) return wrong;
        }
        say("ready");
        if (rank == kVictim) {
          while (true) pause();
        }
        gate.hold(stream);
        const hfr_status_t started = hfr_all_reduce(data.data(), data.data(), kCount, HFR_FLOAT32,
                                                    HFR_SUM, comm, stream.get(), nullptr);
        const std::string end = await_failure(comm, started);
        gate.open();
        stream.synchronize();
        return end;
      });
  if (const std::string why = ranks.expect_all_say("ready"); !why.empty()) GTEST_SKIP() << why;
  ranks.expect_named_when_killed(kVictim);
}

}  // namespace
}  // namespace hfr_tests
