#include "tools/measure_machine.hpp"

#include <pthread.h>

#include <algorithm>
#include <array>
#include <barrier>
#include <memory>
#include <new>
#include <numeric>
#include <span>
#include <thread>
#include <vector>

#include "base/net.hpp"
#include "base/shared_memory.hpp"
#include "bootstrap/auth.hpp"
#include "cpu/copy.hpp"
#include "cpu/reduce.hpp"
#include "reduce/inline_pool.hpp"
#include "tools/port_link.hpp"
#include "topo/worker_cpus.hpp"
#include "transport/tcp/transport.hpp"

namespace hfr::tools {
namespace {

constexpr size_t kChunkBytes = size_t{512} << 10;  // as between nodes
constexpr size_t kBufferBytes = size_t{64} << 20;
constexpr size_t kCachedBytes = size_t{1} << 20;
constexpr uint64_t kMeasureNs = 300'000'000;
constexpr double kMeasureTcpS = 1;  // how fast it is changes from moment to moment
constexpr size_t kNumSlots = 8;     // lanes between two nodes
// A chunk keeps its lane on its way up and down, so each direction has half of them.
constexpr size_t kPutsAhead = kNumSlots / 2;
constexpr size_t kFewPuts = 64;
constexpr uint64_t kPatienceNs = 20'000'000'000;
constexpr int kRoundTrips = 2000;

// Bytes per second of what `make_piece()` returns for each thread, which moves `bytes`, called over
// and over by all threads at once; of each of them.
template <typename MakePiece>
std::vector<double> rates_of(const ThreadCpus& cpus, size_t bytes, MakePiece&& make_piece) {
  std::vector<double> rates(cpus.size());
  std::vector<std::thread> threads;
  std::barrier ready(static_cast<ptrdiff_t>(cpus.size()));
  for (size_t i = 0; i < cpus.size(); ++i) {
    threads.emplace_back([&, i] {
      const pthread_t self = pthread_self();
      bind_threads(std::span(&self, 1), std::span(&cpus[i], 1));
      double& rate = rates[i];
      auto piece = make_piece();  // its memory is first touched here
      piece();
      ready.arrive_and_wait();
      size_t moved = 0;
      const uint64_t begin = monotonic_ns();
      uint64_t now = begin;
      for (; now < begin + kMeasureNs; now = monotonic_ns()) {
        piece();
        moved += bytes;
      }
      rate = static_cast<double>(moved) / (static_cast<double>(now - begin) * 1e-9);
    });
  }
  for (std::thread& thread : threads) thread.join();
  return rates;
}

// Of one of so many threads.
double mean(const std::vector<double>& rates) {
  return std::accumulate(rates.begin(), rates.end(), 0.0) / static_cast<double>(rates.size());
}
ThreadCpus anywhere(int num_threads) { return ThreadCpus(static_cast<size_t>(num_threads)); }

// As the library's staging: in huge pages where the system has them.
SharedMemory make_staging() {
  auto memory = SharedMemory::create("hfreduce measure", kNumSlots * kChunkBytes);
  if (!memory.ok()) throw std::bad_alloc();
  memory->collapse(0, memory->size());
  std::fill_n(memory->data(), memory->size(), std::byte{1});
  return std::move(*memory);
}

// A user's buffer and pieces of staging, used by turns.
struct Buffers {
  explicit Buffers(size_t user_bytes) : user(user_bytes, std::byte{1}) {}

  std::vector<std::byte> user;
  SharedMemory staging = make_staging();
  size_t turn = 0;

