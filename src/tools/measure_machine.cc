#include "tools/measure_machine.hpp"

#include <algorithm>
#include <array>
#include <ctime>
#include <memory>
#include <thread>
#include <vector>

#include "base/net.hpp"
#include "cpu/copy.hpp"
#include "cpu/reduce.hpp"
#include "reduce/inline_pool.hpp"

namespace hfr::tools {
namespace {

constexpr size_t kChunkBytes = size_t{512} << 10;  // as between nodes
constexpr size_t kBufferBytes = size_t{64} << 20;
constexpr uint64_t kMeasureNs = 300'000'000;
constexpr size_t kSentBytes = size_t{512} << 20;
constexpr uint64_t kPatienceNs = 20'000'000'000;
constexpr int kRoundTrips = 2000;
constexpr int kTrials = 3;  // the best counts: others may be at work

// Bytes per second of `piece`, which moves `bytes`, called over and over.
template <typename Piece>
double rate_of(size_t bytes, Piece&& piece) {
  double best = 0;
  piece();
  for (int trial = 0; trial < kTrials; ++trial) {
    size_t moved = 0;
    const uint64_t begin = monotonic_ns();
    uint64_t now = begin;
    for (; now < begin + kMeasureNs / kTrials; now = monotonic_ns()) {
      piece();
      moved += bytes;
    }
    best = std::max(best, static_cast<double>(moved) / (static_cast<double>(now - begin) * 1e-9));
  }
  return best;
}

double copy_rate() {
  std::vector<std::byte> buffer(kBufferBytes, std::byte{1});
  std::vector<std::byte> slots(8 * kChunkBytes);
  size_t turn = 0;
  return rate_of(kChunkBytes, [&] {
    copy_bytes(slots.data() + turn % 8 * kChunkBytes,
               buffer.data() + turn % (kBufferBytes / kChunkBytes) * kChunkBytes, kChunkBytes,
               false);
    ++turn;
  });
}

Result<double> add_rate() {
  HFR_ASSIGN_OR_RETURN(const KernelTable* kernels, select_kernel_table("auto"));
  InlinePool pool(*kernels);
  std::vector<float> own(kBufferBytes / sizeof(float), 1);
  std::vector<float> arrived(kChunkBytes / sizeof(float), 1);
  std::vector<float> sum(arrived.size());
  ReduceDescriptor work;
  work.dsts[0] = sum.data();
  work.srcs[1] = arrived.data();
  work.num_dsts = 1;
  work.num_srcs = 2;
  work.count = arrived.size();
  size_t turn = 0;
  return rate_of(2 * kChunkBytes, [&] {
    work.srcs[0] = own.data() + turn++ % (kBufferBytes / kChunkBytes) * arrived.size();
    pool.run(work);
  });
}

double memory_rate(int num_threads) {
  std::vector<double> rates(static_cast<size_t>(num_threads));
  std::vector<std::thread> threads;
  for (double& rate : rates) {
    threads.emplace_back([&rate] {
      std::vector<std::byte> from(kBufferBytes, std::byte{1}), to(kBufferBytes);
      rate = rate_of(2 * kBufferBytes,
                     [&] { copy_bytes(to.data(), from.data(), kBufferBytes, true); });
    });
  }
  for (std::thread& thread : threads) thread.join();
  double sum = 0;
  for (double rate : rates) sum += rate;
  return sum;
}

double thread_seconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

// Two threads hand a small message to and fro.
Status measure_latency(int one, int other, uint64_t deadline, MachineRates& rates) {
  std::array<std::byte, 64> there{}, here{};
  Status echoed;
  std::thread echo([&] {
    for (int i = 0; i < kRoundTrips && echoed.ok(); ++i) {
      echoed = recv_all(other, there, deadline, "measuring TCP");
      if (echoed.ok()) echoed = send_all(other, there, deadline, "measuring TCP");
    }
  });
  Status asked;
  const uint64_t begin = monotonic_ns();
  for (int i = 0; i < kRoundTrips && asked.ok(); ++i) {
    asked = send_all(one, here, deadline, "measuring TCP");
    if (asked.ok()) asked = recv_all(one, here, deadline, "measuring TCP");
  }
  rates.latency_us = static_cast<double>(monotonic_ns() - begin) * 1e-3 / (2 * kRoundTrips);
  echo.join();
  HFR_RETURN_IF_ERROR(asked);
  return echoed;
}

// One thread sends to another, chunk by chunk, from and into memory as large as users' buffers;
// each is charged its own time on a core.
Status measure_tcp(MachineRates& rates) {
  HFR_ASSIGN_OR_RETURN(UniqueFd listener, listen_tcp({"127.0.0.1", 0}));
  HFR_ASSIGN_OR_RETURN(const HostPort address, local_address(listener.get()));
  const uint64_t deadline = monotonic_ns() + kPatienceNs;
  HFR_ASSIGN_OR_RETURN(UniqueFd out, connect_tcp(address, "127.0.0.1", deadline));
  HFR_ASSIGN_OR_RETURN(UniqueFd in, accept_tcp(listener.get(), deadline));
  HFR_RETURN_IF_ERROR(measure_latency(out.get(), in.get(), deadline, rates));
  Status sent;
  std::thread sender([&] {
    const std::vector<std::byte> buffer(kBufferBytes, std::byte{1});
    const double begin = thread_seconds();
    for (size_t moved = 0; moved < kSentBytes && sent.ok(); moved += kChunkBytes) {
      sent = send_all(out.get(), std::span(buffer).subspan(moved % kBufferBytes, kChunkBytes),
                      deadline, "measuring TCP");
    }
    rates.send = static_cast<double>(kSentBytes) / (thread_seconds() - begin);
    out.reset();
  });
  std::vector<std::byte> buffer(kBufferBytes, std::byte{1});
  const double begin = thread_seconds();
  Status received;
  for (size_t moved = 0; moved < kSentBytes && received.ok(); moved += kChunkBytes) {
    received = recv_all(in.get(), std::span(buffer).subspan(moved % kBufferBytes, kChunkBytes),
                        deadline, "measuring TCP");
  }
  rates.receive = static_cast<double>(kSentBytes) / (thread_seconds() - begin);
  in.reset();
  sender.join();
  HFR_RETURN_IF_ERROR(received);
  return sent;
}

}  // namespace

Result<MachineRates> measure_machine(int num_threads) {
  MachineRates rates;
  rates.copy = copy_rate();
  HFR_ASSIGN_OR_RETURN(rates.add, add_rate());
  rates.memory = memory_rate(num_threads);
  HFR_RETURN_IF_ERROR(measure_tcp(rates));
  return rates;
}

}  // namespace hfr::tools
