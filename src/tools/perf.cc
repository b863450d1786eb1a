#include "tools/perf.hpp"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <thread>

namespace hfr::tools {
namespace {

constexpr size_t kAlignment = 4096;

struct PerfError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

void check(hfr_comm_t comm, hfr_status_t status, const char* what) {
  if (status == HFR_SUCCESS) return;
  throw PerfError(std::string(what) + ": " + hfr_status_string(status) + ": " +
                  hfr_get_last_error(comm));
}

// A rank's buffer, private or from hfr_mem_alloc.
class Buffer {
 public:
  Buffer(hfr_comm_t comm, size_t bytes, bool registered) : comm_(registered ? comm : nullptr) {
    size_t size = (std::max<size_t>(bytes, 1) + kAlignment - 1) / kAlignment * kAlignment;
    if (registered) {
      check(comm, hfr_mem_alloc(comm, &data_, size), "hfr_mem_alloc");
    } else {
      data_ = std::aligned_alloc(kAlignment, size);
      if (data_ == nullptr)
        throw PerfError("out of memory for a buffer of " + std::to_string(size) + " bytes");
    }
    std::memset(data_, 0, size);
  }
  ~Buffer() {
    if (comm_ != nullptr) {
      hfr_mem_free(comm_, data_);
    } else {
      std::free(data_);
    }
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  std::byte* data() const { return static_cast<std::byte*>(data_); }

 private:
  hfr_comm_t comm_;
  void* data_ = nullptr;
};

struct Side {
  double seconds = 0;
  size_t wrong = 0;
};

struct Row {
  size_t bytes = 0;
  size_t count = 0;
  hfr_dtype_t type = HFR_FLOAT32;
  hfr_op_t op = HFR_SUM;
  Side out_of_place;
  Side in_place;
};

// Drawn on standard error, on a terminal only.
class Progress {
 public:
  Progress(bool shown, size_t total) : shown_(shown && isatty(STDERR_FILENO) != 0), total_(total) {}
  void step() {
    if (!shown_) return;
    ++done_;
    constexpr size_t kWidth = 40;
    size_t filled = kWidth * done_ / total_;
    std::string bar(filled, '#');
    bar.resize(kWidth, '.');
    std::fprintf(stderr, "\r[%s] %zu/%zu%s", bar.c_str(), done_, total_,
                 done_ == total_ ? "\r\033[K" : "");
    std::fflush(stderr);
  }

 private:
  bool shown_;
  size_t total_;
  size_t done_ = 0;
};

class Perf {
 public:
  Perf(hfr_comm_t comm, const PerfOptions& options) : comm_(comm), options_(options) {
    check(comm, hfr_comm_rank(comm, &rank_), "hfr_comm_rank");
    check(comm, hfr_comm_count(comm, &num_ranks_), "hfr_comm_count");
    check(comm, hfr_comm_node_count(comm, &num_nodes_), "hfr_comm_node_count");
    check(comm, hfr_comm_node(comm, &node_), "hfr_comm_node");
  }

  int run() {
    describe_ranks();
    std::vector<size_t> sizes =
        size_sequence(options_.min_bytes, options_.max_bytes, options_.step_bytes, options_.factor);
    const size_t most = options_.max_bytes * static_cast<size_t>(options_.aggregate);
    Buffer send(comm_, most, options_.registered);
    Buffer recv(comm_, most, options_.registered);
    Progress progress(rank_ == 0, sizes.size() * options_.types.size() * options_.ops.size());
    print_header();
    for (hfr_dtype_t type : options_.types) {
      for (hfr_op_t op : options_.ops) {
        for (size_t bytes : sizes) {
          Row row = measure(bytes, type, op, send, recv);
          progress.step();
          print_row(row);
          rows_.push_back(row);
        }
      }
    }
    return finish();
  }

 private:
  Row measure(size_t bytes, hfr_dtype_t type, hfr_op_t op, Buffer& send, Buffer& recv) {
    Row row;
    row.type = type;
    row.op = op;
    row.count = bytes / hfr_dtype_size(type);
    row.bytes = row.count * hfr_dtype_size(type);
    std::vector<std::byte> input = input_pattern(type, op, rank_, num_ranks_);
    std::vector<std::byte> expected = expected_pattern(type, op, num_ranks_);
    row.out_of_place = measure_side(row, send.data(), recv.data(), input, expected);
    row.in_place = measure_side(row, recv.data(), recv.data(), input, expected);
    return row;
  }

