#include "sched/expressions.hpp"

#include <algorithm>

namespace hfr {

Expressions::Expressions(int num_nodes) : num_nodes_(index(num_nodes)) {
  for (size_t node = 0; node < num_nodes_; ++node) {
    counts_.emplace_back(num_nodes_, 0);
    counts_.back()[node] = 1;
    divided_.push_back(false);
  }
}

int Expressions::add(const std::vector<int>& terms, bool final) {
  auto [known, is_new] = known_.try_emplace({terms, final}, static_cast<int>(counts_.size()));
  if (!is_new) return known->second;
  std::vector<int> sum(num_nodes_, 0);
  bool any_divided = final;
  for (int term : terms) {
    for (size_t node = 0; node < num_nodes_; ++node) {
      sum[node] = std::min(sum[node] + counts_[index(term)][node], kMany);
    }
    any_divided = any_divided || divided_[index(term)];
  }
  counts_.push_back(std::move(sum));
  divided_.push_back(any_divided);
  return known->second;
}

}  // namespace hfr
