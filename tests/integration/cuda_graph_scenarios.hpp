// What ranks do with CUDA graphs in the tests: many replays in flight,
// several operations in a graph, calls between replays. Each returns what was wrong.
#pragma once

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "../gpu/gpu.hpp"
#include "hfreduce/hfreduce.h"
#include "values.hpp"

namespace hfr_tests {

constexpr CUstreamCaptureMode kModes[] = {CU_STREAM_CAPTURE_MODE_GLOBAL,
                                          CU_STREAM_CAPTURE_MODE_THREAD_LOCAL,
                                          CU_STREAM_CAPTURE_MODE_RELAXED};

struct GraphRank {
  int rank = 0;
  int num_ranks = 1;
  hfr_comm_t comm = nullptr;

  void spin(const GpuStream& stream, uint64_t times = 1) const {
    constexpr uint64_t kShort = 300'000;  // ns
    if (times > 0) stream.spin(kShort * times);
  }
};

// Numbers that every operation multiplies by the number of ranks, so that each one counts.
class Product {
 public:
  Product(hfr_comm_t comm, int num_ranks, size_t count)
      : comm_(comm), factor_(static_cast<uint64_t>(num_ranks)), count_(count), data_(count * 8) {
    data_.upload(filled(1));
  }
  void call(const GpuStream* stream) {
    if (hfr_all_reduce(data_.data(), data_.data(), count_, HFR_UINT64, HFR_SUM, comm_,
                       stream != nullptr ? stream->get() : nullptr, nullptr) != HFR_SUCCESS) {
      error_ = hfr_get_last_error(comm_);
    }
  }
  // So many operations have been started since.
  void expect(int num) {
    for (int i = 0; i < num; ++i) want_ *= factor_;
  }
  std::string check(const std::string& what) const {
    if (!error_.empty()) return error_ + "; ";
    return data_.download() == filled(want_) ? "" : "wrong in " + what + "; ";
  }

