#include "engine/failure.hpp"

#include <algorithm>
#include <cstring>

namespace hfr {

void publish_failure(FailureCell& cell, const Failure& failure) {
  uint32_t none = 0;
  if (!cell.state.compare_exchange_strong(none, 1)) return;
  const std::string& text = failure.status.message();
  size_t size = std::min(text.size(), FailureCell::kTextBytes - 1);
  std::memcpy(cell.text, text.data(), size);
  cell.text[size] = '\0';
  cell.code = static_cast<int32_t>(failure.status.code());
  cell.rank = failure.rank;
  cell.state.store(2);
}

Failure read_failure(const FailureCell& cell) {
  if (cell.state.load(std::memory_order_acquire) != 2) return Failure{};
  return Failure{Status(static_cast<Code>(cell.code), cell.text), cell.rank};
}

}  // namespace hfr
