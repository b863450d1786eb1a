// The kernel of groups of GPUs against the reference: every type, operation and number of inputs,
// tails, misalignment, and many blocks.
#include "cuda/group_add.hpp"

#include <random>

#include "../../gpu/gpu.hpp"
#include "../expected.hpp"
#include "device/cuda/group_kernel.hpp"

namespace hfr_tests {
namespace {

struct Case {
  DType dtype = DType::kFloat32;
  Op op = Op::kSum;
  int num_inputs = 2;
  int own_idx = 0;
  size_t count = 300;
  size_t shift = 0;  // elements that the own input lies past a multiple of 16 bytes
  int max_blocks = 16;
};

class GroupAdd : public testing::Test {
 protected:
  static constexpr size_t kSlot = size_t{1} << 20;

  void SetUp() override {
    HFR_NEED_GPU();
    if (!hfr::GroupKernel::is_built()) GTEST_SKIP() << "this build has no kernels";
    use_gpu();
    auto context = hfr::CudaContext::open(*hfr::cuda_driver(), nullptr, 0);
    ASSERT_TRUE(context.ok()) << context.status().message();
    context_ = *context;
    boxes_ = std::make_unique<DeviceBuffer>(kSlot * hfr::kMaxGroup);
    own_ = std::make_unique<DeviceBuffer>(kSlot + 256);
  }

  const hfr::GroupKernel& kernel(const Case& c) {
    const size_t at = static_cast<size_t>(c.num_inputs * hfr::kMaxGroup + c.own_idx) * 2 +
                      (c.max_blocks == 16 ? 0 : 1);
    auto& kernel = kernels_[at];
    if (kernel == nullptr) {
      auto loaded =
          hfr::GroupKernel::load(context_, {c.num_inputs, c.own_idx, kSlot, c.max_blocks});
      EXPECT_TRUE(loaded.ok()) << loaded.status().message();
      kernel = std::move(*loaded);
    }
    return *kernel;
  }

  // Random bits, in which every special value comes up; every third case without infinity and NaN.
  uint64_t random_bits(const Case& c) {
    const size_t bits = 8 * hfr::dtype_size(c.dtype);
    uint64_t value = random_();
    if (bits < 64) value &= (uint64_t{1} << bits) - 1;
    const bool floats =
        is_small_float(c.dtype) || c.dtype == DType::kFloat32 || c.dtype == DType::kFloat64;
    return floats && finite_ ? value & ~(uint64_t{1} << (bits - 2)) : value;
  }

  void check(const Case& c) {
    finite_ = ++cases_ % 3 != 0;
    const size_t size = hfr::dtype_size(c.dtype);
    const size_t bytes = c.count * size;
    const int divisor = c.op == Op::kAvg ? 1 + cases_ % 8 : 1;
    std::vector<Element> elements(c.count, Element{c.dtype, c.op, {}, divisor, {}});
    const CUdeviceptr own = own_->address() + c.shift * size;
    int box = 0;
    for (int i = 0; i < c.num_inputs; ++i) {
      std::vector<std::byte> input(bytes);
      for (size_t k = 0; k < c.count; ++k) {
        const uint64_t bits = random_bits(c);
        std::memcpy(input.data() + k * size, &bits, size);
        elements[k].inputs.push_back(bits);
      }
      const CUdeviceptr to =
          i == c.own_idx ? own : boxes_->address() + static_cast<size_t>(box++) * kSlot;
      if (bytes == 0) continue;
      HFR_CU(cuMemcpyHtoD(to, input.data(), bytes));
    }
    // Behind the sum nothing is written.
    std::vector<std::byte> before(64, std::byte{0x33});
    HFR_CU(cuMemcpyHtoD(boxes_->address() + bytes, before.data(), before.size()));
    hfr::CopyDescriptor what;
    what.src = reinterpret_cast<const void*>(own);
    what.dst = boxes_->data();
    what.bytes = bytes;
    what.dtype = c.dtype;
    what.op = c.op;
    what.divisor = divisor;
    GpuStream stream;
    ASSERT_EQ(kernel(c).add(what, stream.get()), CUDA_SUCCESS);
    stream.synchronize();
    std::vector<std::byte> got(bytes + before.size());
    HFR_CU(cuMemcpyDtoH(got.data(), boxes_->address(), got.size()));
    for (size_t k = 0; k < c.count; ++k) {
      uint64_t bits = 0;
      std::memcpy(&bits, got.data() + k * size, size);
      ASSERT_EQ(bits, expected_bits(elements[k]))
          << hfr::dtype_name(c.dtype) << " " << hfr::op_name(c.op) << ", " << c.num_inputs
          << " inputs, own " << c.own_idx << ", element " << k << " of " << c.count << ", shift "
          << c.shift;
    }
    ASSERT_TRUE(
        std::equal(before.begin(), before.end(), got.begin() + static_cast<std::ptrdiff_t>(bytes)))
        << "written past the end";
  }

  std::shared_ptr<hfr::CudaContext> context_;
  std::unique_ptr<DeviceBuffer> boxes_, own_;
  std::map<size_t, std::unique_ptr<hfr::GroupKernel>> kernels_;
  std::mt19937_64 random_{7};
  int cases_ = 0;
  bool finite_ = false;
};

TEST_F(GroupAdd, EveryTypeOperationAndNumberOfInputs) {
  for (int dtype = 0; dtype < hfr::kNumDTypes; ++dtype) {
    for (int op = 0; op < hfr::kNumOps; ++op) {
      if (static_cast<Op>(op) == Op::kPremulSum) continue;  // goes without groups
      for (int n = 2; n <= hfr::kMaxGroup; ++n) {
        check({.dtype = static_cast<DType>(dtype),
               .op = static_cast<Op>(op),
               .num_inputs = n,
               .own_idx = (dtype + op) % n,
               .count = static_cast<size_t>(290 + n),
               .shift = static_cast<size_t>(op)});
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_F(GroupAdd, TailsAndMisalignment) {
  for (int dtype = 0; dtype < hfr::kNumDTypes; ++dtype) {
    for (size_t count : {0u, 1u, 2u, 3u, 7u, 8u, 15u, 16u, 17u, 31u, 33u, 257u}) {
      for (size_t shift = 0; shift < 16; shift += 1 + count % 2) {
        check({.dtype = static_cast<DType>(dtype),
               .num_inputs = 3,
               .own_idx = static_cast<int>(shift % 3),
               .count = count,
               .shift = shift});
        if (HasFatalFailure()) return;
      }
    }
  }
}

// More vectors than threads: blocks go on to further ones, whether few or many.
TEST_F(GroupAdd, ManyBlocks) {
  for (int max_blocks : {1, 16}) {
    for (DType dtype : {DType::kFloat32, DType::kBFloat16, DType::kUint8}) {
      check({.dtype = dtype,
             .num_inputs = 4,
             .own_idx = 2,
             .count = 150'001,
             .shift = 1,
             .max_blocks = max_blocks});
      if (HasFatalFailure()) return;
    }
  }
}

}  // namespace
}  // namespace hfr_tests
