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

// One library under test. Sums over all ranks; a failure throws. Buffers are host memory, unless
// the library's class says otherwise by what it overrides.
class Library {
 public:
  virtual ~Library() = default;
  virtual std::string version() const = 0;
  virtual int rank() const = 0;
  virtual int num_ranks() const = 0;
  // in == out: in place. The same pointers and count come many times in a row, so a library may
  // keep what it prepared for them. Complete when it returns, or after finish().
  virtual void all_reduce(const void* in, void* out, size_t count) = 0;
  virtual void finish() {}
  // The largest value over all ranks, on all ranks. Never timed.
  virtual double max(double value) = 0;
  // True: in and out must be the same, whatever was asked for.
  virtual bool in_place_only() const { return false; }
  // True: plain memory will not do, all buffers come from allocate().
  virtual bool on_device() const { return false; }
  // Memory of the library's own allocator, kept until the library is destroyed.
  // nullptr: it has none that helps, plain memory is used.
  virtual void* allocate(size_t bytes) {
    static_cast<void>(bytes);
    return nullptr;
  }
  // Between the host's memory and a buffer; complete on return.
  virtual void write(void* buffer, const void* from, size_t bytes) {
    std::memcpy(buffer, from, bytes);
  }
  virtual void read(void* to, const void* buffer, size_t bytes) { std::memcpy(to, buffer, bytes); }
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

// The buffers of a run, and operations on them.
class Workload {
 public:
  Workload(Library& library, const Options& options) : library_(library), options_(options) {
    size_t longest = *std::max_element(options.sizes.begin(), options.sizes.end());
    out_ = buffer(longest);
    in_ = in_place() ? out_ : buffer(longest);
  }

  // All-reduces known values once and checks every sum.
  void reduce_checked(size_t count) {
    fill(out_, count, [](size_t) { return -1.0f; });
    fill(in_, count, [&](size_t i) { return input_value(library_.rank(), i); });
    library_.max(0);
    library_.all_reduce(in_, out_, count);
    library_.finish();
    if (library_.max(count_wrong(count)) > 0) {
      throw std::runtime_error("the sum of " + std::to_string(count) + " elements is wrong");
    }
  }

  // In place, repeated sums grow to infinity, so let all batches add infinities. Not zeros: some
  // processors write cache lines of zeros back faster.
  void prepare_batches(size_t count) {
    if (in_place())
      fill(out_, count, [](size_t) { return std::numeric_limits<float>::infinity(); });
  }

  // Microseconds of one operation, of the slowest rank.
  double time_batch(size_t count, size_t iterations) {
    using Clock = std::chrono::steady_clock;
    library_.max(0);
    library_.all_reduce(in_, out_, count);
    library_.finish();
    auto begin = Clock::now();
    for (size_t i = 0; i < iterations; ++i) library_.all_reduce(in_, out_, count);
    library_.finish();
    std::chrono::duration<double, std::micro> elapsed = Clock::now() - begin;
    return library_.max(elapsed.count() / static_cast<double>(iterations));
  }

  // How many operations take about `batch_us`, at least one; the same on all ranks.
  size_t warm_up(size_t count, double batch_us) {
    for (size_t iterations = 1;; iterations *= 2) {
      double time_us = time_batch(count, iterations);
      if (time_us * static_cast<double>(iterations) >= batch_us / 2 ||
          iterations >= (size_t{1} << 16)) {
        return std::max<size_t>(1, static_cast<size_t>(batch_us / time_us));
      }
    }
  }

 private:
  bool in_place() const { return options_.in_place || library_.in_place_only(); }

  void* buffer(size_t bytes) {
    const bool own = library_.on_device() || options_.memory == Memory::kShared;
    void* memory = own ? library_.allocate(bytes) : nullptr;
    if (memory == nullptr) memory = map_private(bytes, options_.huge_pages);
    fill(memory, bytes / element_size(options_.dtype), [](size_t) { return 0.0f; });
    return memory;
  }

  // Calls visit(byte offset, first element, elements, bytes) for each piece of a buffer.
  template <typename Visit>
  void for_each_piece(size_t count, Visit visit) const {
    const size_t size = element_size(options_.dtype);
    const size_t most = kPieceBytes / size;
    for (size_t first = 0; first < count; first += most) {
      const size_t elements = std::min(most, count - first);
      visit(first * size, first, elements, elements * size);
    }
  }

  template <typename Value>
  void fill(void* buffer, size_t count, Value value) {
    for_each_piece(count, [&](size_t offset, size_t first, size_t elements, size_t bytes) {
      for (size_t i = 0; i < elements; ++i)
        store(piece_.data(), options_.dtype, i, value(first + i));
      library_.write(static_cast<std::byte*>(buffer) + offset, piece_.data(), bytes);
    });
  }

  double count_wrong(size_t count) {
    float expected[3] = {};
    for (size_t i = 0; i < 3; ++i) {
      for (int rank = 0; rank < library_.num_ranks(); ++rank) expected[i] += input_value(rank, i);
    }
    double wrong = 0;
    for_each_piece(count, [&](size_t offset, size_t first, size_t elements, size_t bytes) {
      library_.read(piece_.data(), static_cast<const std::byte*>(out_) + offset, bytes);
      for (size_t i = 0; i < elements; ++i)
        if (load(piece_.data(), options_.dtype, i) != expected[(first + i) % 3]) ++wrong;
    });
    return wrong;
  }

  static constexpr size_t kPieceBytes = size_t{1} << 20;

  Library& library_;
  const Options& options_;
  std::vector<std::byte> piece_ = std::vector<std::byte>(kPieceBytes);
  void* out_ = nullptr;
  void* in_ = nullptr;
};

// Prints `size_bytes median_us min_us max_us` on rank 0.
inline void measure(Library& library, const Options& options, std::FILE* results) {
  Workload work(library, options);
  for (size_t bytes : options.sizes) {
    const size_t count = bytes / element_size(options.dtype);
    work.reduce_checked(count);
    work.prepare_batches(count);
    const size_t iterations = work.warm_up(count, options.batch_us);
    std::vector<double> times_us;
    for (int batch = 0; batch < options.num_batches; ++batch)
      times_us.push_back(work.time_batch(count, iterations));
    work.reduce_checked(count);  // what was prepared before still works
    std::sort(times_us.begin(), times_us.end());
    if (library.rank() != 0) continue;
    std::fprintf(results, "%zu %.3f %.3f %.3f\n", bytes, times_us[times_us.size() / 2],
                 times_us.front(), times_us.back());
    std::fflush(results);
  }
}

inline constexpr int kExitUnsupported = 77;

// `connect` makes the library once the options are known; `measure_all` prints what was measured.
// Everything is torn down by scope.
template <typename Connect, typename MeasureAll>
int measure_main(int argc, char** argv, Connect connect, MeasureAll measure_all) {
  try {
    Options options = parse_options(argc, argv);
    std::FILE* results = take_stdout();
    auto library = connect(options);
    if (library->rank() == 0) std::fprintf(results, "# %s\n", library->version().c_str());
    measure_all(*library, options, results);
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

template <typename Connect>
int measure_main(int argc, char** argv, Connect connect) {
  return measure_main(argc, argv, connect, measure);
}

}  // namespace hfr_bench

#endif  // HFREDUCE_BENCH_ALLREDUCE_MEASURE_HPP_
