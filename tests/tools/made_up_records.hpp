// Ranks' records that are made up, and what the verdict over them must be.
#pragma once

#include <gmock/gmock.h>

#include <string>
#include <vector>

#include "base/signature.hpp"
#include "tools/inspect.hpp"
#include "tools/inspect_verdict.hpp"

namespace hfr_tests {

constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint64_t kNow = 100 * kSecond;

inline uint64_t call(size_t count, hfr::DType dtype = hfr::DType::kFloat32,
                     hfr::Op op = hfr::Op::kSum) {
  return hfr::make_signature(count, dtype, op);
}

// Ranks of two nodes, by turns, which have completed three operations of 10 elements.
inline std::vector<hfr::tools::RankState> make_ranks(int num_ranks) {
  std::vector<hfr::tools::RankState> ranks;
  for (int rank = 0; rank < num_ranks; ++rank) {
    hfr::tools::RankState state;
    hfr::Record& record = state.record;
    record.owner = {.communicator = 1,
                    .rank = rank,
                    .num_ranks = num_ranks,
                    .node = rank % 2,
                    .num_nodes = 2,
                    .local_rank = rank / 2,
                    .num_local = (num_ranks + 1) / 2};
    record.process.pid = 100 + rank;
    record.host = rank % 2 == 0 ? "alpha" : "beta";
    record.calls.assign(3, call(10));
    record.called = record.completed = 3;
    state.process = hfr::ProcessState::kRunning;
    state.seen_ns = kNow;
    ranks.push_back(state);
  }
  return ranks;
}

// It calls another one, and waits in it.
inline void wait_for(hfr::tools::RankState& rank, int whom, hfr::WaitStage stage,
                     uint64_t ns = 10 * kSecond) {
  hfr::Record& record = rank.record;
  if (record.called == record.completed) {
    record.calls.push_back(call(20));
    ++record.called;
  }
  record.wait = hfr::RecordedWait{record.completed, kNow - ns, kNow, hfr::Wait{whom, stage, 3, 8}};
}

inline void fail(hfr::tools::RankState& rank, hfr::Code code, int whom,
                 const std::string& sentence) {
  rank.record.failure = hfr::Failure{hfr::Status(code, sentence), whom};
  rank.record.failed_ns = kNow;
  rank.record.end = hfr::record::EndState::kFailed;
}

inline void expect_verdict(const std::vector<hfr::tools::RankState>& ranks, const std::string& kind,
                           const std::vector<int>& culprits, const std::string& part) {
  const hfr::tools::Verdict verdict = judge(ranks);
  EXPECT_EQ(verdict.kind, kind) << verdict.sentence;
  EXPECT_EQ(verdict.culprits, culprits) << verdict.sentence;
  EXPECT_THAT(verdict.sentence, testing::HasSubstr(part));
  EXPECT_EQ(verdict.advice.empty(), verdict.healthy()) << verdict.sentence;
  EXPECT_EQ(verdict.sentence.back(), '.') << verdict.sentence;
}

}  // namespace hfr_tests
