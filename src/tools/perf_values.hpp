// The numbers behind `hfreduce perf`: types by name, sizes, bandwidth factors, and inputs whose
// reductions are exact in every type.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "hfreduce/hfreduce.h"

namespace hfr::tools {

// nccl-tests' spellings: float, half, bfloat16, f8e4m3, int8 ... and sum, prod, min, max, avg.
const char* type_name(hfr_dtype_t dtype);
std::optional<hfr_dtype_t> parse_type(const std::string& name);
const char* op_name(hfr_op_t op);
std::optional<hfr_op_t> parse_op(const std::string& name);

// first, then times `factor` (when it is more than 1) or plus `step` until `last`.
std::vector<size_t> size_sequence(size_t first, size_t last, size_t step, double factor);

// GB/s (1e9). busbw makes ranks comparable: what each link would move with a bandwidth-optimal
// algorithm.
double algorithm_bandwidth(size_t bytes, double seconds);
double bus_bandwidth(size_t bytes, double seconds, int num_ranks);

// A buffer's contents repeat with this period, in elements.
size_t pattern_period(int num_ranks);
// One period of rank's input, and of the result.
std::vector<std::byte> input_pattern(hfr_dtype_t dtype, hfr_op_t op, int rank, int num_ranks);
std::vector<std::byte> expected_pattern(hfr_dtype_t dtype, hfr_op_t op, int num_ranks);
// Repeats the pattern over `bytes`.
void tile(void* buffer, size_t bytes, const std::vector<std::byte>& pattern);
// Elements that differ from the repeated pattern: by any bit, or for averages of floats by more
// than 2 ulp.
size_t count_wrong(const void* buffer, size_t bytes, hfr_dtype_t dtype, hfr_op_t op,
                   const std::vector<std::byte>& pattern);

}  // namespace hfr::tools
