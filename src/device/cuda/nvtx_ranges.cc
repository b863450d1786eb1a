#include "device/cuda/nvtx_ranges.hpp"

#if defined(HFR_WITH_NVTX)

#include <nvtx3/nvToolsExt.h>

namespace hfr {
namespace {

// NVTX may give a range the number 0, and does not where nobody listens.
constexpr uint64_t kNoNumber = UINT64_MAX;

class NvtxRanges : public Ranges {
 public:
  explicit NvtxRanges(nvtxDomainHandle_t domain)
      : domain_(domain),
        operation_(nvtxDomainRegisterStringA(domain, "all_reduce")),
        add_(nvtxDomainRegisterStringA(domain, "add")) {}

  uint64_t begin(Kind kind, size_t bytes) override {
    nvtxEventAttributes_t attributes{};
    attributes.version = NVTX_VERSION;
    attributes.size = NVTX_EVENT_ATTRIB_STRUCT_SIZE;
    attributes.payloadType = NVTX_PAYLOAD_TYPE_UNSIGNED_INT64;
    attributes.payload.ullValue = bytes;
    attributes.messageType = NVTX_MESSAGE_TYPE_REGISTERED;
    attributes.message.registered = kind == Kind::kOperation ? operation_ : add_;
    const uint64_t range = nvtxDomainRangeStartEx(domain_, &attributes);
    return range == 0 ? kNoNumber : range;
  }
  void end(uint64_t range) override { nvtxDomainRangeEnd(domain_, range == kNoNumber ? 0 : range); }

 private:
  const nvtxDomainHandle_t domain_;
  const nvtxStringHandle_t operation_;
  const nvtxStringHandle_t add_;
};

}  // namespace

std::unique_ptr<Ranges> make_nvtx_ranges() {
  // One for all communicators of the process; null where no profiler is attached.
  static const nvtxDomainHandle_t domain = nvtxDomainCreateA("hfreduce");
  if (domain == nullptr) return nullptr;
  return std::make_unique<NvtxRanges>(domain);
}

}  // namespace hfr

#else

namespace hfr {

std::unique_ptr<Ranges> make_nvtx_ranges() { return nullptr; }

}  // namespace hfr

#endif
