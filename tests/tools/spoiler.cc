// hfr_all_reduce with a fault: large sums come back with one element wrong on rank 1.
#include <dlfcn.h>

#include <cstdint>

#include "hfreduce/hfreduce.h"

extern "C" HFR_API hfr_status_t hfr_all_reduce(const void* sendbuf, void* recvbuf, size_t count,
                                               hfr_dtype_t dtype, hfr_op_t op, hfr_comm_t comm,
                                               hfr_stream_t stream, hfr_request_t* request) {
  static const auto real =
      reinterpret_cast<decltype(&hfr_all_reduce)>(dlsym(RTLD_NEXT, "hfr_all_reduce"));
  const hfr_status_t status = real(sendbuf, recvbuf, count, dtype, op, comm, stream, request);
  int rank = 0;
  hfr_comm_rank(comm, &rank);
  if (rank == 1 && dtype == HFR_FLOAT32 && count > 100) static_cast<uint32_t*>(recvbuf)[77] ^= 1;
  return status;
}
