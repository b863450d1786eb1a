// Checksums of chunks on their way: where they are compared, and how a difference is told
// (docs/integrity.md). Nothing here is called unless they were asked for, but for the question
// whether they were.
#include <string>

#include "base/text.hpp"
#include "engine/executor.hpp"
#include "engine/lane.hpp"
#include "ports/checksum.hpp"

namespace hfr {
namespace {

std::string hex(uint32_t number) {
  std::string text(8, '0');
  for (size_t i = 8; i-- > 0; number >>= 4) text[i] = "0123456789abcdef"[number & 15];
  return text;
}

}  // namespace

void Executor::fail_corrupted(const Operation& o, uint64_t chunk, const std::string& way, int from,
                              uint32_t expected, uint32_t found) {
  const Shape& shape = context_.shape;
  const auto who = [&](int rank) {
    return cat("rank ", rank, " (node ", shape.node_of_rank[static_cast<size_t>(rank)], ")");
  };
  fail({Status(Code::kCorrupted,
               cat(operation_text(o), ": bytes of chunk ", chunk - o.first_chunk, " of ",
                   o.num_chunks, " changed in ", way, " from ", who(from), " to ", who(shape.rank),
                   ": their checksum was ", hex(expected), " and is ", hex(found))),
        from});
}

void Executor::fail_corrupted_copy(const Device::CorruptedCopy& corrupted) {
  const CopyDescriptor& copy = corrupted.copy;
  const uint64_t chunk = copy.signal_value - 1;
  uint64_t from = 0;
  const Operation* o = find_chunk(chunk, from);
  if (o == nullptr) o = &op(completed_.load(std::memory_order_relaxed));
  const auto lane =
      static_cast<int>(chunk % static_cast<uint64_t>(context_.staging.shape().window));
  fail_corrupted(*o, chunk, "copy-out", context_.shape.owner(context_.shape.node, lane),
                 checksum_in(copy.expect_checksum->load()), corrupted.found);
}

bool Lane::check_sources(const Step& step, const Operation& op, Executor& executor) {
  if (context_->checksum == nullptr || sources_checked_) return true;
  for (SlotRef src : step.srcs) {
    if (src.kind == SlotKind::kResult) continue;
    if (src.kind != SlotKind::kLocal) {
      if (!check_arrival(src, source(src), op, executor)) return false;
      continue;
    }
    for (int r = 0; r < context_->shape.num_local(); ++r) {
      if (brings_input(op, r) && !check_input(op, r, executor)) return false;
    }
  }
  sources_checked_ = true;
  return true;
}

// What copy engines brought, and what is read where it lies, has no checksum.
bool Lane::check_input(const Operation& op, int local_rank, Executor& executor) {
  const Staging& staging = context_->staging;
  const bool by_engine = (staging.post(local_rank, op.number).flags & Post::kStaged) != 0;
  if (op.sends[static_cast<size_t>(local_rank)] != nullptr || by_engine) return true;
  const uint64_t expected = staging.input_checksum(idx_, local_rank).load();
  const uint32_t found = context_->checksum(staging.input(idx_, local_rank), op.chunk_size(chunk_));
  if (checksum_word(chunk_ + 1, found) == expected) return true;
  const Shape& shape = context_->shape;
  executor.fail_corrupted(
      op, chunk_, "copy-in",
      shape.nodes[static_cast<size_t>(shape.node)][static_cast<size_t>(local_rank)],
      checksum_in(expected), found);
  return false;
}

bool Lane::check_arrival(SlotRef slot, const std::byte* bytes, const Operation& op,
                         Executor& executor) {
  if (context_->checksum == nullptr) return true;
  const uint32_t at = landing(slot);
  const uint32_t expected = arrivals_->checksum[at];
  const uint32_t found = context_->checksum(bytes, op.chunk_size(chunk_));
  if (slot.kind == SlotKind::kResult) value_checksum_ = found;
  if (found == expected) return true;
  executor.fail_corrupted(
      op, chunk_,
      slot.kind == SlotKind::kResult ? "sending the final value" : "sending the partial sum",
      arrivals_->peer[at], expected, found);
  return false;
}

bool Lane::check_own_result(const Step& step, const Operation& op, Executor& executor) {
  if (context_->checksum == nullptr || !step.final || !context_->owner_keeps_result()) return true;
  const std::byte* own = static_cast<const std::byte*>(op.desc.recv) + op.chunk_offset(chunk_);
  const uint32_t found = context_->checksum(own, op.chunk_size(chunk_));
  if (found == value_checksum(op)) return true;
  executor.fail_corrupted(op, chunk_, "storing the owner's result", context_->shape.rank,
                          value_checksum(op), found);
  return false;
}

uint32_t Lane::value_checksum(const Operation& op) {
  if (!value_checksum_) value_checksum_ = context_->checksum(value_, op.chunk_size(chunk_));
  return *value_checksum_;
}

}  // namespace hfr
