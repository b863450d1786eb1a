// The engines of all ranks of a small cluster, driven by one thread in any order that a test likes:
// what never blocks can be. Staging is plain memory, nodes are joined by the loopback transport.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <span>
#include <thread>
#include <vector>

#include "base/net.hpp"
#include "base/record_reader.hpp"
#include "comm/sizing.hpp"
#include "cpu/crc32c.hpp"
#include "device/host/host_device.hpp"
#include "engine/executor.hpp"
#include "group_device.hpp"
#include "reduce/inline_pool.hpp"
#include "reduce/worker_pool.hpp"
#include "transport/loopback/transport.hpp"

namespace hfr_tests {

class ManualClock : public hfr::Clock {
 public:
  uint64_t now_ns() const override {
    ++asked;
    return now;
  }
  std::atomic<uint64_t> now = 1;
  mutable std::atomic<uint64_t> asked = 0;
};

struct EngineOptions {
  std::vector<int> ranks_per_node = {1};
  uint64_t window = 0;
  size_t chunk_bytes = 0;
  std::string forest = "auto";
  bool direct = true;  // ranks reach each other's buffers
  // As processes do: those in heap(), and others through the kernel, where that is allowed.
  bool processes = false;
  bool kernel = true;
  // The CPU does not reach the buffers, as on a GPU: all goes through staging.
  bool staged = false;
  // Nodes are joined by a CopyingTransport that knows staging.
  bool copies = false;
  bool mixed = false;          // with `staged`: not so for every second rank
  size_t streaming_bytes = 0;  // results from this size on go past the caches; 0: by default
  int group_size = 0;  // with `staged`: so many of a node's ranks, one after the other, are a group
  size_t group_from = 1;
  uint64_t copy_step = 0;  // with `staged`: a node's ranks share a GPU and keep so close together
  uint64_t copies_ahead = 0;  // EngineLimits; nobody shares a GPU then
  uint64_t copies_together = 1;
  bool check = false;  // chunks have checksums
  // Threads of each rank that add for all ranks of its node; 0: the rank's own turn does.
  size_t add_threads = 0;
  // With a pool of the test's own for this rank.
  int rank_with_pool = -1;
  std::function<std::unique_ptr<hfr::ReducePool>()> make_pool;
  bool recorded = false;
  // Parts of a test's own, for each rank; with the cluster's clock. A null device: the usual one.
  std::function<std::unique_ptr<hfr::ReducePool>(int, const hfr::Clock&)> pool_of;
  std::function<std::unique_ptr<hfr::Device>(int, const hfr::Clock&)> device_of;
  std::function<std::unique_ptr<hfr::Transport>(int, const hfr::Clock&,
                                                std::unique_ptr<hfr::Transport>)>
      wrap_transport;
};

// A device that copies as the host does, and says that only it can reach the buffers.
class StagedDevice : public hfr::HostDevice {
 public:
  bool host_accessible() const override { return false; }
};

class ForwardingTransport : public hfr::Transport {
 public:
  explicit ForwardingTransport(std::unique_ptr<hfr::Transport> inner) : inner_(std::move(inner)) {}

  hfr::TransportCapabilities capabilities() const override { return inner_->capabilities(); }
  hfr::Result<std::vector<std::byte>> listen() override { return inner_->listen(); }
  hfr::Status connect(std::span<const int> peers, std::span<const std::vector<std::byte>> addresses,
                      uint64_t deadline_ns) override {
    return inner_->connect(peers, addresses, deadline_ns);
  }
  void set_landing(uint32_t number, void* memory, size_t bytes) override {
    inner_->set_landing(number, memory, bytes);
  }
  bool put(int peer, const void* src, size_t bytes, const hfr::PutTag& tag,
           hfr::Token token) override {
    return inner_->put(peer, src, bytes, tag, token);
  }
  void expect(int peer) override { inner_->expect(peer); }
  size_t poll(std::span<hfr::TransportEvent> events) override { return inner_->poll(events); }
  void sleep(uint64_t timeout_ns) override { inner_->sleep(timeout_ns); }
  void stop() override { inner_->stop(); }
  std::string peer_error(int peer) const override { return inner_->peer_error(peer); }

