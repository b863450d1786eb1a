// HFReduce for C++17: hfreduce.h with owners and exceptions. Header-only.
//
// Units, thread rules and errors are hfreduce.h's. A call that fails throws hfreduce::Error, which
// carries the status and the sentence; destructors never throw.
#ifndef HFREDUCE_HFREDUCE_HPP_
#define HFREDUCE_HFREDUCE_HPP_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "hfreduce/hfreduce.h"

namespace hfreduce {

// A failed call: status() says which kind, what() is the sentence.
class Error : public std::runtime_error {
 public:
  Error(hfr_status_t status, const std::string& sentence)
      : std::runtime_error(std::string(hfr_status_string(status)) + ": " + sentence),
        status_(status) {}
  hfr_status_t status() const noexcept { return status_; }

 private:
  hfr_status_t status_;
};

namespace detail {

inline void check(hfr_status_t status, hfr_comm_t comm = nullptr) {
  if (status != HFR_SUCCESS) throw Error(status, hfr_get_last_error(comm));
}

inline void check_begun(hfr_status_t status) {
  if (status != HFR_IN_PROGRESS) check(status);
}

template <typename T>
struct DTypeOf;
template <>
struct DTypeOf<float> : std::integral_constant<hfr_dtype_t, HFR_FLOAT32> {};
template <>
struct DTypeOf<double> : std::integral_constant<hfr_dtype_t, HFR_FLOAT64> {};
template <>
struct DTypeOf<int8_t> : std::integral_constant<hfr_dtype_t, HFR_INT8> {};
template <>
struct DTypeOf<uint8_t> : std::integral_constant<hfr_dtype_t, HFR_UINT8> {};
template <>
struct DTypeOf<int16_t> : std::integral_constant<hfr_dtype_t, HFR_INT16> {};
template <>
struct DTypeOf<uint16_t> : std::integral_constant<hfr_dtype_t, HFR_UINT16> {};
template <>
struct DTypeOf<int32_t> : std::integral_constant<hfr_dtype_t, HFR_INT32> {};
template <>
struct DTypeOf<uint32_t> : std::integral_constant<hfr_dtype_t, HFR_UINT32> {};
template <>
struct DTypeOf<int64_t> : std::integral_constant<hfr_dtype_t, HFR_INT64> {};
template <>
struct DTypeOf<uint64_t> : std::integral_constant<hfr_dtype_t, HFR_UINT64> {};

}  // namespace detail

// The element type of a C++ arithmetic type. 16- and 8-bit floats have none: name theirs.
template <typename T>
constexpr hfr_dtype_t dtype_of = detail::DTypeOf<T>::value;

inline hfr_unique_id_t make_unique_id() {
  hfr_unique_id_t id;
  detail::check(hfr_get_unique_id(&id));
  return id;
}

// An ordered queue of host work (hfr_stream_create). Move-only; the destructor waits for its
// entries.
class Stream {
 public:
  Stream() {
    hfr_stream_t stream = nullptr;
    detail::check(hfr_stream_create(&stream));
    stream_.reset(stream);
  }
  hfr_stream_t get() const noexcept { return stream_.get(); }

  // Runs `function` after the earlier entries, on the stream's thread. It must not throw.
  void enqueue(std::function<void()> function) {
    auto* held = new std::function<void()>(std::move(function));
    auto run = [](void* argument) {
      std::unique_ptr<std::function<void()>> owned(static_cast<std::function<void()>*>(argument));
      (*owned)();
    };
    hfr_status_t status = hfr_stream_enqueue(stream_.get(), run, held);
    if (status != HFR_SUCCESS) delete held;
    detail::check(status);
  }
  // Waits for every entry; throws the first failure of an operation since the last such call.
  void synchronize() { detail::check(hfr_stream_synchronize(stream_.get())); }

 private:
  struct Destroy {
    void operator()(void* stream) const { hfr_stream_destroy(stream); }
  };
  std::unique_ptr<void, Destroy> stream_;
};

// An operation that a communicator made (hfr_op_create_premul_sum), to pass where an hfr_op_t goes.
// Move-only; destroyed before its communicator.
class PremulSum {
 public:
  template <typename Scalar>
  PremulSum(hfr_comm_t comm, Scalar scalar, hfr_dtype_t dtype) : comm_(comm) {
    const bool in_float = dtype >= HFR_FLOAT16 && dtype != HFR_FLOAT64;
    if (in_float ? !std::is_same_v<Scalar, float> : dtype != dtype_of<Scalar>) {
      throw Error(HFR_INVALID_ARGUMENT,
                  "the scalar of a pre-multiplied sum is a float for floats up to 32 bits, else of "
                  "the elements' type");
    }
    detail::check(hfr_op_create_premul_sum(&op_, &scalar, dtype, comm), comm);
  }
  PremulSum(PremulSum&& other) noexcept : comm_(other.comm_), op_(other.op_) {
    other.comm_ = nullptr;
  }
  PremulSum& operator=(PremulSum&& other) noexcept {
    std::swap(comm_, other.comm_);
    std::swap(op_, other.op_);
    return *this;
  }
  ~PremulSum() {
    if (comm_ != nullptr) hfr_op_destroy(op_, comm_);
  }
  operator hfr_op_t() const noexcept { return op_; }

