#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

#include "base/text.hpp"
#include "cpu/reduce.hpp"

namespace hfr {

extern const KernelTable kScalarKernels;
#if defined(__x86_64__)
extern const KernelTable kAvx2Kernels;
extern const KernelTable kAvx512Kernels;
extern const KernelTable kAvx512Bf16Fp16Kernels;
#elif defined(__aarch64__)
extern const KernelTable kNeonKernels;
extern const KernelTable kSveKernels;
#endif

#if defined(__x86_64__)
namespace {

// What __builtin_cpu_supports does not know by name on every compiler.
bool has_f16c() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c >> 29 & 1) != 0;
}
bool has_avx512_bf16() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a >> 5 & 1) != 0;
}

}  // namespace
#endif

std::vector<const KernelTable*> supported_kernel_tables() {
  std::vector<const KernelTable*> tables = {&kScalarKernels};
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool has_avx2 = __builtin_cpu_supports("avx2") && has_f16c();
  if (has_avx2) tables.push_back(&kAvx2Kernels);
  // The kernels for AVX-512 convert FP16 in AVX2's vectors.
  if (has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("fma")) {
    tables.push_back(&kAvx512Kernels);
    // FP16's own arithmetic has no use here, as sums are FP32: BF16 is what makes the difference.
    // Only one processor line has BF16 without VBMI.
    if (has_avx512_bf16() && __builtin_cpu_supports("avx512vbmi") &&
        __builtin_cpu_supports("avx512vbmi2")) {
      tables.push_back(&kAvx512Bf16Fp16Kernels);
    }
  }
#elif defined(__aarch64__)
  tables.push_back(&kNeonKernels);
  constexpr unsigned long kSve = 1ul << 22;  // HWCAP_SVE, which older headers lack
  if ((getauxval(AT_HWCAP) & kSve) != 0) tables.push_back(&kSveKernels);
#endif
  return tables;
}

Result<const KernelTable*> select_kernel_table(const std::string& isa) {
  std::vector<const KernelTable*> tables = supported_kernel_tables();
  if (isa.empty() || isa == "auto") return tables.back();
  std::string names;
  for (const KernelTable* table : tables) {
    if (isa == table->name) return table;
    names += cat(" ", table->name);
  }
  return Status(Code::kInvalidArgument,
                cat("HFREDUCE_ISA=", isa, ": this processor and this build have:", names));
}

}  // namespace hfr