 private:
  const std::unique_ptr<hfr::Transport> inner_;
};

// As a device does that reads registered memory only: says what it would have to copy.
class CopyingTransport : public ForwardingTransport {
 public:
  CopyingTransport(std::unique_ptr<hfr::Transport> inner, std::vector<const void*>& copied)
      : ForwardingTransport(std::move(inner)), copied_(copied) {}

  hfr::Status register_memory(void* memory, size_t bytes) override {
    begin_ = static_cast<std::byte*>(memory);
    end_ = begin_ + bytes;
    return hfr::Status();
  }
  bool sends_in_place(const void* src, size_t bytes) const override {
    return src >= begin_ && static_cast<const std::byte*>(src) + bytes <= end_;
  }
  bool put(int peer, const void* src, size_t bytes, const hfr::PutTag& tag,
           hfr::Token token) override {
    if (!ForwardingTransport::put(peer, src, bytes, tag, token)) return false;
    if (!sends_in_place(src, bytes)) copied_.push_back(src);
    return true;
  }

 private:
  std::vector<const void*>& copied_;
  const std::byte* begin_ = nullptr;
  const std::byte* end_ = nullptr;
};

class EngineCluster {
 public:
  explicit EngineCluster(const EngineOptions& options) {
    std::vector<int> names;
    for (size_t node = 0; node < options.ranks_per_node.size(); ++node) {
      names.insert(names.end(), static_cast<size_t>(options.ranks_per_node[node]),
                   static_cast<int>(node));
    }
    config_.window = options.window;
    config_.chunk_bytes = options.chunk_bytes;
    config_.forest = options.forest;
    config_.timeout_ms = 1000;
    config_.direct = options.direct && !options.check;
    if (options.check) config_.check = "crc";
    config_.gpu_group_from = options.group_from;
    for (size_t rank = 0; rank < names.size(); ++rank) {
      shapes_.push_back(hfr::make_shape(static_cast<int>(rank), names));
      shapes_.back().any_on_device = options.staged;
    }
    allocate_staging();
    if (options.processes) heap_.resize(size_t{16} << 20);
    if (shapes_[0].num_nodes() > 1) connect(options);
    if (options.group_size > 0) allocate_boxes(options.group_size);
    for (hfr::Shape& shape : shapes_) ranks_.push_back(make_rank(shape, options));
  }

  int num_ranks() const { return static_cast<int>(ranks_.size()); }
  hfr::Executor& operator[](int rank) { return *ranks_[static_cast<size_t>(rank)]->executor; }
  ManualClock& clock() { return clock_; }
  // With `processes`.
  std::span<std::byte> heap() { return heap_; }
  // With groups.
  GroupDevice& group_device(int rank) {
    return static_cast<GroupDevice&>(*ranks_[static_cast<size_t>(rank)]->device);
  }
  const hfr::EngineContext& context(int rank) const {
    return *ranks_[static_cast<size_t>(rank)]->context;
  }
  // With `recorded`: what the rank's recorder has written, as a reader sees it.
  hfr::Record record(int rank) {
    const auto& owner = *ranks_[static_cast<size_t>(rank)];
    hfr::record::Identity& identity = owner.record->identity;
    identity.magic = hfr::record::kMagic;
    identity.version = hfr::record::kVersion;
    identity.rank = rank;
    identity.num_ranks = num_ranks();
    identity.node = shape(rank).node;
    identity.num_nodes = shape(rank).num_nodes();
    identity.local_rank = shape(rank).local_rank;
    identity.num_local = shape(rank).num_local();
    identity.pid = 1000 + rank;
    const auto bytes = std::as_bytes(std::span(owner.record.get(), 1));
    auto read = hfr::read_record(bytes, bytes);
    EXPECT_TRUE(read.ok()) << read.status().message();
    return *read;
  }
  // With `copies`: where the sources lay that a rank's transport copied.
  const std::vector<const void*>& copied(int rank) const {
    return copied_[static_cast<size_t>(rank)];
  }
  const hfr::Shape& shape(int rank) const { return shapes_[static_cast<size_t>(rank)]; }

