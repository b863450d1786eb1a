#include "device/cuda/group_kernel.hpp"

#include <algorithm>

#include "base/text.hpp"
#include "cuda/group_add.hpp"

namespace hfr {

bool GroupKernel::is_built() { return group_add_image() != nullptr; }

Result<std::unique_ptr<GroupKernel>> GroupKernel::load(std::shared_ptr<const CudaContext> context,
                                                       const Seat& seat) {
  const Driver& driver = context->driver();
  ContextScope scope(*context);
  std::unique_ptr<GroupKernel> made(new GroupKernel(std::move(context), seat));
  HFR_RETURN_IF_ERROR(driver.status("loading the kernel of GPU groups",
                                    driver.cuModuleLoadData(&made->module_, group_add_image())));
  for (int dtype = 0; dtype < kNumDTypes; ++dtype) {
    const std::string name = cat("hfr_group_add_", dtype_name(static_cast<DType>(dtype)));
    HFR_RETURN_IF_ERROR(driver.status(
        name, driver.cuModuleGetFunction(&made->functions_[static_cast<size_t>(dtype)],
                                         made->module_, name.c_str())));
  }
  const CUresult launched = run_in_own_stream(driver, [&](CUstream stream) {
    CUresult result = CUDA_SUCCESS;
    CopyDescriptor nothing;
    for (int dtype = 0; dtype < kNumDTypes && result == CUDA_SUCCESS; ++dtype) {
      nothing.dtype = static_cast<DType>(dtype);
      result = made->add(nothing, stream);
    }
    return result;
  });
  HFR_RETURN_IF_ERROR(driver.status("launching the kernel of GPU groups", launched));
  return made;
}

GroupKernel::~GroupKernel() {
  ContextScope scope(*context_);
  if (module_ != nullptr) context_->driver().cuModuleUnload(module_);
}

CUresult GroupKernel::add(const CopyDescriptor& what, CUstream stream) const {
  GroupAddArgs args;
  args.own = what.src;
  args.boxes = what.dst;
  args.stride = seat_.slot_bytes;
  args.count = what.bytes / dtype_size(what.dtype);
  args.num_inputs = static_cast<uint32_t>(seat_.num_members);
  args.own_idx = static_cast<uint32_t>(seat_.idx);
  args.op = static_cast<uint32_t>(what.op);
  args.divisor = static_cast<uint32_t>(what.divisor);
  constexpr size_t kBlockBytes = kGroupAddThreads * kGroupAddVector;
  const size_t blocks = (what.bytes + kBlockBytes - 1) / kBlockBytes;
  const auto grid =
      static_cast<unsigned>(std::clamp(blocks, size_t{1}, static_cast<size_t>(seat_.max_blocks)));
  void* parameters[] = {&args};
  return context_->driver().cuLaunchKernel(functions_[static_cast<size_t>(what.dtype)], grid, 1, 1,
                                           kGroupAddThreads, 1, 1, 0, stream, parameters, nullptr);
}

}  // namespace hfr
