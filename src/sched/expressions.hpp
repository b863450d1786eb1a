// Expressions: symbolic sums, so that two values are known to have the same bits. Pure.
#pragma once

#include <cstddef>
#include <map>
#include <utility>
#include <vector>

namespace hfr {

// A value is a number; equal numbers mean the same additions in the same order.
class Expressions {
 public:
  explicit Expressions(int num_nodes);

  // The inputs of `node`'s ranks.
  int input(int node) const { return node; }
  // The terms added in their order, then divided when `final`.
  int add(const std::vector<int>& terms, bool final);

  // How often the value holds `node`'s input; kMany stands for all larger numbers.
  int count(int value, int node) const { return counts_[index(value)][index(node)]; }
  // An average has divided it.
  bool divided(int value) const { return divided_[index(value)]; }

  static constexpr int kMany = 1000;

 private:
  static size_t index(int i) { return static_cast<size_t>(i); }

  size_t num_nodes_;
  std::vector<std::vector<int>> counts_;
  std::vector<bool> divided_;
  std::map<std::pair<std::vector<int>, bool>, int> known_;
};

}  // namespace hfr
