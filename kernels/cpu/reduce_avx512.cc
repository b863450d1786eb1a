// The kernels for one instruction set; the compiler flags are in CMakeLists.txt.
#define HFR_ISA "avx512"
#define HFR_KERNELS kAvx512Kernels
#include "cpu/reduce_body.hpp"
