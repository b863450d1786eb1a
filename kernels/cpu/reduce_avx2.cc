// The kernels for one instruction set; the compiler flags are in CMakeLists.txt.
#define HFR_ISA "avx2"
#define HFR_KERNELS kAvx2Kernels
#include "cpu/reduce_body.hpp"
