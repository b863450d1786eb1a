// What a command built without cuda.h answers; the library it uses has refused before.
#include "tools/perf_cuda.hpp"
#include "tools/perf_join.hpp"

namespace hfr::tools {

std::unique_ptr<PerfDevice> make_cuda_device(int) {
  throw PerfError(
      "--device cuda: this build has no CUDA; build it where cuda.h is (HFREDUCE_CUDA=ON)");
}

}  // namespace hfr::tools
