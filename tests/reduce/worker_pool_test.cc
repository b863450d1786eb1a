// WorkerPool against InlinePool: same bits whatever the number of workers; every token comes back
// once, also when the ring is full, workers sleep, or the pool ends early.
#include "reduce/worker_pool.hpp"

#include <gtest/gtest.h>
#include <sched.h>

#include <cstring>
#include <random>
#include <set>

#include "reduce/inline_pool.hpp"

namespace hfr_tests {
namespace {

using hfr::DType;
using hfr::Op;
using hfr::ReduceDescriptor;
using hfr::Token;
using hfr::WorkerPool;

const hfr::KernelTable& kernels() { return *hfr::supported_kernel_tables().back(); }

// Tests have more workers than cores: nobody spins.
std::unique_ptr<WorkerPool> make_pool(size_t num_workers, hfr::WaitPolicy wait = {.spin_ns = 0}) {
  auto pool = WorkerPool::create(
      kernels(), {.cpus = std::vector<std::vector<int>>(num_workers), .wait = wait});
  EXPECT_TRUE(pool.ok());
  return std::move(*pool);
}

// Waits for one token.
Token next(WorkerPool& pool) {
  Token token[1];
  while (pool.poll(token) == 0) sched_yield();
  return token[0];
}

// Memory of one descriptor, at odd distances from cache lines.
class Work {
 public:
  Work(DType dtype, size_t count, int num_srcs, int num_dsts, bool streaming_dst, uint32_t seed)
      : size_(hfr::dtype_size(dtype)) {
    std::mt19937 random(seed);
    desc_.dtype = dtype;
    desc_.count = count;
    desc_.num_srcs = num_srcs;
    desc_.num_dsts = num_dsts;
    for (int s = 0; s < num_srcs; ++s) {
      std::byte* memory = add(1 + static_cast<size_t>(s));
      for (size_t at = 0; at < count * size_; at += 4) {
        const auto bits = static_cast<uint32_t>(random());
        std::memcpy(memory + at, &bits, 4);
      }
      desc_.srcs[s] = memory;
    }
    for (int d = 0; d < num_dsts; ++d) desc_.dsts[d] = add(3 + static_cast<size_t>(d));
    if (streaming_dst) desc_.streaming_dst = add(5);
  }

  const ReduceDescriptor& desc() const { return desc_; }

  std::vector<std::byte> results() const {
    std::vector<std::byte> all;
    auto append = [&](const void* memory) {
      const auto* from = static_cast<const std::byte*>(memory);
      all.insert(all.end(), from, from + desc_.count * size_ + 1);  // and the byte after it
    };
    for (int d = 0; d < desc_.num_dsts; ++d) append(desc_.dsts[d]);
    if (desc_.streaming_dst != nullptr) append(desc_.streaming_dst);
    return all;
  }
  // The same sources, another destination: descriptors that are under way together share none.
  ReduceDescriptor desc_into(std::vector<std::byte>& dst) const {
    ReduceDescriptor desc = desc_;
    dst.resize(bytes());
    desc.dsts[0] = dst.data();
    return desc;
  }
  void clear() {
    for (int d = 0; d < desc_.num_dsts; ++d) std::memset(desc_.dsts[d], 0x5a, bytes());
    if (desc_.streaming_dst != nullptr) std::memset(desc_.streaming_dst, 0x5a, bytes());
  }

 private:
  size_t bytes() const { return desc_.count * size_ + 1; }
  std::byte* add(size_t shift) {
    memory_.push_back(std::make_unique<std::byte[]>(bytes() + 200));
    return memory_.back().get() + shift % 11 * size_;
  }

