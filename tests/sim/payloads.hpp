// Payloads of simulated ranks.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "engine/operation.hpp"

namespace hfr_tests {

// The real payloads of every rank, small enough for hundreds of nodes.
class Payloads {
 public:
  Payloads(int num_ranks, const std::vector<size_t>& counts) {
    for (size_t count : counts) {
      sends_.emplace_back();
      recvs_.emplace_back();
      for (int rank = 0; rank < num_ranks; ++rank) {
        sends_.back().emplace_back(count);
        recvs_.back().emplace_back(count, -1);
        for (size_t i = 0; i < count; ++i) sends_.back().back()[i] = value(rank, i);
      }
      sums_.emplace_back(count, 0);
      for (const auto& send : sends_.back()) {
        for (size_t i = 0; i < count; ++i) sums_.back()[i] += send[i];
      }
    }
  }

  hfr::OpDescriptor descriptor(int rank, size_t op) {
    auto& send = sends_[op][static_cast<size_t>(rank)];
    return {.send = send.data(),
            .recv = recvs_[op][static_cast<size_t>(rank)].data(),
            .count = send.size(),
            .dtype = hfr::DType::kInt64};
  }

  bool is_right(size_t rank, size_t op) const { return recvs_[op][rank] == sums_[op]; }
  void check() const {
    for (size_t op = 0; op < sends_.size(); ++op) {
      for (size_t rank = 0; rank < recvs_[op].size(); ++rank)
        ASSERT_EQ(recvs_[op][rank], sums_[op]) << "operation " << op << ", rank " << rank;
    }
  }

 private:
  static int64_t value(int rank, size_t i) {
    return static_cast<int64_t>(i * 31) + (rank + 1) * 1'000'003LL * static_cast<int64_t>(i % 97);
  }
  std::vector<std::vector<std::vector<int64_t>>> sends_, recvs_;  // by operation, by rank
  std::vector<std::vector<int64_t>> sums_;
};

}  // namespace hfr_tests