  size_t num_chunks() const { return user.size() / kChunkBytes; }
  std::byte* chunk() { return user.data() + turn % num_chunks() * kChunkBytes; }
  std::byte* slot() { return staging.data() + turn % kNumSlots * kChunkBytes; }
};

// Into staging and back.
double copy_rate(int num_threads, size_t user_bytes) {
  return mean(rates_of(anywhere(num_threads), kChunkBytes, [user_bytes] {
    return [buffers = Buffers(user_bytes)]() mutable {
      if (buffers.turn % 2 == 0) {
        copy_bytes(buffers.slot(), buffers.chunk(), kChunkBytes, false);
      } else {
        copy_bytes(buffers.chunk(), buffers.slot(), kChunkBytes, false);
      }
      ++buffers.turn;
    };
  }));
}

// What has arrived, and the user's own, in place.
std::vector<double> add_rates(const ThreadCpus& cpus, const KernelTable& kernels,
                              size_t user_bytes) {
  return rates_of(cpus, 2 * kChunkBytes, [&] {
    return [buffers = Buffers(user_bytes), pool = InlinePool(kernels)]() mutable {
      ReduceDescriptor work;
      work.dsts[0] = buffers.chunk();
      work.srcs[0] = buffers.chunk();
      work.srcs[1] = buffers.slot();
      work.num_dsts = 1;
      work.num_srcs = 2;
      work.count = kChunkBytes / sizeof(float);
      pool.run(work);
      ++buffers.turn;
    };
  });
}

// Both ends of the shipped TCP transport, each sending to the other as it receives, in both
// directions at once, with all else that it does for a put. From and into what the engine would: by
// turns from a user's buffer into staging, as a chunk goes up, and the other way, as it comes down.
class Exchange {
 public:
  static Result<std::unique_ptr<Exchange>> open(size_t user_bytes, uint64_t deadline) {
    std::unique_ptr<Exchange> exchange(new Exchange(user_bytes));
    for (int side = 0; side < 2; ++side) {
      exchange->transports_[side] = make_tcp_transport({.bind_host = "127.0.0.1",
                                                        .rank = side,
                                                        .handshake = exchange->handshakes_[side],
                                                        .congestion = {},
                                                        .logger = {}});
      Buffers& buffers = exchange->buffers_[side];
      for (uint32_t slot = 0; slot < kNumSlots; ++slot) {
        exchange->transports_[side]->set_landing(slot, buffers.staging.data() + slot * kChunkBytes,
                                                 kChunkBytes);
      }
      for (uint32_t chunk = 0; chunk < buffers.num_chunks(); ++chunk) {
        exchange->transports_[side]->set_landing(
            kNumSlots + chunk, buffers.user.data() + chunk * kChunkBytes, kChunkBytes);
      }
    }
    HFR_RETURN_IF_ERROR(
        connect_sides(*exchange->transports_[0], *exchange->transports_[1], deadline));
    return exchange;
  }

  // Of `num_puts` each way: seconds, of the slower side.
  Result<double> run(size_t num_puts, uint64_t deadline) {
    std::array<bool, 2> ok = {};
    std::barrier ready(2);
    const auto one_side = [&](int side) {
      ready.arrive_and_wait();
      ok[static_cast<size_t>(side)] = move(side, num_puts, deadline);
    };
    const uint64_t begin = monotonic_ns();
    std::thread other([&] { one_side(1); });
    one_side(0);
    other.join();
    const uint64_t end = monotonic_ns();
    if (!ok[0] || !ok[1]) return Status(Code::kTimeout, "measuring TCP took too long");
    return static_cast<double>(end - begin) * 1e-9;
  }

 private:
  explicit Exchange(size_t user_bytes) : buffers_{Buffers(user_bytes), Buffers(user_bytes)} {}

  bool move(int side, size_t num_puts, uint64_t deadline) {
    Transport& transport = *transports_[side];
    Buffers& buffers = buffers_[side];
    std::array<TransportEvent, 32> events;
    size_t put = 0, left = 0, arrived = 0;
    while (left < num_puts || arrived < num_puts) {
      while (put < num_puts && put < arrived + kPutsAhead) {
        const bool up = put % 2 == 0;
        const size_t landing =
            up ? put % kNumSlots : kNumSlots + buffers.turn % buffers.num_chunks();
        if (!transport.put(1 - side, up ? buffers.chunk() : buffers.slot(), kChunkBytes,
                           PutTag{.landing = static_cast<uint32_t>(landing)}, 0)) {
          break;
        }
        ++put;
        ++buffers.turn;
      }
      const size_t count = transport.poll(events);
      for (size_t i = 0; i < count; ++i) {
        if (events[i].kind == TransportEvent::Kind::kPeerLost) return false;
        ++(events[i].kind == TransportEvent::Kind::kPutDone ? left : arrived);
      }
      if (count == 0 && monotonic_ns() > deadline) return false;
    }
    return true;
  }

