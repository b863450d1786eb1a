// The kernels for one instruction set; the compiler flags are in CMakeLists.txt.
#define HFR_ISA "scalar"
#define HFR_KERNELS kScalarKernels
#include "cpu/reduce_body.hpp"
