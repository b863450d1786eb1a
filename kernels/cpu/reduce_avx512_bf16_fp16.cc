// The kernels for one instruction set; the compiler flags are in CMakeLists.txt.
#define HFR_ISA "avx512_bf16_fp16"
#define HFR_KERNELS kAvx512Bf16Fp16Kernels
#define HFR_AVX512_BF16
#include "cpu/reduce_body.hpp"