  Side measure_side(const Row& row, std::byte* send, std::byte* recv,
                    const std::vector<std::byte>& input, const std::vector<std::byte>& expected) {
    fill(row, send, input);
    for (int i = 0; i < options_.warmups; ++i) iterate(row, send, recv);
    meet();
    auto start = std::chrono::steady_clock::now();
    if (options_.blocking) {
      for (int i = 0; i < options_.iterations; ++i) iterate(row, send, recv);
    } else {
      hfr_request_t last = 0;
      for (int i = 0; i < options_.iterations; ++i) last = start_operations(row, send, recv);
      check(comm_, hfr_wait(comm_, last), "hfr_wait");
    }
    std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    Side side;
    side.seconds = combine(took.count() / options_.iterations / options_.aggregate);
    if (options_.check) {
      fill(row, send, input);
      iterate(row, send, recv);
      for (int k = 0; k < options_.aggregate; ++k) {
        side.wrong += count_wrong(recv + part(row, k), row.bytes, row.type, row.op, expected);
      }
      side.wrong = add_up(side.wrong);
    }
    return side;
  }

  size_t part(const Row& row, int k) const { return static_cast<size_t>(k) * row.bytes; }

  void fill(const Row& row, std::byte* send, const std::vector<std::byte>& input) {
    for (int k = 0; k < options_.aggregate; ++k) tile(send + part(row, k), row.bytes, input);
  }

  void iterate(const Row& row, std::byte* send, std::byte* recv) {
    if (options_.aggregate == 1) {
      check(comm_, hfr_all_reduce(send, recv, row.count, row.type, row.op, comm_, nullptr, nullptr),
            "hfr_all_reduce");
    } else {
      check(comm_, hfr_wait(comm_, start_operations(row, send, recv)), "hfr_wait");
    }
  }

  hfr_request_t start_operations(const Row& row, std::byte* send, std::byte* recv) {
    hfr_request_t request = 0;
    for (int k = 0; k < options_.aggregate; ++k) {
      check(comm_,
            hfr_all_reduce(send + part(row, k), recv + part(row, k), row.count, row.type, row.op,
                           comm_, nullptr, &request),
            "hfr_all_reduce");
    }
    return request;
  }

  void meet() {
    check(comm_, hfr_all_reduce(nullptr, nullptr, 0, HFR_INT8, HFR_SUM, comm_, nullptr, nullptr),
          "hfr_all_reduce");
  }

  double combine(double seconds) {
    constexpr hfr_op_t kOps[] = {HFR_SUM, HFR_AVG, HFR_MIN, HFR_MAX};
    double mine = options_.average == 0 && rank_ != 0 ? 0 : seconds;
    double all = 0;
    check(comm_,
          hfr_all_reduce(&mine, &all, 1, HFR_FLOAT64, kOps[options_.average], comm_, nullptr,
                         nullptr),
          "hfr_all_reduce");
    return all;
  }

  size_t add_up(size_t value) {
    uint64_t mine = value;
    uint64_t all = 0;
    check(comm_, hfr_all_reduce(&mine, &all, 1, HFR_UINT64, HFR_SUM, comm_, nullptr, nullptr),
          "hfr_all_reduce");
    return all;
  }

  void describe_ranks() {
    // Each rank's node and process, brought to rank 0 by a sum.
    std::vector<int64_t> all(static_cast<size_t>(num_ranks_) * 2);
    all[static_cast<size_t>(rank_) * 2] = node_;
    all[static_cast<size_t>(rank_) * 2 + 1] = getpid();
    check(comm_,
          hfr_all_reduce(all.data(), all.data(), all.size(), HFR_INT64, HFR_SUM, comm_, nullptr,
                         nullptr),
          "hfr_all_reduce");
    if (rank_ != 0) return;
    int version = 0;
    hfr_get_version(&version);
    std::printf("# hfreduce perf version %d.%d.%d\n", version / 10000, version / 100 % 100,
                version % 100);
    std::printf(
        "# nThread 1 nGpus 1 minBytes %zu maxBytes %zu step: %s warmup iters: %d iters: %d agg "
        "iters: %d "
        "validation: %d device: host buffers: %s\n#\n",
        options_.min_bytes, options_.max_bytes, step_text().c_str(), options_.warmups,
        options_.iterations, options_.aggregate, options_.check ? 1 : 0,
        options_.registered ? "hfr_mem_alloc" : "private");
    std::printf("# Using %d ranks on %d nodes\n", num_ranks_, num_nodes_);
    for (int r = 0; r < num_ranks_; ++r) {
      std::printf("#  Rank %2d node %2lld pid %6lld device host\n", r,
                  static_cast<long long>(all[static_cast<size_t>(r) * 2]),
                  static_cast<long long>(all[static_cast<size_t>(r) * 2 + 1]));
    }
  }

  std::string step_text() const {
    return options_.factor > 1 ? std::to_string(options_.factor) + "(factor)"
                               : std::to_string(options_.step_bytes) + "(bytes)";
  }

