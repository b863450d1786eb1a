// Users' CUDA streams: order on both sides of an operation, calls that return at once, several
// communicators and streams beside busy ones, driver calls that wait for the device. Ranks are
// processes that share GPU 0, so that each is handed to the GPU whole (docs/cuda.md). CTest runs
// this with several numbers of hardware queues (CUDA_DEVICE_MAX_CONNECTIONS), and with calls that
// return when the operation is complete (HFREDUCE_CUDA_MEMOPS=0).
#include <array>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "../gpu/ranks.hpp"
#include "cuda_chain.hpp"

namespace hfr_tests {
namespace {

class Streams : public testing::TestWithParam<std::pair<int, int>> {
 protected:
  static void run(int num_comms, const Ranks::Body& body) {
    const auto [num_ranks, num_nodes] = GetParam();
    Ranks ranks({.num_ranks = num_ranks, .num_nodes = num_nodes, .num_comms = num_comms}, body);
    if (const std::string skip = ranks.expect_all_well(); !skip.empty()) GTEST_SKIP() << skip;
  }
};

TEST_P(Streams, OrderOnBothSides) {
  run(1, [n = GetParam().first](int rank, const Ranks::Comms& comms, const Ranks::Say&) {
    GpuStream stream;
    std::string wrong;
    for (size_t count : {1u, 1000u, 70'001u, 5'000'000u, 20'000'003u}) {
      Chain chain(rank, n, count);
      // Ranks come at different times.
      chain.enqueue(comms[0], stream, kLong * static_cast<uint64_t>(rank));
      stream.synchronize();
      wrong += chain.check();
    }
    return wrong;
  });
}

// The input is not there before the calls have returned.
TEST_P(Streams, CallsReturnAtOnce) {
  if (calls_wait()) GTEST_SKIP() << "without stream memory operations calls wait";
  run(1, [n = GetParam().first](int rank, const Ranks::Comms& comms, const Ranks::Say&) {
    GpuStream stream;
    Gate gate;
    Chain first(rank, n, 3'000'000);
    Chain second(rank, n, 77);
    gate.hold(stream);
    hfr_request_t requests[2];
    first.enqueue(comms[0], stream, 0, &requests[0]);
    second.enqueue(comms[0], stream, 0, &requests[1]);
    std::string wrong;
    if (stream.idle()) wrong += "the stream did not wait; ";
    int done = 1;
    if (hfr_test(comms[0], requests[0], &done) != HFR_SUCCESS || done != 0) wrong += "done early; ";
    gate.open();
    for (int i : {1, 0}) {
      if (hfr_wait(comms[0], requests[i]) != HFR_SUCCESS) wrong += hfr_get_last_error(comms[0]);
    }
    stream.synchronize();
    return wrong + first.check() + second.check();
  });
}

// More than may be open at a time, so that slots and posts are used again; now and then one in host
// order between.
TEST_P(Streams, LongTrain) {
  run(1, [n = GetParam().first](int, const Ranks::Comms& comms, const Ranks::Say&) -> std::string {
    constexpr size_t kCount = 64;
    GpuStream stream;
    DeviceBuffer data(kCount * 8);
    DeviceBuffer other(kCount * 8);
    std::vector<std::byte> ones(kCount * 8);
    for (size_t i = 0; i < kCount; ++i) put(ones, 8, i, 1);
    data.upload(ones);
    other.upload(ones);
    // Each operation multiplies by the number of ranks.
    uint64_t want = 1, others = 1;
    for (int i = 0; i < 700; ++i) {
      const bool between = i % 50 == 7;
      if (hfr_all_reduce((between ? other : data).data(), (between ? other : data).data(), kCount,
                         HFR_UINT64, HFR_SUM, comms[0], between ? nullptr : stream.get(),
                         nullptr) != HFR_SUCCESS) {
        return hfr_get_last_error(comms[0]);
      }
      (between ? others : want) *= static_cast<uint64_t>(n);
    }
    stream.synchronize();
    std::vector<std::byte> result(kCount * 8);
    for (size_t i = 0; i < kCount; ++i) put(result, 8, i, want);
    if (data.download() != result) return "wrong";
    for (size_t i = 0; i < kCount; ++i) put(result, 8, i, others);
    return other.download() == result ? "" : "wrong in host order";
  });
}

// Three communicators and two streams each, beside streams that compute, copy and wait.
TEST_P(Streams, SeveralCommunicatorsBesideBusyStreams) {
  run(kMostComms, [n = GetParam().first](int rank, const Ranks::Comms& comms, const Ranks::Say&) {
    GpuStream streams[kMostComms][2];
    GpuStream busy[6];
    Gate gate;
    DeviceBuffer scratch(size_t{1} << 20);
    std::vector<std::byte> host(size_t{1} << 20);
    std::vector<std::unique_ptr<Chain>> chains;
    std::mt19937 random(17);
    for (int i = 0; i < 30; ++i) {
      const size_t count = 1 + random() % (random() % 2 == 0 ? 500 : 4'000'000);
      chains.push_back(std::make_unique<Chain>(rank, n, count));
    }
    if (!calls_wait()) {
      for (int i = 0; i < 3; ++i) gate.hold(busy[i]);
    }
    for (int i = 0; i < 30; ++i) {
      for (GpuStream& stream : busy) {
        stream.spin(50'000);
        Cuda::get().cuMemsetD8Async(scratch.address(), 1, size_t{1} << 20, stream.get());
      }
      const size_t comm = random() % kMostComms;
      chains[static_cast<size_t>(i)]->enqueue(comms[comm], streams[comm][random() % 2], 100'000);
      if (i == 5) gate.open();
    }
    for (auto& pair : streams) {
      for (GpuStream& stream : pair) stream.synchronize();
    }
    for (GpuStream& stream : busy) stream.synchronize();
    std::string wrong;
    for (const auto& chain : chains) wrong += chain->check();
    return wrong;
  });
}

// Copies of the user's behind and before operations, in as many streams as there are queues.
TEST_P(Streams, CopiesBeforeAndBehind) {
  run(1, [n = GetParam().first](int rank, const Ranks::Comms& comms, const Ranks::Say&) {
    constexpr size_t kStreams = 10;
    constexpr size_t kBytes = size_t{1} << 20;
    GpuStream streams[kStreams];
    DeviceBuffer scratch(kBytes);
    void* pinned = nullptr;
    Cuda::get().cuMemHostAlloc(&pinned, kBytes, 0);
    std::vector<std::unique_ptr<Chain>> chains;
    for (size_t i = 0; i < 3 * kStreams; ++i) {
      chains.push_back(std::make_unique<Chain>(rank, n, 500'000 * (1 + i % 3)));
    }
    for (size_t i = 0; i < chains.size(); ++i) {
      const GpuStream& stream = streams[i % kStreams];
      Cuda::get().cuMemcpyHtoDAsync(scratch.address(), pinned, kBytes, stream.get());
      Cuda::get().cuMemcpyDtoHAsync(pinned, scratch.address(), kBytes, stream.get());
      chains[i]->enqueue(comms[0], stream, i % 4 * 200'000);
      Cuda::get().cuMemcpyDtoHAsync(pinned, scratch.address(), kBytes, stream.get());
      Cuda::get().cuMemcpyHtoDAsync(scratch.address(), pinned, kBytes, stream.get());
    }
    std::string wrong;
    for (size_t i = 0; i < chains.size(); ++i) {
      streams[i % kStreams].synchronize();
      wrong += chains[i]->check();
    }
    Cuda::get().cuMemFreeHost(pinned);
    return wrong;
  });
}

// Freeing memory and loading a kernel wait for the device, and hold the driver's lock meanwhile:
// the operation that the device waits for must not need the driver.
TEST_P(Streams, DriverCallsThatWaitBesideOperations) {
  run(1, [n = GetParam().first](int rank, const Ranks::Comms& comms, const Ranks::Say&) {
    GpuStream stream;
    std::string wrong;
    for (int i = 0; i < 6; ++i) {
      Chain chain(rank, n, 9'000'000);
      CUdeviceptr memory = 0;
      Cuda::get().cuMemAlloc(&memory, size_t{8} << 20);
      chain.enqueue(comms[0], stream, kLong * static_cast<uint64_t>((rank + i) % n));
      Cuda::get().cuMemFree(memory);
      CUmodule module = nullptr;
      Cuda::get().cuModuleLoadData(&module, Cuda::kSpinSource);
      stream.synchronize();
      wrong += chain.check();
    }
    return wrong;
  });
}

TEST_P(Streams, DestroyedWhileTheInputIsStillComing) {
  run(1, [n = GetParam().first](int rank, const Ranks::Comms& comms, const Ranks::Say&) {
    GpuStream stream;
    Chain chain(rank, n, 500'000);
    chain.enqueue(comms[0], stream, 10 * kLong);
    hfr_comm_destroy(comms[0]);
    const_cast<Ranks::Comms&>(comms)[0] = nullptr;
    stream.synchronize();
    return chain.check();
  });
}

// More bytes than are copied ahead of the adds, and than a window, on several communicators at
// once.
TEST_P(Streams, LargeOnSeveralCommunicators) {
  run(kMostComms, [n = GetParam().first](int rank, const Ranks::Comms& comms, const Ranks::Say&) {
    GpuStream streams[kMostComms];
    std::vector<std::unique_ptr<Chain>> chains;
    for (size_t i = 0; i < kMostComms; ++i)
      chains.push_back(std::make_unique<Chain>(rank, n, 20'000'003 + i));
    for (size_t i = 0; i < kMostComms; ++i) {
      const bool late = i % static_cast<size_t>(n) == static_cast<size_t>(rank);
      chains[i]->enqueue(comms[i], streams[i], late ? kLong / 10 : 0);
    }
    for (GpuStream& stream : streams) stream.synchronize();
    std::string wrong;
    for (const auto& chain : chains) wrong += chain->check();
    return wrong;
  });
}

std::string shape_name(const testing::TestParamInfo<std::pair<int, int>>& info) {
  return std::to_string(info.param.first) + "ranks" + std::to_string(info.param.second) + "nodes";
}

INSTANTIATE_TEST_SUITE_P(Cuda, Streams,
                         testing::Values(std::pair{1, 1}, std::pair{2, 1}, std::pair{4, 1},
                                         std::pair{4, 2}),
                         shape_name);

constexpr int kThreads = 2;
constexpr int kProcesses = 2;
constexpr int kRanks = kThreads * kProcesses;

// Two processes of two ranks each, which are threads: those of one hand over together, and keep
// step with the other's.
TEST(ProcessesOfThreads, SumInStreams) {
  Ranks processes({.num_ranks = kProcesses},
                  [](int process, const Ranks::Comms& comms, const Ranks::Say&) -> std::string {
                    // The id reaches the other process as a sum with zeros.
                    hfr_unique_id_t id{};
                    if (process == 0 && hfr_get_unique_id(&id) != HFR_SUCCESS) return "no id";
                    DeviceBuffer bytes(sizeof(id));
                    const auto* begin = reinterpret_cast<const std::byte*>(&id);
                    bytes.upload({begin, begin + sizeof(id)});
                    if (hfr_all_reduce(bytes.data(), bytes.data(), sizeof(id), HFR_UINT8, HFR_SUM,
                                       comms[0], nullptr, nullptr) != HFR_SUCCESS) {
                      return hfr_get_last_error(comms[0]);
                    }
                    std::memcpy(&id, bytes.download().data(), sizeof(id));
                    std::array<std::string, kThreads> wrong;
                    std::vector<std::thread> threads;
                    for (int thread = 0; thread < kThreads; ++thread) {
                      threads.emplace_back([&, thread, rank = process * kThreads + thread] {
                        use_gpu();
                        std::string& mine = wrong[static_cast<size_t>(thread)];
                        hfr_comm_options_t options = HFR_COMM_OPTIONS_INIT;
                        options.device = HFR_DEVICE_CUDA;
                        options.timeout_ms = 30'000;
                        hfr_comm_t comm = nullptr;
                        if (hfr_comm_init_rank(&comm, kRanks, &id, rank, &options) != HFR_SUCCESS) {
                          mine = hfr_get_last_error(nullptr);
                          return;
                        }
                        GpuStream stream;
                        std::vector<std::unique_ptr<Chain>> chains;
                        for (size_t count : {77u, 3'000'000u, 20'000'003u})
                          chains.push_back(std::make_unique<Chain>(rank, kRanks, count));
                        meet(comm);  // making buffers waits for the device
                        for (int round = 0; round < 3; ++round) {
                          for (const auto& chain : chains)
                            chain->enqueue(comm, stream, round == rank ? kLong / 10 : 0);
                          stream.synchronize();
                          for (const auto& chain : chains) mine += chain->check();
                          meet(comm);
                        }
                        hfr_comm_destroy(comm);
                      });
                    }
                    for (std::thread& thread : threads) thread.join();
                    return wrong[0] + wrong[1];
                  });
  if (const std::string skip = processes.expect_all_well(); !skip.empty()) GTEST_SKIP() << skip;
}

}  // namespace
}  // namespace hfr_tests
