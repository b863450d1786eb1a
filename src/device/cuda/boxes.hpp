// Boxes: device memory of one rank's GPU that the other members of its group write and read, and
// their way to it.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "device/cuda/context.hpp"

namespace hfr {

class Boxes {
 public:
  static Result<std::shared_ptr<Boxes>> make(std::shared_ptr<const CudaContext> context,
                                             size_t bytes);
  ~Boxes();
  Boxes(const Boxes&) = delete;
  Boxes& operator=(const Boxes&) = delete;

  std::byte* data() const { return reinterpret_cast<std::byte*>(memory_); }
  // What others need to reach them, as bytes.
  Result<std::vector<std::byte>> offer() const;

 private:
  explicit Boxes(std::shared_ptr<const CudaContext> context) : context_(std::move(context)) {}

  const std::shared_ptr<const CudaContext> context_;
  CUdeviceptr memory_ = 0;
};

// Another rank's boxes as `context`'s GPU reaches them. Of the same process they must outlive this.
class PeerBoxes {
 public:
  // Fails when what arrives is not what the other wrote there.
  static Result<std::unique_ptr<PeerBoxes>> reach(std::shared_ptr<const CudaContext> context,
                                                  std::span<const std::byte> offer,
                                                  bool same_process, const Boxes& mine);
  ~PeerBoxes();
  PeerBoxes(const PeerBoxes&) = delete;
  PeerBoxes& operator=(const PeerBoxes&) = delete;

  std::byte* data() const { return reinterpret_cast<std::byte*>(memory_); }

 private:
  explicit PeerBoxes(std::shared_ptr<const CudaContext> context) : context_(std::move(context)) {}

  const std::shared_ptr<const CudaContext> context_;
  CUdeviceptr memory_ = 0;
  bool opened_ = false;  // from another process
};

}  // namespace hfr
