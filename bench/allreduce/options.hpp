// Command line of the timing programs: the same for every library.
#ifndef HFREDUCE_BENCH_ALLREDUCE_OPTIONS_HPP_
#define HFREDUCE_BENCH_ALLREDUCE_OPTIONS_HPP_

#include <cstddef>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

namespace hfr_bench {

enum class Dtype { kFloat32, kBfloat16 };

// Whose buffers: kPrivate is plain anonymous memory, kShared what the library's own allocator
// gives.
enum class Memory { kPrivate, kShared };

struct Options {
  std::vector<size_t> sizes;
  Dtype dtype = Dtype::kFloat32;
  Memory memory = Memory::kPrivate;
  bool in_place = false;
  bool huge_pages = false;
  bool blocking = false;  // GPU: each operation is waited for, else only the batch
  int gemm = 0;           // GPU: more than 0: beside products of matrices of so many rows
  std::vector<int> cpus;  // rank r runs on cpus[r mod size]; empty: not bound
  int num_batches = 15;
  double batch_us = 3000;  // a batch is as many operations as fit, at least one
  std::string variant;     // a library's own choice, empty for its default
};

// The library, or this build of it, lacks what was asked: the driver leaves it out.
struct Unsupported : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline size_t element_size(Dtype dtype) { return dtype == Dtype::kFloat32 ? 4 : 2; }

inline std::vector<size_t> parse_list(const std::string& text) {
  std::vector<size_t> values;
  for (size_t begin = 0; begin <= text.size();) {
    size_t end = text.find(',', begin);
    if (end == std::string::npos) end = text.size();
    std::string item = text.substr(begin, end - begin);
    if (item.empty() || item.find_first_not_of("0123456789") != std::string::npos) {
      throw std::invalid_argument("'" + text + "' is not a list of whole numbers");
    }
    values.push_back(std::stoull(item));
    begin = end + 1;
  }
  return values;
}

inline Options parse_options(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    std::string name = argv[i];
    if (name == "--in-place") {
      options.in_place = true;
      continue;
    }
    if (name == "--blocking") {
      options.blocking = true;
      continue;
    }
    if (name == "--huge-pages") {
      options.huge_pages = true;
      continue;
    }
    if (i + 1 == argc) throw std::invalid_argument(name + " is unknown or lacks its value");
    std::string value = argv[++i];
    if (name == "--sizes") {
      options.sizes = parse_list(value);
    } else if (name == "--dtype" && (value == "float32" || value == "bfloat16")) {
      options.dtype = value == "float32" ? Dtype::kFloat32 : Dtype::kBfloat16;
    } else if (name == "--memory" && (value == "private" || value == "shared")) {
      options.memory = value == "private" ? Memory::kPrivate : Memory::kShared;
    } else if (name == "--cpus") {
      for (size_t cpu : parse_list(value)) options.cpus.push_back(static_cast<int>(cpu));
    } else if (name == "--batches") {
      options.num_batches = std::stoi(value);
    } else if (name == "--gemm") {
      options.gemm = std::stoi(value);
    } else if (name == "--batch-us") {
      options.batch_us = std::stod(value);
    } else if (name == "--variant") {
      options.variant = value;
    } else {
      throw std::invalid_argument(name + " " + value + " is not an option of this program");
    }
  }
  if (options.sizes.empty()) throw std::invalid_argument("--sizes is missing");
  if (options.num_batches < 1) throw std::invalid_argument("--batches must be at least 1");
  for (size_t bytes : options.sizes) {
    if (bytes == 0 || bytes % element_size(options.dtype) != 0) {
      throw std::invalid_argument("size " + std::to_string(bytes) +
                                  " is not a positive multiple of the element size");
    }
  }
  return options;
}

inline std::string require_env(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') {
    throw std::runtime_error(std::string(name) + " is not set: start this program with compare.py");
  }
  return value;
}

}  // namespace hfr_bench

#endif  // HFREDUCE_BENCH_ALLREDUCE_OPTIONS_HPP_
