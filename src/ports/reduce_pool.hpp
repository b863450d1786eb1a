// ReducePool: adds chunks on the CPU.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/types.hpp"
#include "ports/completion.hpp"

namespace hfr {

// dsts[d][i] = op over s of srcs[s][i], for i in [0, count), in the order of the sources. A
// destination may be the same address as a source, or overlap none.
struct ReduceDescriptor {
  static constexpr int kMaxSources = 18;       // 16 ranks and 2 children
  static constexpr int kMaxDestinations = 16;  // every local rank's buffer
  void* dsts[kMaxDestinations];
  const void* srcs[kMaxSources];
  int num_dsts = 0;
  int num_srcs = 0;
  size_t count = 0;  // elements
  DType dtype = DType::kFloat32;
  Op op = Op::kSum;
  int divisor = 1;               // Op::kAvg only: the result is divided by it (1: a partial sum)
  uint64_t scales[kMaxSources];  // Op::kPremulSum only: each source's factor (base/types.hpp)
  bool streaming = false;        // store past the caches: nobody reads the result soon
  bool from_memory = false;      // the sources have left the last cache
  bool demote = false;           // move the result to the last cache: a device reads it soon
  // A further destination that is stored past the caches while the others stay in them; null: none.
  void* streaming_dst = nullptr;
};

class ReducePool {
 public:
  virtual ~ReducePool() = default;
  // Adds now, on the calling thread.
  virtual void run(const ReduceDescriptor& work) = 0;
  // False when the pool's queue is full. The descriptor is copied.
  virtual bool submit(const ReduceDescriptor& work, Token token) = 0;
  // Tokens of finished work; returns how many. Never blocks.
  virtual size_t poll(std::span<Token> done) = 0;
  // Of work that is not finished: a local rank whose thread is adding a part of it; -1: none is, or
  // it is finished.
  virtual int holder([[maybe_unused]] Token token) const { return -1; }
};

}  // namespace hfr
