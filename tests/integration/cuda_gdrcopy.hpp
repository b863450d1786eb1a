// What tests of small messages through GDRCopy's stand-in (../gpu/gdrapi_stand_in.hpp) share.
#pragma once

#include <string>

#include "../gpu/gdrapi_stand_in.hpp"
#include "../gpu/gpu.hpp"
#include "hfreduce/hfreduce.h"
#include "values.hpp"

namespace hfr_tests {

constexpr const char* kLibrary = "libgdrapi.so.2";
constexpr int kTimes = 8;  // enough for a buffer to be mapped, and then some

// "" when it came out right.
inline std::string sum_once(int rank, int n, hfr_comm_t comm, CUstream stream, DeviceBuffer& send,
                            DeviceBuffer& recv, size_t count) {
  send.upload(make_input(HFR_FLOAT32, HFR_SUM, rank, n, count));
  if (hfr_all_reduce(send.data(), recv.data(), count, HFR_FLOAT32, HFR_SUM, comm, stream,
                     nullptr) != HFR_SUCCESS) {
    return hfr_get_last_error(comm);
  }
  if (Cuda::get().cuStreamSynchronize(stream) != CUDA_SUCCESS) return "the stream failed";
  if (recv.download() != make_expected(HFR_FLOAT32, HFR_SUM, n, count))
    return "wrong sum of " + std::to_string(count) + "; ";
  return recv.margins_untouched() ? "" : "written beside the result; ";
}

}  // namespace hfr_tests
