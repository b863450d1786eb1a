// InlinePool: adds on the thread that submits. Right where every rank brings its own thread and the
// ranks of a node together have a core each.
#pragma once

#include <array>

#include "cpu/reduce.hpp"
#include "ports/reduce_pool.hpp"

namespace hfr {

class InlinePool : public ReducePool {
 public:
  explicit InlinePool(const KernelTable& kernels) : kernels_(kernels) {}

  void run(const ReduceDescriptor& work) override;
  bool submit(const ReduceDescriptor& work, Token token) override;
  size_t poll(std::span<Token> done) override;

 private:
  static constexpr size_t kCapacity = 64;
  const KernelTable& kernels_;
  std::array<Token, kCapacity> done_;
  size_t num_done_ = 0;
};

}  // namespace hfr
