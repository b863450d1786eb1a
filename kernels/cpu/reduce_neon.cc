// The kernels for one instruction set; the compiler flags are in CMakeLists.txt.
#define HFR_ISA "neon"
#define HFR_KERNELS kNeonKernels
#include "cpu/reduce_body.hpp"
