// GdrTrial: whether GDRCopy brings what the copy engine brings, and up to which size it is faster.
// On a piece of GPU memory of its own, before a rank's first operation.
#pragma once

#include <memory>
#include <optional>

#include "device/cuda/bounces.hpp"
#include "device/cuda/gdr_mappings.hpp"

namespace hfr {

class GdrTrial {
 public:
  // `bounces`, which are open, copy by the copy engine as yet.
  GdrTrial(const CudaContext& context, GdrCopy& gdr, Bounces& bounces)
      : context_(context), gdr_(gdr), bounces_(bounces) {}
  GdrTrial(const GdrTrial&) = delete;
  GdrTrial& operator=(const GdrTrial&) = delete;

  // `limit`: of both directions; none: measured, in some hundred microseconds. Fails with what
  // GDRCopy did not do.
  Result<GdrLimits> run(std::optional<size_t> limit);
  // The piece of memory, which the driver gives back only when all streams have finished.
  void free();

 private:
  static constexpr size_t kBytes = kGpuPageBytes;

  Status check();
  Result<size_t> measure(bool reads);
  // By the copy engine, between the spare bounce and the piece of memory. Fails when it takes long.
  Status engine_in(size_t bytes);
  Status engine_out(size_t bytes);
  template <typename Test>
  Status finish(CUresult begun, const Test& finished);

  const CudaContext& context_;
  GdrCopy& gdr_;
  Bounces& bounces_;
  CUdeviceptr allocated_ = 0;
  CUdeviceptr memory_ = 0;
  std::shared_ptr<const GdrCopy::Mapping> mapping_;
};

}  // namespace hfr
