#include "device/cuda/gdr_trial.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <random>
#include <span>
#include <vector>

#include "base/net.hpp"
#include "base/shared_memory.hpp"
#include "base/waiter.hpp"

namespace hfr {
namespace {

constexpr uint64_t kPatienceNs = 1'000'000'000;
constexpr int kTimes = 5;           // of which the shortest counts
constexpr size_t kLeastTimed = 64;  // bytes, and then four times as many, and so on

// The shortest of some; nothing when one failed.
template <typename Copy>
Result<uint64_t> shortest_ns(const Copy& copy) {
  uint64_t shortest = UINT64_MAX;
  for (int i = 0; i < kTimes; ++i) {
    const uint64_t begin = monotonic_ns();
    HFR_RETURN_IF_ERROR(copy());
    shortest = std::min(shortest, monotonic_ns() - begin);
  }
  return shortest;
}

Status taken(bool went_well) {
  return went_well ? Status() : Status(Code::kSystemError, "GDRCopy refused a copy");
}

}  // namespace

Result<GdrLimits> GdrTrial::run(std::optional<size_t> limit) {
  ContextScope scope(context_);
  HFR_RETURN_IF_ERROR(context_.driver().status(
      "cuMemAlloc for GDRCopy's trial", context_.driver().cuMemAlloc(&allocated_, 2 * kBytes)));
  memory_ = round_up(allocated_, kBytes);
  HFR_ASSIGN_OR_RETURN(mapping_, gdr_.map(memory_, kBytes));
  HFR_RETURN_IF_ERROR(check());
  GdrLimits limits;
  if (limit) {
    limits.read = limits.write = std::min(*limit, bounces_.bytes());
  } else {
    HFR_ASSIGN_OR_RETURN(limits.read, measure(true));
    HFR_ASSIGN_OR_RETURN(limits.write, measure(false));
  }
  mapping_ = nullptr;
  return limits;
}

void GdrTrial::free() {
  mapping_ = nullptr;
  if (allocated_ != 0) context_.driver().cuMemFree(allocated_);
  allocated_ = 0;
}

Status GdrTrial::check() {
  const size_t bytes = std::min(kBytes, bounces_.bytes());
  std::byte* const bounce = bounces_.spare().data;
  std::mt19937 random(1);
  std::vector<std::byte> want(bytes);
  auto fill = [&](std::span<std::byte> data) {
    for (std::byte& b : data) b = static_cast<std::byte>(random());
  };
  const Status wrong(Code::kSystemError,
                     "GDRCopy brought other bytes than the copy engine; it is broken here");
  fill(want);
  std::copy(want.begin(), want.end(), bounce);
  HFR_RETURN_IF_ERROR(engine_out(bytes));
  // Beginnings and sizes that are and are not multiples of what it moves at once.
  for (size_t offset : {0, 1, 4, 24, 63}) {
    for (size_t size : {1, 3, 8, 64, 127, 4096, 30'011}) {
      if (offset + size > bytes) continue;
      std::vector<std::byte> piece(size);
      HFR_RETURN_IF_ERROR(taken(mapping_->read(piece.data(), memory_ + offset, size)));
      if (std::memcmp(piece.data(), &want[offset], size) != 0) return wrong;
      fill(piece);
      HFR_RETURN_IF_ERROR(taken(mapping_->write(memory_ + offset, piece.data(), size)));
      std::copy(piece.begin(), piece.end(), &want[offset]);
      HFR_RETURN_IF_ERROR(engine_in(bytes));
      if (std::memcmp(bounce, want.data(), bytes) != 0) return wrong;
    }
  }
  return Status();
}

Result<size_t> GdrTrial::measure(bool reads) {
  std::byte* bounce = bounces_.spare().data;
  const size_t most = std::min(kBytes, bounces_.bytes());
  size_t limit = 0;
  for (size_t bytes = std::min(kLeastTimed, most);; bytes = std::min(4 * bytes, most)) {
    auto by_cpu = [&] {
      return taken(reads ? mapping_->read(bounce, memory_, bytes)
                         : mapping_->write(memory_, bounce, bytes));
    };
    auto by_engine = [&] { return reads ? engine_in(bytes) : engine_out(bytes); };
    HFR_ASSIGN_OR_RETURN(const uint64_t cpu_ns, shortest_ns(by_cpu));
    HFR_ASSIGN_OR_RETURN(const uint64_t engine_ns, shortest_ns(by_engine));
    if (cpu_ns >= engine_ns) return limit;
    limit = bytes;
    if (bytes == most) return limit;
  }
}

Status GdrTrial::engine_in(size_t bytes) {
  Bounce& spare = bounces_.spare();
  bounces_.aim(spare, reinterpret_cast<const void*>(memory_), nullptr, bytes);
  const CUresult result = bounces_.copy_in(nullptr, spare);
  return finish(result, [&] { return bounces_.came(spare); });
}

Status GdrTrial::engine_out(size_t bytes) {
  Bounce& spare = bounces_.spare();
  bounces_.aim(spare, nullptr, reinterpret_cast<void*>(memory_), bytes);
  const CUresult result = bounces_.copy_out(nullptr, spare, false);
  return finish(result, [&] { return bounces_.left(spare); });
}

template <typename Test>
Status GdrTrial::finish(CUresult begun, const Test& finished) {
  HFR_RETURN_IF_ERROR(context_.driver().status("a copy in GDRCopy's trial", begun));
  const uint64_t until = monotonic_ns() + kPatienceNs;
  while (!finished()) {
    if (monotonic_ns() > until) {
      return Status(Code::kTimeout,
                    "the copy engine was busy for a second while GDRCopy was to be tried");
    }
    Waiter::relax();
  }
  return Status();
}

}  // namespace hfr
