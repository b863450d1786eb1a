#include "engine/failure.hpp"

#include <algorithm>
#include <cstring>

#include "base/text.hpp"

namespace hfr {

Status describe_stall(const Stall& stall, const Shape& shape, uint64_t timeout_ms) {
  const int rank = stall.wait.rank;
  const std::string who =
      rank < 0 ? std::string("this rank")
               : cat("rank ", rank, " (node ", shape.node_of_rank[static_cast<size_t>(rank)], ")");
  const std::string me = cat("rank ", shape.rank, " (node ", shape.node, ")");
  if (stall.peer_lost) {
    return Status(Code::kRemoteError,
                  cat(me, " lost ", who, " in ", stall.operation, ", waiting for ",
                      wait_text(stall.wait), ": ", stall.peer_error));
  }
  return Status(Code::kTimeout, cat(me, " waited ", timeout_ms, " ms in ", stall.operation, " for ",
                                    who, ": ", wait_text(stall.wait)));
}

Failure in_context(const Failure& failure, const Shape& shape, const std::optional<Stall>& doing) {
  std::string sentence = failure.status.message();
  if (failure.rank >= 0 && failure.rank < shape.num_ranks) {
    sentence += cat("; rank ", failure.rank, " is on node ",
                    shape.node_of_rank[static_cast<size_t>(failure.rank)]);
  }
  if (doing) {
    sentence += cat("; rank ", shape.rank, " (node ", shape.node, ") was in ", doing->operation);
    if (doing->wait.rank >= 0)
      sentence += cat(", waiting for rank ", doing->wait.rank, ": ", wait_text(doing->wait));
  }
  return {Status(failure.status.code(), sentence), failure.rank};
}

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
  // Another process wrote it.
  const std::string text(cell.text, strnlen(cell.text, FailureCell::kTextBytes));
  const Code code =
      is_failure_code(cell.code) ? static_cast<Code>(cell.code) : Code::kInternalError;
  return Failure{Status(code, text), cell.rank};
}

}  // namespace hfr
