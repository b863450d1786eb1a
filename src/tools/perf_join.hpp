// How the ranks of `hfreduce perf` come by their communicators.
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

#include "hfreduce/hfreduce.h"

namespace hfr::tools {

struct PerfError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Throws PerfError with the library's sentence unless `status` is HFR_SUCCESS. `comm` may be NULL.
void check(hfr_comm_t comm, hfr_status_t status, const std::string& what);

// The communicators of this process' ranks, whose buffers are on `device`; they are the caller's to
// destroy. Throws PerfError.
std::vector<hfr_comm_t> join(int ranks_per_process, bool launched, hfr_device_t device);

}  // namespace hfr::tools