 private:
  hfr_comm_t comm_;
  hfr_op_t op_ = HFR_SUM;
};

// A started operation. Copyable; valid while its communicator is.
class Request {
 public:
  Request() = default;
  Request(hfr_comm_t comm, hfr_request_t request) : comm_(comm), request_(request) {}
  void wait() const { detail::check(hfr_wait(comm_, request_), comm_); }
  bool test() const {
    int done = 0;
    detail::check(hfr_test(comm_, request_, &done), comm_);
    return done != 0;
  }

 private:
  hfr_comm_t comm_ = nullptr;
  hfr_request_t request_ = 0;
};

// `size()` elements from hfr_mem_alloc. In host memory: zeroed, read and written in place by the
// node's ranks. On CUDA: memory of the rank's GPU, of which the CPU may only pass data() on.
// Destroy it before its communicator.
template <typename T>
class Memory {
 public:
  Memory(hfr_comm_t comm, size_t size) : size_(size), data_(nullptr, Free{comm}) {
    void* data = nullptr;
    detail::check(hfr_mem_alloc(comm, &data, size * sizeof(T)), comm);
    data_.reset(static_cast<T*>(data));
  }
  T* data() const noexcept { return data_.get(); }
  size_t size() const noexcept { return size_; }
  T& operator[](size_t i) const { return data_.get()[i]; }
  T* begin() const noexcept { return data(); }
  T* end() const noexcept { return data() + size_; }

 private:
  struct Free {
    hfr_comm_t comm;
    void operator()(T* data) const { hfr_mem_free(comm, data); }
  };
  size_t size_;
  std::unique_ptr<T, Free> data_;
};

// One rank's communicator. Move-only. CUDA graphs with its operations go before it does. The
// destructor destroys without finalizing; finalize() first where all ranks end together.
class Communicator {
 public:
  // Rank `rank` of `num_ranks`; collective. With options->non_blocking it is usable once
  // async_error() is HFR_SUCCESS instead of HFR_IN_PROGRESS.
  Communicator(int num_ranks, const hfr_unique_id_t& id, int rank,
               const hfr_comm_options_t* options = nullptr) {
    hfr_comm_t comm = nullptr;
    detail::check_begun(hfr_comm_init_rank(&comm, num_ranks, &id, rank, options));
    comm_.reset(comm);
  }
  // By the launcher's environment variables; collective, non-blocking as above.
  static Communicator from_environment(const hfr_comm_options_t* options = nullptr) {
    hfr_comm_t comm = nullptr;
    detail::check_begun(hfr_comm_init_env(&comm, options));
    return Communicator(comm);
  }
  // All ranks in this process.
  static std::vector<Communicator> all(int num_ranks, const hfr_comm_options_t* options = nullptr) {
    std::vector<hfr_comm_t> handles(static_cast<size_t>(num_ranks > 0 ? num_ranks : 0));
    detail::check(hfr_comm_init_all(handles.data(), num_ranks, options));
    std::vector<Communicator> comms;
    for (hfr_comm_t handle : handles) comms.push_back(Communicator(handle));
    return comms;
  }

  // The ranks with this color, by key; nothing with HFR_SPLIT_NOCOLOR. Collective.
  std::optional<Communicator> split(int color, int key) const {
    hfr_comm_t child = nullptr;
    detail::check(hfr_comm_split(get(), color, key, &child), get());
    if (child == nullptr) return std::nullopt;
    return Communicator(child);
  }
  // The survivors of this one, which must still be destroyed. `timeout_ms` 0: its own deadline.
  Communicator shrink(const std::vector<int>& excluded = {}, uint32_t timeout_ms = 0) const {
    hfr_shrink_options_t options = HFR_SHRINK_OPTIONS_INIT;
    options.timeout_ms = timeout_ms;
    options.num_excluded = static_cast<int>(excluded.size());
    options.excluded = excluded.data();
    hfr_comm_t child = nullptr;
    detail::check(hfr_comm_shrink(get(), &options, &child), get());
    return Communicator(child);
  }

