// CudaDevice: buffers on a GPU, moved by its copy engines; no kernel runs but in groups. This
// header names no CUDA type: it is the same with and without the backend.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ports/device.hpp"

namespace hfr {

struct CudaOptions {
  void* context = nullptr;        // the caller's CUcontext; null: the primary one of `ordinal`
  int ordinal = 0;                // mod the number of devices
  bool memory_operations = true;  // false: events, as on devices that lack them
  uint64_t patience_ns = 0;       // how long the destructor waits for the caller's streams
  std::byte* staging = nullptr;
  std::shared_ptr<const void> mapping;  // what keeps it mapped
  size_t staging_bytes = 0;
  size_t bounce_bytes = 0;  // of the largest small message; 0: there are none
  // The largest that the CPU copies through GDRCopy, or set-up fails; none: as it turns out.
  std::optional<size_t> gdr_copy_bytes;
  // Makes one thing for all ranks of the process that share the staging's mapping, or returns the
  // one that is there.
  using Maker = std::function<Result<std::shared_ptr<void>>()>;
  std::function<Result<std::shared_ptr<void>>(const Maker&)> once_per_mapping;
};

// A rank's way into a group of GPUs (docs/cuda.md). Set-up only.
class CudaGroupSide {
 public:
  virtual ~CudaGroupSide() = default;
  // Makes this rank's boxes. Returns what the others need to reach them; `kept` is what the ranks
  // of the process keep alive together.
  virtual Result<std::vector<std::byte>> offer_boxes(size_t bytes, std::shared_ptr<void>& kept) = 0;

  struct Seat {
    struct Member {
      std::span<const std::byte> offer;
      bool same_process = false;
    };
    std::vector<Member> members;
    size_t idx = 0;  // this rank's
    size_t slot_bytes = 0;
    int max_blocks = 1;
  };
  // Every member's boxes, as this rank's GPU calls them. Where it fails `unreached` is the member
  // whose are not reached.
  virtual Result<std::vector<std::byte*>> join(const Seat& seat, size_t& unreached) = 0;
};

struct CudaDeviceInfo {
  std::unique_ptr<Device> device;
  CudaGroupSide* group_side = nullptr;  // a part of the device; null: this build has no kernels
  std::string identity;                 // equal for ranks of a machine that use one GPU
  std::vector<std::string> reaches;     // identities of the GPUs that it reaches over NVLink
  bool memory_operations = false;
  std::string small_messages;  // how they are copied, for the log
};

// The GPU that open_cuda_device() would use, as CudaDeviceInfo::identity names it; makes no
// context. Both fail with a sentence: no driver, no device, no pinned memory, or a build without
// CUDA.
Result<std::string> cuda_identity(void* context, int ordinal);
Result<CudaDeviceInfo> open_cuda_device(const CudaOptions& options);

// The calling thread's current CUcontext; null when it has none or there is no driver.
void* current_cuda_context();

}  // namespace hfr
