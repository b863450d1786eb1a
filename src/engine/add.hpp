// Adding any number of sources with kernels that take a limited number.
#pragma once

#include "ports/reduce_pool.hpp"

namespace hfr {

// Collects sources in a descriptor; when that is full it adds what it has and goes on from there.
// For destinations that are none of the later sources.
class Adder {
 public:
  Adder(ReducePool& pool, ReduceDescriptor& work) : pool_(pool), work_(work) {}

  // `scale`: for Op::kPremulSum.
  void add_source(const void* src, uint64_t scale) {
    if (work_.num_srcs == ReduceDescriptor::kMaxSources) {
      ReduceDescriptor part = work_;
      part.divisor = 1;
      part.num_dsts = 1;
      part.streaming = false;
      part.streaming_dst = nullptr;  // may be the place of an input that is still to be added
      pool_.run(part);
      work_.srcs[0] = work_.dsts[0];
      work_.scales[0] = accumulator_one(work_.dtype);
      work_.num_srcs = 1;
    }
    work_.scales[work_.num_srcs] = scale;
    work_.srcs[work_.num_srcs++] = src;
  }

 private:
  ReducePool& pool_;
  ReduceDescriptor& work_;
};

}  // namespace hfr