  // One turn of every rank; true when any of them moved.
  bool turn() {
    bool moved = false;
    for (auto& rank : ranks_) moved |= rank->executor->progress();
    return moved;
  }
  bool all_done(uint64_t op) const {
    for (const auto& rank : ranks_) {
      if (!rank->executor->done(op)) return false;
    }
    return true;
  }

 private:
  struct Rank {
    std::unique_ptr<hfr::Device> device;
    std::unique_ptr<hfr::ReducePool> pool;
    std::unique_ptr<hfr::record::File> record;
    std::unique_ptr<hfr::Recorder> recorder;
    std::unique_ptr<hfr::EngineContext> context;
    std::unique_ptr<hfr::Executor> executor;
  };
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };

  void allocate_staging() {
    for (const auto& node : shapes_[0].nodes) {
      const hfr::Shape& first = shapes_[static_cast<size_t>(node[0])];
      size_t bytes = hfr::Staging::bytes_needed(hfr::size_staging(first, config_));
      bytes = (bytes + 4095) / 4096 * 4096;
      memory_.emplace_back(static_cast<std::byte*>(std::aligned_alloc(4096, bytes)));
      std::memset(memory_.back().get(), 0, bytes);
    }
  }

  static hfr::PeerMemory reach_processes(const hfr::Shape& shape) {
    return {std::vector(static_cast<size_t>(shape.num_local()), hfr::PeerMemory::this_process()),
            size_t{64} << 10};
  }

