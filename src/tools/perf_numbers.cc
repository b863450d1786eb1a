#include "tools/perf_numbers.hpp"

#include <algorithm>
#include <array>
#include <map>

namespace hfr::tools {
namespace {

constexpr std::array<const char*, HFR_NUM_DTYPES> kTypeNames = {
    "int8",   "uint8", "int16",    "uint16", "int32",  "uint32", "int64",
    "uint64", "half",  "bfloat16", "float",  "double", "f8e4m3", "f8e5m2"};
constexpr std::array<const char*, HFR_NUM_OPS> kOpNames = {"sum", "prod", "min", "max", "avg"};

}  // namespace

const char* type_name(hfr_dtype_t dtype) { return kTypeNames[static_cast<size_t>(dtype)]; }
const char* op_name(hfr_op_t op) { return kOpNames[static_cast<size_t>(op)]; }

std::optional<hfr_dtype_t> parse_type(const std::string& name) {
  static const std::map<std::string, hfr_dtype_t> kOthers = {
      {"float32", HFR_FLOAT32}, {"fp32", HFR_FLOAT32},  {"float16", HFR_FLOAT16},
      {"fp16", HFR_FLOAT16},    {"bf16", HFR_BFLOAT16}, {"float64", HFR_FLOAT64},
      {"fp64", HFR_FLOAT64}};
  auto found = std::find(kTypeNames.begin(), kTypeNames.end(), name);
  if (found != kTypeNames.end()) return static_cast<hfr_dtype_t>(found - kTypeNames.begin());
  auto other = kOthers.find(name);
  if (other == kOthers.end()) return std::nullopt;
  return other->second;
}

std::optional<hfr_op_t> parse_op(const std::string& name) {
  auto found = std::find(kOpNames.begin(), kOpNames.end(), name);
  if (found == kOpNames.end()) return std::nullopt;
  return static_cast<hfr_op_t>(found - kOpNames.begin());
}

std::vector<size_t> size_sequence(size_t first, size_t last, size_t step, double factor) {
  std::vector<size_t> sizes;
  for (size_t size = first; size <= last;) {
    sizes.push_back(size);
    const double product = static_cast<double>(size) * factor;
    if (factor > 1 && product > static_cast<double>(last)) break;
    const size_t next = factor > 1 ? static_cast<size_t>(product) : size + step;
    if (next <= size) break;  // 0 does not grow by a factor; a sum may wrap
    size = next;
  }
  return sizes;
}

double algorithm_bandwidth(size_t bytes, double seconds) {
  return seconds > 0 ? static_cast<double>(bytes) / 1e9 / seconds : 0;
}
double bus_bandwidth(size_t bytes, double seconds, int num_ranks) {
  return algorithm_bandwidth(bytes, seconds) * 2.0 * (num_ranks - 1) / num_ranks;
}

}  // namespace hfr::tools
