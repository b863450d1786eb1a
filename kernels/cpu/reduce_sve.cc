// The kernels for one instruction set; the compiler flags are in CMakeLists.txt.
#define HFR_ISA "sve"
#define HFR_KERNELS kSveKernels
#include "cpu/reduce_body.hpp"
