// The one way of timing that all libraries get.
//
// Per size: one checked operation, a warm-up that also finds how many operations make a batch, then
// the batches. A batch is a run of back-to-back operations with nothing between them; its time per
// operation is the slowest rank's. One untimed operation before it removes the skew of the barrier.
#ifndef HFREDUCE_BENCH_ALLREDUCE_MEASURE_HPP_
#define HFREDUCE_BENCH_ALLREDUCE_MEASURE_HPP_

#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "options.hpp"

namespace hfr_bench {

// One library under test. Sums over all ranks; every call blocks; a failure throws.
class Library {
 public:
  virtual ~Library() = default;
  virtual std::string version() const = 0;
  virtual int rank() const = 0;
  virtual int num_ranks() const = 0;
  // in == out: in place. The same pointers and count come many times in a row, so a library may
  // keep what it prepared for them.
  virtual void all_reduce(const void* in, void* out, size_t count) = 0;
  // The largest value over all ranks, on all ranks. Never timed.
  virtual double max(double value) = 0;
  // True: in and out must be the same, whatever was asked for.
  virtual bool in_place_only() const { return false; }
  // Memory of the library's own allocator, kept until the library is destroyed.
  // nullptr: it has none that helps, plain memory is used.
  virtual void* allocate(size_t bytes) {
    static_cast<void>(bytes);
    return nullptr;
  }
};

inline void bind_to_cpu(const Options& options, int rank) {
  if (options.cpus.empty()) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(options.cpus[static_cast<size_t>(rank) % options.cpus.size()], &set);
  if (sched_setaffinity(0, sizeof(set), &set) != 0) {
    throw std::runtime_error("cannot bind rank " + std::to_string(rank) +
                             " to the CPU that --cpus names: " + std::strerror(errno));
  }
}

inline void* map_private(size_t bytes, bool huge_pages) {
  size_t rounded = (bytes + (size_t{2} << 20) - 1) & ~((size_t{2} << 20) - 1);
  void* memory = mmap(nullptr, rounded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  if (huge_pages && madvise(memory, rounded, MADV_HUGEPAGE) != 0) {
    throw std::runtime_error(std::string("madvise(MADV_HUGEPAGE) failed: ") + std::strerror(errno));
  }
  return memory;
}

// Small whole numbers: the sums of up to 128 ranks are exact in every type.
inline float input_value(int rank, size_t index) {
  return static_cast<float>((static_cast<size_t>(rank) + index) % 3);
}

inline void store(void* buffer, Dtype dtype, size_t index, float value) {
  if (dtype == Dtype::kFloat32) {
    static_cast<float*>(buffer)[index] = value;
  } else {
    static_cast<uint16_t*>(buffer)[index] =
        static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16);
  }
}

inline float load(const void* buffer, Dtype dtype, size_t index) {
  if (dtype == Dtype::kFloat32) return static_cast<const float*>(buffer)[index];
  return std::bit_cast<float>(uint32_t{static_cast<const uint16_t*>(buffer)[index]} << 16);
}

// Standard output for results alone: some libraries write warnings there, and from here on what
// they write goes to standard error.
inline std::FILE* take_stdout() {
  int copy = dup(STDOUT_FILENO);
  std::FILE* results = copy < 0 ? nullptr : fdopen(copy, "w");
  if (results == nullptr || dup2(STDERR_FILENO, STDOUT_FILENO) < 0) {
    throw std::runtime_error(std::string("cannot set standard output aside: ") +
                             std::strerror(errno));
  }
  return results;
}

class Measurement {
 public:
  Measurement(Library& library, const Options& options, std::FILE* results)
      : library_(library), options_(options), results_(results) {
    size_t longest = *std::max_element(options.sizes.begin(), options.sizes.end());
    out_ = buffer(longest);
    in_ = in_place() ? out_ : buffer(longest);
  }