  // An id for ranks that are to join; one member makes it and hands it out, then all grow.
  hfr_unique_id_t make_unique_id() const {
    hfr_unique_id_t id;
    detail::check(hfr_comm_get_unique_id(get(), &id), get());
    return id;
  }
  // These ranks and further ones, `num_ranks` in all. Collective.
  Communicator grow(int num_ranks) const {
    hfr_comm_t child = nullptr;
    detail::check(hfr_comm_grow(get(), num_ranks, &child), get());
    return Communicator(child);
  }

  // Lets go of what it holds, and takes it up again (docs/suspend.md). Collective.
  void suspend() { detail::check(hfr_comm_suspend(get()), get()); }
  void resume() { detail::check(hfr_comm_resume(get()), get()); }

  hfr_comm_t get() const noexcept { return comm_.get(); }
  int rank() const { return query(hfr_comm_rank); }
  int size() const { return query(hfr_comm_count); }
  int local_rank() const { return query(hfr_comm_local_rank); }
  int local_size() const { return query(hfr_comm_local_count); }
  int node() const { return query(hfr_comm_node); }
  int num_nodes() const { return query(hfr_comm_node_count); }

  // recv[i] = op over all ranks of send[i], i in [0, count). Returns when complete.
  template <typename T>
  void all_reduce(const T* send, T* recv, size_t count, hfr_op_t op = HFR_SUM) {
    all_reduce(send, recv, count, dtype_of<T>, op);
  }
  // In place.
  template <typename T>
  void all_reduce(std::vector<T>& data, hfr_op_t op = HFR_SUM) {
    all_reduce(data.data(), data.data(), data.size(), op);
  }
  void all_reduce(const void* send, void* recv, size_t count, hfr_dtype_t dtype, hfr_op_t op) {
    detail::check(hfr_all_reduce(send, recv, count, dtype, op, get(), nullptr, nullptr), get());
  }

  // As above, but returns at once. The buffers stay untouched until the request is done.
  template <typename T>
  Request start_all_reduce(const T* send, T* recv, size_t count, hfr_op_t op = HFR_SUM) {
    return start_all_reduce(send, recv, count, dtype_of<T>, op, nullptr);
  }
  // On a CUDA stream (CUstream, cudaStream_t): after its earlier entries, before its later ones.
  void enqueue_all_reduce(const void* send, void* recv, size_t count, hfr_dtype_t dtype,
                          hfr_op_t op, hfr_stream_t stream) {
    detail::check(hfr_all_reduce(send, recv, count, dtype, op, get(), stream, nullptr), get());
  }
  // With a stream: after its earlier entries, before its later ones.
  Request start_all_reduce(const void* send, void* recv, size_t count, hfr_dtype_t dtype,
                           hfr_op_t op, const Stream* stream) {
    hfr_request_t request = 0;
    detail::check(hfr_all_reduce(send, recv, count, dtype, op, get(),
                                 stream == nullptr ? nullptr : stream->get(), &request),
                  get());
    return Request(get(), request);
  }

  // The sum of all ranks' inputs, each times its rank's own scalar; for elements of type `dtype`.
  // Scalar: float for floats up to 32 bits, else the element's own type. Must not outlive this.
  template <typename Scalar>
  PremulSum make_premul_sum(Scalar scalar, hfr_dtype_t dtype = dtype_of<Scalar>) {
    return PremulSum(get(), scalar, dtype);
  }

  template <typename T>
  Memory<T> allocate(size_t count) {
    return Memory<T>(get(), count);
  }

  // The sticky status; HFR_SUCCESS while all is well.
  hfr_status_t async_error() const {
    hfr_status_t status = HFR_SUCCESS;
    detail::check(hfr_comm_get_async_error(get(), &status), get());
    return status;
  }
  // Copies the record of what this rank did last to a file; "%r" in `path` stands for the rank.
  void dump(const std::string& path) const {
    detail::check(hfr_comm_dump(get(), path.c_str()), get());
  }
  // What this rank has done so far (docs/metrics.md).
  hfr_comm_metrics_t metrics() const {
    hfr_comm_metrics_t metrics{};
    metrics.size = sizeof(metrics);
    detail::check(hfr_comm_get_metrics(get(), &metrics), get());
    return metrics;
  }
  void abort() { detail::check(hfr_comm_abort(get()), get()); }
  void finalize() { detail::check(hfr_comm_finalize(get()), get()); }

 private:
  explicit Communicator(hfr_comm_t comm) : comm_(comm) {}
  int query(hfr_status_t (*function)(hfr_comm_t, int*)) const {
    int value = 0;
    detail::check(function(get(), &value), get());
    return value;
  }
  struct Destroy {
    void operator()(hfr_comm_t comm) const { hfr_comm_destroy(comm); }
  };
  std::unique_ptr<hfr_comm, Destroy> comm_;
};

}  // namespace hfreduce

#endif  // HFREDUCE_HFREDUCE_HPP_