  void connect(const EngineOptions& options) {
    copied_.resize(shapes_.size());
    std::vector<std::vector<std::byte>> addresses;
    for (const hfr::Shape& shape : shapes_) {
      transports_.push_back(hfr::make_loopback_transport(shape.rank));
      if (options.wrap_transport) {
        transports_.back() =
            options.wrap_transport(shape.rank, clock_, std::move(transports_.back()));
      }
      if (options.copies) {
        transports_.back() = std::make_unique<CopyingTransport>(
            std::move(transports_.back()), copied_[static_cast<size_t>(shape.rank)]);
        std::byte* staging = memory_[static_cast<size_t>(shape.node)].get();
        const size_t bytes = hfr::Staging::bytes_needed(hfr::size_staging(shape, config_));
        ASSERT_TRUE(transports_.back()->register_memory(staging, bytes).ok());
      }
      addresses.push_back(*transports_.back()->listen());
    }
    std::vector<std::thread> threads;
    for (const hfr::Shape& shape : shapes_) {
      threads.emplace_back([&] {
        std::vector<int> peers;
        std::vector<std::vector<std::byte>> theirs;
        for (const hfr::Shape& other : shapes_) {
          if (other.rank == shape.rank) continue;
          peers.push_back(other.rank);
          theirs.push_back(addresses[static_cast<size_t>(other.rank)]);
        }
        hfr::Status status = transports_[static_cast<size_t>(shape.rank)]->connect(
            peers, theirs, hfr::monotonic_ns() + 60'000'000'000);
        ASSERT_TRUE(status.ok()) << status.message();
      });
    }
    for (std::thread& thread : threads) thread.join();
  }

  void allocate_boxes(int group_size) {
    for (const hfr::Shape& shape : shapes_) {
      boxes_.emplace_back(hfr::Groups::box_bytes(group_size, hfr::size_staging(shape, config_)));
    }
  }

  // The ranks of a node that are left over are in no group.
  hfr::Groups make_groups(const hfr::Shape& shape, const hfr::Staging& staging, int group_size) {
    std::vector<std::vector<int>> groups;
    for (int first = 0; first + group_size <= shape.num_local(); first += group_size) {
      groups.emplace_back();
      for (int r = first; r < first + group_size; ++r) groups.back().push_back(r);
    }
    std::vector<std::byte*> boxes;
    const auto mine = static_cast<size_t>(shape.local_rank / group_size);
    if (mine < groups.size()) {
      for (int member : groups[mine]) {
        const int rank = shape.nodes[static_cast<size_t>(shape.node)][static_cast<size_t>(member)];
        boxes.push_back(boxes_[static_cast<size_t>(rank)].data());
      }
    }
    return hfr::Groups(groups, shape.local_rank, std::move(boxes), staging);
  }

  std::unique_ptr<hfr::Device> make_device(const hfr::Shape& shape, const EngineOptions& options) {
    if (options.device_of) {
      if (auto device = options.device_of(shape.rank, clock_)) return device;
    }
    const bool in_host = options.mixed && shape.rank % 2 == 1;
    if (!options.staged || in_host) return std::make_unique<hfr::HostDevice>();
    if (options.group_size == 0) return std::make_unique<StagedDevice>();
    return std::make_unique<GroupDevice>(options.group_size, shape.local_rank % options.group_size,
                                         hfr::size_staging(shape, config_).slot_bytes);
  }

  static std::unique_ptr<hfr::ReducePool> make_pool(size_t num_threads, std::byte* memory,
                                                    const hfr::Staging& staging) {
    const hfr::KernelTable& kernels = **hfr::select_kernel_table("");
    if (num_threads == 0) return std::make_unique<hfr::InlinePool>(kernels);
    auto pool = hfr::WorkerPool::create(
        kernels, {.cpus = std::vector<std::vector<int>>(num_threads),
                  .wait = {.spin_ns = 0},
                  .board = reinterpret_cast<hfr::TaskBoard*>(staging.board()),
                  .base = memory});
    EXPECT_TRUE(pool.ok());
    return std::move(*pool);
  }

  std::unique_ptr<Rank> make_rank(const hfr::Shape& shape, const EngineOptions& options) {
    auto rank = std::make_unique<Rank>();
    rank->device = make_device(shape, options);
    std::byte* memory = memory_[static_cast<size_t>(shape.node)].get();
    const hfr::StagingShape sizes = hfr::size_staging(shape, config_);
    const hfr::Staging staging(sizes, memory);
    rank->pool = shape.rank == options.rank_with_pool
                     ? options.make_pool()
                     : make_pool(options.add_threads, memory, staging);
    if (options.pool_of) rank->pool = options.pool_of(shape.rank, clock_);
    rank->context.reset(new hfr::EngineContext{
        .shape = shape,
        .staging = staging,
        .limits = hfr::size_limits(shape, sizes, config_, {.reached = config_.direct}),
        .schedules = hfr::make_schedules(shape, config_),
        .one_process = !options.processes,
        .direct = config_.direct,
        .peer_memory =
            options.processes && options.kernel ? reach_processes(shape) : hfr::PeerMemory(),
        .heap = {.base = heap_.data(), .bytes = heap_.size()},
        .map_heap = [] { return nullptr; },
        .clock = clock_,
        .device = *rank->device,
        .pool = *rank->pool,
        .transport =
            transports_.empty() ? nullptr : transports_[static_cast<size_t>(shape.rank)].get()});
    if (options.check) rank->context->checksum = hfr::crc32c;
    if (options.streaming_bytes > 0)
      rank->context->limits.streaming_bytes = options.streaming_bytes;
    if (options.recorded) {
      rank->record = std::make_unique<hfr::record::File>();
      rank->recorder = std::make_unique<hfr::Recorder>(*rank->record, clock_);
      rank->context->recorder = rank->recorder.get();
    }
    rank->context->limits.copy_step = options.copy_step;
    rank->context->limits.copies_ahead = options.copies_ahead;
    rank->context->limits.copies_together = options.copies_together;
    for (int other = 0; other < shape.num_local(); ++other) {
      const bool in_host =
          options.mixed && shape.nodes[static_cast<size_t>(shape.node)][other] % 2 == 1;
      if (other != shape.local_rank && !in_host) rank->context->gpu_sharers.push_back(other);
    }
    if (options.group_size > 0) {
      rank->context->groups = make_groups(shape, rank->context->staging, options.group_size);
    }
    rank->executor = std::make_unique<hfr::Executor>(*rank->context);
    return rank;
  }

  hfr::Config config_;
  ManualClock clock_;
  std::vector<hfr::Shape> shapes_;
  std::vector<std::unique_ptr<std::byte, Free>> memory_;  // per node
  std::vector<std::byte> heap_;
  std::vector<std::vector<std::byte>> boxes_;     // per rank
  std::vector<std::vector<const void*>> copied_;  // per rank
  std::vector<std::unique_ptr<hfr::Transport>> transports_;
  std::vector<std::unique_ptr<Rank>> ranks_;
};

// One allreduce's buffers on every rank, filled so that each element's sum is known.
class Buffers {
 public:
  Buffers(int num_ranks, size_t count, bool in_place) : in_place_(in_place) {
    for (int rank = 0; rank < num_ranks; ++rank) {
      send_.emplace_back(count);
      recv_.emplace_back(count, -1);
      for (size_t i = 0; i < count; ++i) send_.back()[i] = value(rank, i);
    }
    initial_ = send_;
    expected_.resize(count);
    for (size_t i = 0; i < count; ++i) {
      for (int rank = 0; rank < num_ranks; ++rank) expected_[i] += value(rank, i);
    }
  }