  void print_header() const {
    if (rank_ != 0) return;
    std::printf(
        "#\n"
        "#                                                              out-of-place               "
        "        in-place\n"
        "#       size         count      type   redop    root     time   algbw   busbw #wrong     "
        "time   algbw   busbw #wrong\n"
        "#        (B)    (elements)                               (us)  (GB/s)  (GB/s)            "
        "(us)  (GB/s)  (GB/s)\n");
    std::fflush(stdout);
  }

  void print_row(const Row& row) const {
    if (rank_ != 0) return;
    std::printf("%12zu  %12zu  %8s  %6s  %6d", row.bytes, row.count, type_name(row.type),
                op_name(row.op), -1);
    for (const Side* side : {&row.out_of_place, &row.in_place}) {
      std::string wrong = options_.check ? std::to_string(side->wrong) : "N/A";
      std::printf("  %7.*f  %6.2f  %6.2f  %5s", side->seconds < 1e-4 ? 2 : 1, side->seconds * 1e6,
                  algorithm_bandwidth(row.bytes, side->seconds),
                  bus_bandwidth(row.bytes, side->seconds, num_ranks_), wrong.c_str());
    }
    std::printf("\n");
    std::fflush(stdout);
  }

  int finish() const {
    size_t wrong = 0;
    double bandwidth = 0;
    for (const Row& row : rows_) {
      for (const Side* side : {&row.out_of_place, &row.in_place}) {
        wrong += side->wrong;
        bandwidth += bus_bandwidth(row.bytes, side->seconds, num_ranks_);
      }
    }
    if (!rows_.empty()) bandwidth /= static_cast<double>(2 * rows_.size());
    if (rank_ == 0) {
      std::printf("# Out of bounds values : %zu %s\n", wrong, wrong == 0 ? "OK" : "FAILED");
      std::printf("# Avg bus bandwidth    : %.4f\n#\n", bandwidth);
      std::fflush(stdout);
      if (!options_.json_file.empty()) write_json(wrong, bandwidth);
    }
    return wrong == 0 ? 0 : 1;
  }

  void write_json(size_t wrong, double bandwidth) const {
    nlohmann::ordered_json results = nlohmann::ordered_json::array();
    for (const Row& row : rows_) {
      nlohmann::ordered_json entry = {{"size", row.bytes},
                                      {"count", row.count},
                                      {"type", type_name(row.type)},
                                      {"redop", op_name(row.op)},
                                      {"root", -1}};
      auto side = [&](const Side& s) {
        nlohmann::ordered_json values = {
            {"time_us", s.seconds * 1e6},
            {"algbw", algorithm_bandwidth(row.bytes, s.seconds)},
            {"busbw", bus_bandwidth(row.bytes, s.seconds, num_ranks_)}};
        values["wrong"] =
            options_.check ? nlohmann::ordered_json(s.wrong) : nlohmann::ordered_json(nullptr);
        return values;
      };
      entry["out_of_place"] = side(row.out_of_place);
      entry["in_place"] = side(row.in_place);
      results.push_back(entry);
    }
    nlohmann::ordered_json document = {{"results", results},
                                       {"ranks", num_ranks_},
                                       {"nodes", num_nodes_},
                                       {"out_of_bounds", wrong},
                                       {"average_bus_bandwidth", bandwidth},
                                       {"command", options_.command_line}};
    std::ofstream file(options_.json_file);
    file << document.dump(2) << "\n";
    if (!file) throw PerfError("cannot write " + options_.json_file);
  }

  hfr_comm_t comm_;
  const PerfOptions& options_;
  int rank_ = 0;
  int num_ranks_ = 1;
  int num_nodes_ = 1;
  int node_ = 0;
  std::vector<Row> rows_;
};

}  // namespace

int run_perf(hfr_comm_t comm, const PerfOptions& options) {
  try {
    int status = Perf(comm, options).run();
    check(comm, hfr_comm_finalize(comm), "hfr_comm_finalize");
    return status;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "hfreduce perf: %s\n", error.what());
    hfr_comm_abort(comm);  // the other ranks need not wait for their deadline
    return 1;
  }
}

int run_perf_threads(int num_threads, const PerfOptions& options) {
  std::vector<hfr_comm_t> comms(static_cast<size_t>(num_threads));
  if (hfr_comm_init_all(comms.data(), num_threads, nullptr) != HFR_SUCCESS) {
    std::fprintf(stderr, "hfreduce perf: %s\n", hfr_get_last_error(nullptr));
    return 1;
  }
  std::atomic<int> worst{0};
  std::vector<std::thread> threads;
  for (hfr_comm_t comm : comms) {
    threads.emplace_back([&, comm] {
      int status = run_perf(comm, options);
      if (status != 0) worst = status;
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (hfr_comm_t comm : comms) hfr_comm_destroy(comm);
  return worst;
}

}  // namespace hfr::tools