  size_t size_;
  ReduceDescriptor desc_;
  std::vector<std::unique_ptr<std::byte[]>> memory_;
};

TEST(WorkerPool, SameBitsAsInlineForEverySplit) {
  hfr::InlinePool inline_pool(kernels());
  std::vector<std::unique_ptr<WorkerPool>> pools;
  for (size_t num_workers : {1, 2, 3, 7, 16, 32}) pools.push_back(make_pool(num_workers));
  uint32_t seed = 1;
  for (DType dtype : {DType::kFloat32, DType::kBFloat16, DType::kFloat8E4M3, DType::kFloat64}) {
    for (size_t count : {size_t{0}, size_t{1}, size_t{4095}, size_t{70'001}, size_t{140'000}}) {
      const bool streaming_dst = ++seed % 2 == 0;
      Work work(dtype, count, 3, 2, streaming_dst, seed);
      work.clear();
      inline_pool.run(work.desc());
      const auto want = work.results();
      for (auto& pool : pools) {
        work.clear();
        ASSERT_TRUE(pool->submit(work.desc(), seed));
        ASSERT_EQ(next(*pool), seed);
        ASSERT_EQ(work.results(), want) << pool->num_workers() << " workers, " << count;
        work.clear();
        ReduceDescriptor demoted = work.desc();
        demoted.demote = true;
        ASSERT_TRUE(pool->submit(demoted, seed));
        ASSERT_EQ(next(*pool), seed);
        ASSERT_EQ(work.results(), want) << pool->num_workers() << " workers, demoted, " << count;
      }
      work.clear();
      pools[1]->run(work.desc());
      ASSERT_EQ(work.results(), want) << count;
    }
  }
}

TEST(WorkerPool, FullRingRefusesAndEveryTokenComesBackOnce) {
  auto pool = make_pool(3);
  Work work(DType::kFloat32, 20'000, 2, 1, false, 1);
  std::vector<std::vector<std::byte>> dsts(WorkerPool::kCapacity);
  std::set<Token> back;
  Token submitted = 0;
  bool refused = false;
  Token done[5];
  while (submitted < 1000) {
    if (pool->submit(work.desc_into(dsts[submitted % WorkerPool::kCapacity]), submitted)) {
      ++submitted;
      continue;
    }
    refused = true;
    const size_t num_done = pool->poll(done);
    for (size_t i = 0; i < num_done; ++i) ASSERT_TRUE(back.insert(done[i]).second) << done[i];
  }
  while (back.size() < submitted) ASSERT_TRUE(back.insert(next(*pool)).second);
  EXPECT_TRUE(refused);
  EXPECT_EQ(*back.rbegin(), submitted - 1);
  EXPECT_EQ(pool->poll(done), 0u);
}

TEST(WorkerPool, SleepersWake) {
  // Workers that neither spin nor yield sleep between any two descriptors.
  auto pool = make_pool(4, {.spin_ns = 0, .sleep_after_ns = 0});
  Work small(DType::kInt8, 10, 2, 1, false, 1);
  Work large(DType::kInt8, 1 << 20, 2, 1, false, 2);
  for (Token token = 0; token < 300; ++token) {
    ASSERT_TRUE(pool->submit(token % 10 == 0 ? large.desc() : small.desc(), token));
    ASSERT_EQ(next(*pool), token);
  }
}

TEST(WorkerPool, InPlaceOverManyWorkers) {
  auto pool = make_pool(5);
  std::vector<int32_t> a(100'000);
  std::vector<int32_t> b(a.size());
  for (size_t i = 0; i < a.size(); ++i) {
    a[i] = static_cast<int32_t>(i);
    b[i] = 7;
  }
  ReduceDescriptor desc;
  desc.dtype = DType::kInt32;
  desc.count = a.size();
  desc.num_srcs = 2;
  desc.srcs[0] = a.data();
  desc.srcs[1] = b.data();
  desc.num_dsts = 1;
  desc.dsts[0] = a.data();
  for (int round = 1; round <= 20; ++round) {
    ASSERT_TRUE(pool->submit(desc, 1));
    next(*pool);
    for (size_t i = 0; i < a.size(); ++i) ASSERT_EQ(a[i], static_cast<int32_t>(i) + 7 * round);
  }
}

TEST(WorkerPool, EndsWithWorkUnderWay) {
  Work work(DType::kFloat32, 50'000, 4, 1, false, 1);
  for (int round = 0; round < 30; ++round) {
    std::vector<std::vector<std::byte>> dsts(20);
    auto pool = make_pool(1 + static_cast<size_t>(round) % 4);
    for (size_t i = 0; i < dsts.size(); ++i) {
      ASSERT_TRUE(pool->submit(work.desc_into(dsts[i]), i));
    }
    pool.reset();  // nothing runs any more: the sanitizers see it when the memory goes
  }
}

TEST(WorkerPool, NumberOfThreads) {
  for (size_t num_workers : {0, 33}) {
    auto pool = WorkerPool::create(kernels(), {.cpus = std::vector<std::vector<int>>(num_workers)});
    ASSERT_FALSE(pool.ok());
    EXPECT_NE(pool.status().message().find("1 to 32"), std::string::npos);
  }
  EXPECT_EQ(make_pool(2)->num_workers(), 2u);
}

}  // namespace
}  // namespace hfr_tests
