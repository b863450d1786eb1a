// The numbers of `hfreduce perf`: names, sizes, bandwidths. Pure.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "hfreduce/hfreduce.h"

namespace hfr::tools {

// nccl-tests' spellings: float, half, bfloat16, f8e4m3, int8 ... and sum, prod, min, max, avg.
const char* type_name(hfr_dtype_t dtype);
const char* op_name(hfr_op_t op);
// Those, and float32, fp32, float16, fp16, bf16, float64, fp64.
std::optional<hfr_dtype_t> parse_type(const std::string& name);
std::optional<hfr_op_t> parse_op(const std::string& name);

// first, then times `factor` (when it is more than 1) or plus `step`, up to `last`.
std::vector<size_t> size_sequence(size_t first, size_t last, size_t step, double factor);

// GB/s (1e9); 0 when no time passed. busbw makes rank counts comparable: what each rank's link
// carries when an all-reduce moves the least it can, 2 (n - 1) / n of the buffer each way.
double algorithm_bandwidth(size_t bytes, double seconds);
double bus_bandwidth(size_t bytes, double seconds, int num_ranks);

}  // namespace hfr::tools