  hfr::OpDescriptor descriptor(int rank) {
    auto me = static_cast<size_t>(rank);
    return {.send = send_[me].data(),
            .recv = in_place_ ? send_[me].data() : recv_[me].data(),
            .count = expected_.size(),
            .dtype = hfr::DType::kInt64,
            .op = hfr::Op::kSum};
  }

  // Whether it lies in the rank's input, or in what is its input as well.
  bool is_input(int rank, const void* at) const {
    const std::vector<int64_t>& send = send_[static_cast<size_t>(rank)];
    return at >= send.data() && at < send.data() + send.size();
  }
  bool is_right(int rank) { return recv(rank) == expected_; }
  void check() const {
    for (size_t rank = 0; rank < send_.size(); ++rank) {
      ASSERT_EQ(in_place_ ? send_[rank] : recv_[rank], expected_) << "rank " << rank;
      if (in_place_) continue;
      ASSERT_EQ(send_[rank], initial_[rank]) << "rank " << rank << "'s input";
    }
  }

  std::vector<int64_t>& recv(int rank) {
    return in_place_ ? send_[static_cast<size_t>(rank)] : recv_[static_cast<size_t>(rank)];
  }

 private:
  static int64_t value(int rank, size_t i) {
    return static_cast<int64_t>(i * 31) + (rank + 1) * 1'000'003LL * static_cast<int64_t>(i % 97);
  }

  bool in_place_;
  std::vector<std::vector<int64_t>> send_, recv_, initial_;
  std::vector<int64_t> expected_;
};

// Ranks submit a train of operations, some in place, at their own pace, some as blocking callers
// do, and take turns in random order, some of them many turns in a row: every interleaving must
// give the same sums.
inline void run_in_random_turns(EngineCluster& cluster, const std::vector<size_t>& counts,
                                unsigned seed) {
  std::mt19937 random(seed);
  std::vector<Buffers> train;
  for (size_t i = 0; i < counts.size(); ++i) {
    train.emplace_back(cluster.num_ranks(), counts[i], i % 2 == 1);
  }
  std::vector<size_t> submitted(static_cast<size_t>(cluster.num_ranks()));
  for (uint64_t turns = 0; !cluster.all_done(train.size() - 1); ++turns) {
    ASSERT_LT(turns, 5'000'000u) << "the ranks hold each other up";
    const int rank = static_cast<int>(random() % static_cast<unsigned>(cluster.num_ranks()));
    size_t& next = submitted[static_cast<size_t>(rank)];
    if (next < train.size() && random() % 4 == 0) {
      const hfr::OpDescriptor desc = train[next++].descriptor(rank);
      const bool blocks = random() % 2 == 0;
      ASSERT_TRUE(blocks ? cluster[rank].submit_and_finish(desc, random() % 4)
                         : cluster[rank].submit(desc));
    }
    for (unsigned i = 0; i < 1 + random() % 20; ++i) cluster[rank].progress();
  }
  for (int rank = 0; rank < cluster.num_ranks(); ++rank) EXPECT_FALSE(cluster[rank].failed());
  for (const Buffers& buffers : train) buffers.check();
}

}  // namespace hfr_tests