  // Prints `size_bytes median_us min_us max_us` on rank 0.
  void run(size_t bytes) {
    size_t count = bytes / element_size(options_.dtype);
    reduce_once(count);
    // In place, repeated sums grow to infinity, so let all batches add infinities. Not zeros: some
    // processors write cache lines of zeros back faster.
    for (size_t i = 0; in_place() && i < count; ++i) {
      store(out_, options_.dtype, i, std::numeric_limits<float>::infinity());
    }
    size_t iterations = warm_up(count);
    std::vector<double> times_us;
    for (int batch = 0; batch < options_.num_batches; ++batch) {
      times_us.push_back(time_batch(count, iterations));
    }
    reduce_once(count);  // what was prepared before still works
    std::sort(times_us.begin(), times_us.end());
    if (library_.rank() != 0) return;
    std::fprintf(results_, "%zu %.3f %.3f %.3f\n", bytes, times_us[times_us.size() / 2],
                 times_us.front(), times_us.back());
    std::fflush(results_);
  }

 private:
  bool in_place() const { return options_.in_place || library_.in_place_only(); }

  void* buffer(size_t bytes) {
    void* memory = options_.memory == Memory::kShared ? library_.allocate(bytes) : nullptr;
    if (memory == nullptr) memory = map_private(bytes, options_.huge_pages);
    std::memset(memory, 0, bytes);
    return memory;
  }

  void fill(size_t count) {
    for (size_t i = 0; i < count; ++i) {
      store(out_, options_.dtype, i, -1.0f);
      store(in_, options_.dtype, i, input_value(library_.rank(), i));
    }
  }

  void verify(size_t count) {
    double wrong = 0;
    for (size_t i = 0; i < count; ++i) {
      float expected = 0;
      for (int rank = 0; rank < library_.num_ranks(); ++rank) expected += input_value(rank, i);
      if (load(out_, options_.dtype, i) != expected) ++wrong;
    }
    if (library_.max(wrong) > 0) {
      throw std::runtime_error("the sum of " + std::to_string(count) + " elements is wrong");
    }
  }

  // All-reduces what fill() left, once.
  void reduce_once(size_t count) {
    fill(count);
    library_.max(0);
    library_.all_reduce(in_, out_, count);
    verify(count);
  }

  size_t warm_up(size_t count) {
    for (size_t iterations = 1;; iterations *= 2) {
      double time_us = time_batch(count, iterations);  // the same on all ranks
      if (time_us * static_cast<double>(iterations) >= options_.batch_us / 2 ||
          iterations >= (size_t{1} << 16)) {
        return std::max<size_t>(1, static_cast<size_t>(options_.batch_us / time_us));
      }
    }
  }

  double time_batch(size_t count, size_t iterations) {
    using Clock = std::chrono::steady_clock;
    library_.max(0);
    library_.all_reduce(in_, out_, count);
    auto begin = Clock::now();
    for (size_t i = 0; i < iterations; ++i) library_.all_reduce(in_, out_, count);
    std::chrono::duration<double, std::micro> elapsed = Clock::now() - begin;
    return library_.max(elapsed.count() / static_cast<double>(iterations));
  }

  Library& library_;
  const Options& options_;
  std::FILE* results_;
  void* out_ = nullptr;
  void* in_ = nullptr;
};

inline constexpr int kExitUnsupported = 77;

// `connect` makes the library once the options are known. Everything is torn down by scope.
template <typename Connect>
int measure_main(int argc, char** argv, Connect connect) {
  try {
    Options options = parse_options(argc, argv);
    std::FILE* results = take_stdout();
    std::unique_ptr<Library> library = connect(options);
    if (library->rank() == 0) std::fprintf(results, "# %s\n", library->version().c_str());
    Measurement measurement(*library, options, results);
    for (size_t bytes : options.sizes) measurement.run(bytes);
    library->max(0);
    return 0;
  } catch (const Unsupported& error) {
    std::fprintf(stderr, "unsupported: %s\n", error.what());
    return kExitUnsupported;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}

}  // namespace hfr_bench

#endif  // HFREDUCE_BENCH_ALLREDUCE_MEASURE_HPP_
