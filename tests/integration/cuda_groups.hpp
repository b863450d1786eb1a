// What tests of groups of GPUs share.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include "../gpu/gpu.hpp"
#include "cuda_chain.hpp"
#include "hfreduce/hfreduce.h"
#include "values.hpp"

namespace hfr_tests {

// Set by hand, from the first byte on.
class GpuGroups : public testing::Test {
 protected:
  GpuGroups() {
    setenv("HFREDUCE_GPU_GROUP", "2", 1);
    setenv("HFREDUCE_GPU_GROUP_FROM", "1", 1);
  }
  ~GpuGroups() override {
    unsetenv("HFREDUCE_GPU_GROUP");
    unsetenv("HFREDUCE_GPU_GROUP_FROM");
  }
};

// Sums and averages of `num_ranks` ranks in a stream, above and below where groups begin. Returns
// what was wrong. The ranks meet before and after, as making and freeing memory may wait for their
// streams (docs/cuda.md).
inline std::string sum_and_average(int rank, int num_ranks, hfr_comm_t comm) {
  GpuStream stream;
  for (size_t count : {size_t{400'001}, size_t{20'000'003}}) {
    DeviceBuffer data(count * 4);
    data.upload(make_input(HFR_FLOAT32, HFR_SUM, rank, num_ranks, count));
    meet(comm);
    // The averages of what is the same everywhere.
    for (int i = 0; i < 4; ++i) {
      if (hfr_all_reduce(data.data(), data.data(), count, HFR_FLOAT32, i == 0 ? HFR_SUM : HFR_AVG,
                         comm, stream.get(), nullptr) != HFR_SUCCESS) {
        return hfr_get_last_error(comm);
      }
    }
    stream.synchronize();
    if (data.download() != make_expected(HFR_FLOAT32, HFR_SUM, num_ranks, count))
      return "wrong sum of " + std::to_string(count);
    if (!data.margins_untouched()) return "written beside the result";
    meet(comm);
  }
  return "";
}

// On a machine with NVLink groups are found, and operations go through them. The log says so.
class SeveralGpus : public testing::Test {
 protected:
  SeveralGpus() : log_(testing::TempDir() + "hfreduce_groups_" + std::to_string(getpid())) {
    setenv("HFREDUCE_GPU_GROUP", "auto", 1);
    setenv("HFREDUCE_LOG_LEVEL", "info", 1);
    setenv("HFREDUCE_LOG_FILE", log_.c_str(), 1);
  }
  ~SeveralGpus() override {
    for (const char* name : {"HFREDUCE_GPU_GROUP", "HFREDUCE_LOG_LEVEL", "HFREDUCE_LOG_FILE"}) {
      unsetenv(name);
    }
    std::remove(log_.c_str());
  }
  bool groups_were_made() const {
    std::ifstream file(log_);
    const std::string said((std::istreambuf_iterator<char>(file)),
                           std::istreambuf_iterator<char>());
    return said.find("are a group") != std::string::npos;
  }

 private:
  std::string log_;
};

}  // namespace hfr_tests
