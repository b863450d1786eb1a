// What a command built without cuda.h answers.
#include "tools/doctor_gpus.hpp"

namespace hfr::tools {

Result<std::vector<std::unique_ptr<LinkGpu>>> find_link_gpus() {
  return Status(Code::kUnsupported,
                "this build has no CUDA; build it where cuda.h is (HFREDUCE_CUDA=ON)");
}

}  // namespace hfr::tools
