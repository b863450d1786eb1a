// Ranks that meet on loopback, as threads of a test.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "base/text.hpp"
#include "bootstrap/rendezvous.hpp"

namespace hfr {

inline uint64_t in_ms(uint64_t ms) { return monotonic_ns() + ms * 1'000'000; }

// For what comes, however slow the machine is.
constexpr uint64_t kPatienceMs = 100'000;
inline uint64_t patience() { return in_ms(kPatienceMs); }

// A rendezvous on loopback and what its members have in common.
struct Meeting {
  explicit Meeting(int ranks, uint64_t ms = kPatienceMs)
      : num_ranks(ranks), deadline_ns(in_ms(ms)) {
    listener = std::move(*listen_tcp({"127.0.0.1", 0}));
    address = *local_address(listener.get());
  }
  JoinRequest request(int rank) {
    JoinRequest r;
    r.rank = rank;
    r.num_ranks = num_ranks;
    r.address = address;
    r.secret = secret;
    if (rank == 0) r.listener = std::move(listener);
    r.settings = "window=4;chunk_bytes=0";
    r.version = 1;
    r.label = cat("process ", rank);
    r.deadline_ns = deadline_ns;
    r.logger = Logger(LogLevel::kOff, "");
    return r;
  }

  int num_ranks;
  uint64_t deadline_ns;
  UniqueFd listener;
  HostPort address;
  Secret secret = Secret::random();
};

// Every rank as a thread; `change` may spoil a request.
inline void run_ranks(Meeting& meeting, const std::function<void(JoinRequest&)>& change,
                      const std::function<void(int, Result<std::unique_ptr<Membership>>&)>& body) {
  std::vector<std::thread> threads;
  for (int rank = 0; rank < meeting.num_ranks; ++rank) {
    JoinRequest request = meeting.request(rank);
    if (change) change(request);
    auto held = std::make_shared<JoinRequest>(std::move(request));
    threads.emplace_back([&, rank, held] {
      auto membership = Membership::join(std::move(*held));
      body(rank, membership);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

inline UniqueFd connect_raw(const HostPort& address) {
  auto fd = connect_tcp(address, "", patience());
  EXPECT_TRUE(fd.ok());
  return std::move(*fd);
}

}  // namespace hfr