 private:
  std::vector<std::byte> filled(uint64_t value) const {
    std::vector<std::byte> bytes(count_ * 8);
    for (size_t i = 0; i < count_; ++i) put(bytes, 8, i, value);
    return bytes;
  }
  hfr_comm_t comm_;
  uint64_t factor_;
  size_t count_;
  std::string error_;
  uint64_t want_ = 1;
  DeviceBuffer data_;
};

// Small messages, some chunks, and many chunks.
constexpr size_t kCounts[] = {1, 1000, 100'003, 4'000'001};

inline std::string replay_many(const GraphRank& me) {
  struct Run {
    GpuStream stream;
    std::unique_ptr<Product> product;
    std::unique_ptr<Graph> graph;
  };
  Run runs[std::size(kCounts)];
  for (size_t i = 0; i < std::size(kCounts); ++i) {
    runs[i].product = std::make_unique<Product>(me.comm, me.num_ranks, kCounts[i]);
  }
  for (size_t i = 0; i < std::size(kCounts); ++i) {
    Run& run = runs[i];
    run.graph = std::make_unique<Graph>(run.stream, kModes[i % std::size(kModes)],
                                        [&] { run.product->call(&run.stream); });
  }
  for (Run& run : runs) {
    for (int k = 0; k < 60; ++k) {
      if (k % 20 == 3) me.spin(run.stream, static_cast<uint64_t>(me.rank));
      run.graph->launch(run.stream);
    }
    run.product->expect(60);
    run.stream.synchronize();
  }
  std::string wrong;
  for (size_t i = 0; i < std::size(kCounts); ++i) {
    wrong += runs[i].product->check("replays of " + std::to_string(kCounts[i]));
  }
  return wrong;
}

inline std::string several_in_a_graph(const GraphRank& me) {
  GpuStream stream;
  Product small(me.comm, me.num_ranks, 77);
  Product middle(me.comm, me.num_ranks, 60'000);
  Product large(me.comm, me.num_ranks, 2'000'003);
  std::vector<std::unique_ptr<Graph>> graphs;
  for (CUstreamCaptureMode mode : kModes) {
    graphs.push_back(std::make_unique<Graph>(stream, mode, [&] {
      for (int k = 0; k < 3; ++k) {
        small.call(&stream);
        stream.spin(10'000);
        large.call(&stream);
        middle.call(&stream);
        small.call(&stream);
      }
    }));
  }
  for (const auto& graph : graphs) {
    for (int k = 0; k < 12; ++k) graph->launch(stream);
    me.spin(stream, static_cast<uint64_t>(me.rank));
    for (int k = 0; k < 12; ++k) graph->launch(stream);
    small.expect(24 * 6);
    middle.expect(24 * 3);
    large.expect(24 * 3);
  }
  stream.synchronize();
  return small.check("small") + middle.check("middle") + large.check("large");
}

// Ranks come to launches and calls at different times, and no rank may take one for the other.
inline std::string calls_between(const GraphRank& me) {
  std::mt19937 random(11);  // the same choices on all ranks
  GpuStream stream;
  std::vector<std::unique_ptr<Product>> products;
  std::vector<std::unique_ptr<Graph>> graphs;
  for (size_t count : kCounts) {
    products.push_back(std::make_unique<Product>(me.comm, me.num_ranks, count));
  }
  for (auto& product : products) {
    product->call(&stream);  // before anything was captured
    product->expect(1);
  }
  stream.synchronize();
  for (auto& product : products) {
    graphs.push_back(std::make_unique<Graph>(stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL,
                                             [&] { product->call(&stream); }));
  }
  for (int k = 0; k < 200; ++k) {
    const size_t which = random() % products.size();
    const auto kind = random() % 20;
    if (random() % 10 == static_cast<unsigned>(me.rank)) me.spin(stream);
    if (kind < 9) {
      graphs[which]->launch(stream);
    } else if (kind < 18) {
      products[which]->call(&stream);
    } else {
      stream.synchronize();
      products[which]->call(nullptr);
    }
    products[which]->expect(1);
  }
  stream.synchronize();
  std::string wrong;
  for (size_t i = 0; i < products.size(); ++i) {
    wrong += products[i]->check(std::to_string(kCounts[i]));
  }
  return wrong;
}

// Two streams, each waiting for the other by events; copies of the user's around.
inline std::string two_streams(const GraphRank& me) {
  constexpr size_t kBytes = size_t{1} << 20;
  const Cuda& cuda = Cuda::get();
  GpuStream streams[2];
  GpuStream other;
  DeviceBuffer scratch(kBytes);
  void* pinned = nullptr;
  CUevent turn = nullptr;
  cuda.cuMemHostAlloc(&pinned, kBytes, 0);
  cuda.cuEventCreate(&turn, CU_EVENT_DISABLE_TIMING);
  Product product(me.comm, me.num_ranks, 500'000);
  Product small(me.comm, me.num_ranks, 9);
  const Graph graph(streams[0], CU_STREAM_CAPTURE_MODE_THREAD_LOCAL, [&] {
    product.call(&streams[0]);
    small.call(&streams[0]);
  });
  for (int k = 0; k < 20; ++k) {
    const GpuStream& stream = streams[k % 2];
    for (const CUstream user : {stream.get(), other.get()}) {
      cuda.cuMemcpyDtoHAsync(pinned, scratch.address(), kBytes, user);
      cuda.cuMemcpyHtoDAsync(scratch.address(), pinned, kBytes, user);
    }
    if (k % 7 == me.rank) me.spin(stream);
    graph.launch(stream);
    product.call(&stream);
    cuda.cuMemcpyDtoHAsync(pinned, scratch.address(), kBytes, stream.get());
    cuda.cuMemcpyHtoDAsync(scratch.address(), pinned, kBytes, stream.get());
    cuda.cuEventRecord(turn, stream.get());
    cuda.cuStreamWaitEvent(streams[1 - k % 2].get(), turn, 0);
  }
  product.expect(40);
  small.expect(20);
  for (const GpuStream& stream : streams) stream.synchronize();
  other.synchronize();
  cuda.cuMemFreeHost(pinned);
  return product.check("large") + small.check("small");
}

using Scenario = std::string (*)(const GraphRank& me);
constexpr std::pair<const char*, Scenario> kScenarios[] = {{"ReplayMany", replay_many},
                                                           {"SeveralInAGraph", several_in_a_graph},
                                                           {"CallsBetween", calls_between},
                                                           {"TwoStreams", two_streams}};

}  // namespace hfr_tests
