#include "device/cuda/boxes.hpp"

#include <unistd.h>

#include <cstring>

#include "base/text.hpp"

namespace hfr {
namespace {

struct Offer {
  uint64_t address = 0;
  uint64_t context = 0;  // of the process that offers
  CUipcMemHandle handle{};
  uint64_t word = 0;  // lies at the beginning of the boxes until they are used
};
constexpr size_t kTryOut = sizeof(uint64_t);  // behind it: where others' words are tried

uint64_t word_of(CUdeviceptr memory) {
  return memory ^ (static_cast<uint64_t>(getpid()) << 44) ^ 0x4846526564756365;
}

}  // namespace

Result<std::shared_ptr<Boxes>> Boxes::make(std::shared_ptr<const CudaContext> context,
                                           size_t bytes) {
  const Driver& driver = context->driver();
  ContextScope scope(*context);
  std::shared_ptr<Boxes> boxes(new Boxes(std::move(context)));
  if (CUresult refused = driver.cuMemAlloc(&boxes->memory_, bytes); refused != CUDA_SUCCESS) {
    return Status(Code::kOutOfMemory,
                  cat(bytes_text(bytes),
                      " of GPU memory for its group's boxes: ", driver.text("cuMemAlloc", refused),
                      "; lower HFREDUCE_CHUNK_BYTES or HFREDUCE_WINDOW, or set "
                      "HFREDUCE_GPU_GROUP=0"));
  }
  // Copies of this kind may be kernels of the driver's, whose first launch waits for all streams.
  const CUresult result = run_in_own_stream(driver, [&](CUstream stream) {
    const size_t half = bytes / 2;
    const CUresult odd =
        driver.cuMemcpyDtoDAsync(boxes->memory_ + 1, boxes->memory_ + half + 2, 3, stream);
    return odd == CUDA_SUCCESS
               ? driver.cuMemcpyDtoDAsync(boxes->memory_, boxes->memory_ + half, half, stream)
               : odd;
  });
  HFR_RETURN_IF_ERROR(driver.status("copying in a group's boxes", result));
  return boxes;
}

Boxes::~Boxes() {
  ContextScope scope(*context_);
  if (memory_ != 0) context_->driver().cuMemFree(memory_);
}

Result<std::vector<std::byte>> Boxes::offer() const {
  const Driver& driver = context_->driver();
  ContextScope scope(*context_);
  Offer offer;
  offer.address = memory_;
  offer.context = reinterpret_cast<uint64_t>(context_->get());
  offer.word = word_of(memory_);
  // A GPU that cannot share memory between processes can between threads.
  driver.cuIpcGetMemHandle(&offer.handle, memory_);
  const CUresult written = run_in_own_stream(driver, [&](CUstream stream) {
    return driver.cuMemcpyHtoDAsync(memory_, &offer.word, sizeof(offer.word), stream);
  });
  HFR_RETURN_IF_ERROR(driver.status("writing to a group's boxes", written));
  std::vector<std::byte> bytes(sizeof(offer));
  std::memcpy(bytes.data(), &offer, sizeof(offer));
  return bytes;
}

Result<std::unique_ptr<PeerBoxes>> PeerBoxes::reach(std::shared_ptr<const CudaContext> context,
                                                    std::span<const std::byte> offer,
                                                    bool same_process, const Boxes& mine) {
  Offer theirs;
  if (offer.size() != sizeof(theirs)) return Status(Code::kInternalError, "no offer of boxes");
  std::memcpy(&theirs, offer.data(), sizeof(theirs));
  const Driver& driver = context->driver();
  ContextScope scope(*context);
  std::unique_ptr<PeerBoxes> boxes(new PeerBoxes(context));
  if (same_process) {
    auto* other = reinterpret_cast<CUcontext>(theirs.context);
    if (other != context->get()) {
      const CUresult result = driver.cuCtxEnablePeerAccess(other, 0);
      if (result != CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED) {
        HFR_RETURN_IF_ERROR(driver.status("cuCtxEnablePeerAccess", result));
      }
    }
    boxes->memory_ = theirs.address;
  } else {
    HFR_RETURN_IF_ERROR(driver.status(
        "cuIpcOpenMemHandle", driver.cuIpcOpenMemHandle(&boxes->memory_, theirs.handle,
                                                        CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS)));
    boxes->opened_ = true;
  }
  uint64_t word = 0;
  const CUresult read = run_in_own_stream(driver, [&](CUstream stream) {
    const CUdeviceptr here = reinterpret_cast<CUdeviceptr>(mine.data()) + kTryOut;
    const CUresult copied = driver.cuMemcpyDtoDAsync(here, boxes->memory_, sizeof(word), stream);
    return copied == CUDA_SUCCESS ? driver.cuMemcpyDtoHAsync(&word, here, sizeof(word), stream)
                                  : copied;
  });
  HFR_RETURN_IF_ERROR(driver.status("reading from the boxes", read));
  if (word != theirs.word)
    return Status(Code::kSystemError, "what was read is not what was written");
  return boxes;
}

PeerBoxes::~PeerBoxes() {
  ContextScope scope(*context_);
  if (opened_) context_->driver().cuIpcCloseMemHandle(memory_);
}

}  // namespace hfr