  const Secret secret_ = Secret::random();
  const SecretHandshake handshakes_[2] = {{secret_, "measure", 0}, {secret_, "measure", 1}};
  Buffers buffers_[2];  // outlive the transports
  std::unique_ptr<Transport> transports_[2];
};

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

// Puts both ways.
Result<double> put_rate(int num_threads, size_t user_bytes, uint64_t deadline) {
  HFR_ASSIGN_OR_RETURN(const auto exchange, Exchange::open(user_bytes, deadline));
  HFR_ASSIGN_OR_RETURN(double seconds, exchange->run(kFewPuts, deadline));
  const auto num_puts =
      static_cast<size_t>(std::clamp(kFewPuts * kMeasureTcpS / seconds, 1.0, 400.0 * kFewPuts));
  HFR_ASSIGN_OR_RETURN(seconds, exchange->run(num_puts, deadline));
  // Each side's core sends and receives all the while; to tell the two apart would change nothing,
  // as an all-reduce's owners send as much as they receive.
  const double cores = num_threads > 1 ? 1 : 0.5;
  return 2 * static_cast<double>(num_puts * kChunkBytes) / (seconds * cores);
}

Status measure_tcp(int num_threads, MachineRates& rates) {
  HFR_ASSIGN_OR_RETURN(UniqueFd listener, listen_tcp({"127.0.0.1", 0}));
  HFR_ASSIGN_OR_RETURN(const HostPort address, local_address(listener.get()));
  const uint64_t deadline = monotonic_ns() + kPatienceNs;
  HFR_ASSIGN_OR_RETURN(UniqueFd out, connect_tcp(address, "127.0.0.1", deadline));
  HFR_ASSIGN_OR_RETURN(UniqueFd in, accept_tcp(listener.get(), deadline));
  HFR_RETURN_IF_ERROR(measure_latency(out.get(), in.get(), deadline, rates));

  HFR_ASSIGN_OR_RETURN(rates.core.send, put_rate(num_threads, kBufferBytes, deadline));
  HFR_ASSIGN_OR_RETURN(rates.cached.send, put_rate(num_threads, kCachedBytes, deadline));
  rates.core.receive = rates.core.send;
  rates.cached.receive = rates.cached.send;
  return Status();
}

}  // namespace

Result<std::vector<double>> add_rates(const ThreadCpus& threads) {
  HFR_ASSIGN_OR_RETURN(const KernelTable* kernels, select_kernel_table("auto"));
  return add_rates(threads, *kernels, kBufferBytes);
}

std::vector<double> memory_rates(const ThreadCpus& threads) {
  return rates_of(threads, 2 * kBufferBytes, [] {
    return [from = std::vector<std::byte>(kBufferBytes, std::byte{1}),
            to = std::vector<std::byte>(kBufferBytes)]() mutable {
      copy_bytes(to.data(), from.data(), kBufferBytes, true);
    };
  });
}

Result<MachineRates> measure_machine(int num_threads) {
  MachineRates rates;
  HFR_ASSIGN_OR_RETURN(const KernelTable* kernels, select_kernel_table("auto"));
  for (const bool cached : {false, true}) {
    sim::CoreRates& core = cached ? rates.cached : rates.core;
    const size_t user_bytes = cached ? kCachedBytes : kBufferBytes;
    core.copy = copy_rate(num_threads, user_bytes);
    core.add = mean(add_rates(anywhere(num_threads), *kernels, user_bytes));
  }
  rates.memory = mean(memory_rates(anywhere(num_threads))) * num_threads;
  HFR_RETURN_IF_ERROR(measure_tcp(num_threads, rates));
  return rates;
}

}  // namespace hfr::tools
