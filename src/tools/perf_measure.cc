#include "tools/perf_measure.hpp"

#include <algorithm>
#include <chrono>
#include <map>

#include "tools/perf_values.hpp"

namespace hfr::tools {
namespace {

// Where a part of the buffers that are in flight together begins.
size_t offset(const Work& work, int part) { return static_cast<size_t>(part) * work.bytes; }

}  // namespace

Buffer::Buffer(PerfDevice& device, hfr_comm_t comm, size_t bytes, bool registered)
    : device_(device), comm_(registered ? comm : nullptr) {
  if (registered) {
    check(comm, hfr_mem_alloc(comm, &data_, std::max<size_t>(bytes, 1)), "hfr_mem_alloc");
  } else {
    data_ = device.allocate(bytes);
  }
  fill(device, data_, bytes, {std::byte{0}});
}

Buffer::~Buffer() {
  if (comm_ != nullptr) {
    hfr_mem_free(comm_, data_);
  } else {
    device_.free(data_);
  }
}

Measurer::Measurer(hfr_comm_t comm, const PerfOptions& options)
    : comm_(comm), options_(options), device_(make_device(options.device, comm)) {
  check(comm, hfr_comm_rank(comm, &rank_), "hfr_comm_rank");
  check(comm, hfr_comm_count(comm, &num_ranks_), "hfr_comm_count");
  if (!options.blocking) stream_ = device_->stream();
}

void Measurer::prepare(hfr_dtype_t type, hfr_op_t op, size_t most_bytes) {
  const size_t count = most_bytes / hfr_dtype_size(type);
  input_ = exact_input(type, op, rank_, num_ranks_, count);
  expected_ =
      options_.checks > 0 ? exact_result(type, op, num_ranks_, count) : std::vector<std::byte>();
}

Measurement Measurer::run(const Work& work) {
  fill_send(work, work.in_place() ? neutral_input(work.type, work.op) : input_);
  iterate(work, options_.warmups);
  finish();
  Measurement result;
  result.seconds = average_over_ranks(time(work));
  if (options_.checks > 0) result.wrong = count_wrong_values(work);
  return result;
}

// Seconds of one operation.
double Measurer::time(const Work& work) {
  const int launches = options_.graph_launches;
  if (launches > 0) {
    device_->capture([&] { iterate(work, options_.iterations); });
    device_->replay();  // the first one also uploads
    finish();
  }
  check(comm_, hfr_all_reduce(nullptr, nullptr, 0, HFR_INT8, HFR_SUM, comm_, nullptr, nullptr),
        "beginning together");
  const auto start = std::chrono::steady_clock::now();
  if (launches > 0) {
    for (int i = 0; i < launches; ++i) device_->replay();
  } else {
    iterate(work, options_.iterations);
  }
  finish();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  return took.count() / options_.iterations / options_.aggregate / std::max(launches, 1);
}

uint64_t Measurer::count_wrong_values(const Work& work) {
  const bool graph = options_.graph_launches > 0;
  if (graph) device_->capture([&] { iterate(work, 1); });
  uint64_t wrong = 0;
  for (int i = 0; i < options_.checks; ++i) {
    if (!work.in_place()) {
      fill(*device_, work.recv, work.bytes * static_cast<size_t>(options_.aggregate),
           {std::byte{0xa5}});
    }
    fill_send(work, input_);
    if (graph) {
      device_->replay();
    } else {
      iterate(work, 1);
    }
    finish();
    for (int part = 0; part < options_.aggregate; ++part) {
      wrong += count_wrong_on(*device_, work.recv + offset(work, part), work.bytes, work.type,
                              work.op, expected_);
    }
  }
  return combine<uint64_t>({wrong}, HFR_UINT64, HFR_SUM)[0];
}

void Measurer::fill_send(const Work& work, const std::vector<std::byte>& pattern) {
  for (int part = 0; part < options_.aggregate; ++part)
    fill(*device_, work.send + offset(work, part), work.bytes, pattern);
}

void Measurer::iterate(const Work& work, int iterations) {
  for (int i = 0; i < iterations; ++i) iterate_once(work);
}

// Complete on return when blocking, else after finish(). Where graphs are used, operations on
// streams have no requests.
void Measurer::iterate_once(const Work& work) {
  const bool together = options_.blocking && options_.aggregate > 1;
  const bool last_counts = stream_ != nullptr && options_.graph_launches == 0;
  requests_.assign(together ? static_cast<size_t>(options_.aggregate) : 0, 0);
  for (int part = 0; part < options_.aggregate; ++part) {
    hfr_request_t* request = together      ? &requests_[static_cast<size_t>(part)]
                             : last_counts ? &last_.emplace()
                                           : nullptr;
    check(comm_,
          hfr_all_reduce(work.send + offset(work, part), work.recv + offset(work, part), work.count,
                         work.type, work.op, comm_, stream_, request),
          "hfr_all_reduce");
  }
  for (hfr_request_t request : requests_) check(comm_, hfr_wait(comm_, request), "hfr_wait");
}

// Waits for the stream, if there is one: first in the library, which makes progress meanwhile,
// while a thread that spins in the driver takes a CPU from those that work.
void Measurer::finish() {
  if (stream_ == nullptr) return;
  if (last_) check(comm_, hfr_wait(comm_, *last_), "hfr_wait");
  last_.reset();
  device_->synchronize();
  // A CUDA stream passes when an operation fails; the communicator knows.
  hfr_status_t status = HFR_SUCCESS;
  check(comm_, hfr_comm_get_async_error(comm_, &status), "hfr_comm_get_async_error");
  check(comm_, status, "an operation on the stream");
}

double Measurer::average_over_ranks(double seconds) {
  static const std::map<Average, hfr_op_t> kOps = {{Average::kRank0, HFR_SUM},
                                                   {Average::kMean, HFR_AVG},
                                                   {Average::kLeast, HFR_MIN},
                                                   {Average::kMost, HFR_MAX}};
  const double mine = options_.average == Average::kRank0 && rank_ != 0 ? 0 : seconds;
  return combine<double>({mine}, HFR_FLOAT64, kOps.at(options_.average))[0];
}

}  // namespace hfr::tools
