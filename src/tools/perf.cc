#include "tools/perf.hpp"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <thread>

#include "base/text.hpp"
#include "tools/perf_join.hpp"
#include "tools/perf_numbers.hpp"
#include "tools/perf_report.hpp"
#include "tools/perf_values.hpp"
#include "tools/progress.hpp"

namespace hfr::tools {
namespace {

constexpr size_t kAlignment = 4096;

// A rank's buffer, private or from hfr_mem_alloc.
class Buffer {
 public:
  Buffer(hfr_comm_t comm, size_t bytes, bool registered) : comm_(registered ? comm : nullptr) {
    const size_t size = (std::max<size_t>(bytes, 1) + kAlignment - 1) / kAlignment * kAlignment;
    if (registered) {
      check(comm, hfr_mem_alloc(comm, &data_, size), "hfr_mem_alloc");
    } else {
      data_ = std::aligned_alloc(kAlignment, size);
      if (data_ == nullptr)
        throw PerfError(cat("no memory for a buffer of ", bytes_text(size), "; lower -e or -m"));
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

struct DestroyStream {
  void operator()(void* stream) const { hfr_stream_destroy(stream); }
};
using Stream = std::unique_ptr<void, DestroyStream>;

// What the ranks do with one size, type and operation, in place or not. `send` and `recv` hold one
// part of `bytes` for each operation that is in flight together.
struct Work {
  std::byte* send = nullptr;
  std::byte* recv = nullptr;
  size_t bytes = 0;
  size_t count = 0;
  hfr_dtype_t type = HFR_FLOAT32;
  hfr_op_t op = HFR_SUM;

  bool in_place() const { return send == recv; }
};

// One rank. All ranks make the same calls in the same order; rank 0 also prints.
class Rank {
 public:
  Rank(hfr_comm_t comm, const PerfOptions& options) : comm_(comm), options_(options) {
    check(comm, hfr_comm_rank(comm, &rank_), "hfr_comm_rank");
    check(comm, hfr_comm_count(comm, &num_ranks_), "hfr_comm_count");
    check(comm, hfr_comm_node_count(comm, &num_nodes_), "hfr_comm_node_count");
    if (!options.blocking) {
      hfr_stream_t stream = nullptr;
      check(comm, hfr_stream_create(&stream), "hfr_stream_create");
      stream_.reset(stream);
    }
  }

  // Returns whether all values were right.
  bool run() {
    const std::vector<size_t> sizes =
        size_sequence(options_.min_bytes, options_.max_bytes, options_.step_bytes, options_.factor);
    const size_t most =
        (sizes.empty() ? 0 : sizes.back()) * static_cast<size_t>(options_.aggregate);
    Buffer send(comm_, most, options_.registered);
    Buffer recv(comm_, most, options_.registered);
    Progress progress(rank_ == 0, 2 * sizes.size() * options_.types.size() * options_.ops.size());
    print_preamble();
    std::vector<PerfRow> rows;
    for (hfr_dtype_t type : options_.types) {
      for (hfr_op_t op : options_.ops) {
        prepare_values(type, op, sizes.empty() ? 0 : sizes.back());
        for (size_t size : sizes) {
          const size_t count = size / hfr_dtype_size(type);
          PerfRow row{count * hfr_dtype_size(type), count, type, op, {}, {}};
          auto measure = [&](std::byte* from, const char* place) {
            progress.show(
                cat(bytes_text(row.bytes), " ", type_name(type), " ", op_name(op), " ", place));
            Measurement result = measure_one({from, recv.data(), row.bytes, count, type, op});
            progress.step();
            return result;
          };
          row.out_of_place = measure(send.data(), "out of place");
          row.in_place = measure(recv.data(), "in place");
          progress.hide();
          print(table_row(row, num_ranks_));
          rows.push_back(row);
        }
      }
    }
    return finish(rows);
  }

 private:
  void prepare_values(hfr_dtype_t type, hfr_op_t op, size_t most_bytes) {
    const size_t count = most_bytes / hfr_dtype_size(type);
    input_ = exact_input(type, op, rank_, num_ranks_, count);
    expected_ =
        options_.checks > 0 ? exact_result(type, op, num_ranks_, count) : std::vector<std::byte>();
  }

  Measurement measure_one(const Work& work) {
    fill(work, work.in_place() ? neutral_input(work.type, work.op) : input_);
    for (int i = 0; i < options_.warmups; ++i) iterate(work);
    finish_stream();
    all_reduce_alone(nullptr, nullptr, 0, HFR_INT8, HFR_SUM);  // all begin together
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < options_.iterations; ++i) iterate(work);
    finish_stream();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    Measurement result;
    result.seconds = average_over_ranks(took.count() / options_.iterations / options_.aggregate);
    if (options_.checks > 0) result.wrong = count_wrong_values(work);
    return result;
  }

  uint64_t count_wrong_values(const Work& work) {
    uint64_t wrong = 0;
    for (int i = 0; i < options_.checks; ++i) {
      if (!work.in_place())
        std::memset(work.recv, 0xa5, work.bytes * static_cast<size_t>(options_.aggregate));
      fill(work, input_);
      iterate(work);
      finish_stream();
      for (int part = 0; part < options_.aggregate; ++part) {
        wrong +=
            count_wrong(work.recv + offset(work, part), work.bytes, work.type, work.op, expected_);
      }
    }
    uint64_t all = 0;
    all_reduce_alone(&wrong, &all, 1, HFR_UINT64, HFR_SUM);
    return all;
  }

  static size_t offset(const Work& work, int part) {
    return static_cast<size_t>(part) * work.bytes;
  }

  void fill(const Work& work, const std::vector<std::byte>& pattern) {
    for (int part = 0; part < options_.aggregate; ++part)
      tile(work.send + offset(work, part), work.bytes, pattern);
  }

  // One iteration: complete on return when blocking, else on finish_stream().
  void iterate(const Work& work) {
    const bool together = options_.blocking && options_.aggregate > 1;
    requests_.assign(together ? static_cast<size_t>(options_.aggregate) : 0, 0);
    for (int part = 0; part < options_.aggregate; ++part) {
      check(comm_,
            hfr_all_reduce(work.send + offset(work, part), work.recv + offset(work, part),
                           work.count, work.type, work.op, comm_, stream_.get(),
                           together ? &requests_[static_cast<size_t>(part)] : nullptr),
            "hfr_all_reduce");
    }
    for (hfr_request_t request : requests_) check(comm_, hfr_wait(comm_, request), "hfr_wait");
  }

  void finish_stream() {
    if (stream_) check(comm_, hfr_stream_synchronize(stream_.get()), "hfr_stream_synchronize");
  }

  // Outside of what is timed.
  void all_reduce_alone(const void* from, void* to, size_t count, hfr_dtype_t type, hfr_op_t op) {
    check(comm_, hfr_all_reduce(from, to, count, type, op, comm_, nullptr, nullptr),
          "hfr_all_reduce");
  }

  double average_over_ranks(double seconds) {
    static const std::map<Average, hfr_op_t> kOps = {{Average::kRank0, HFR_SUM},
                                                     {Average::kMean, HFR_AVG},
                                                     {Average::kLeast, HFR_MIN},
                                                     {Average::kMost, HFR_MAX}};
    const double mine = options_.average == Average::kRank0 && rank_ != 0 ? 0 : seconds;
    double all = 0;
    all_reduce_alone(&mine, &all, 1, HFR_FLOAT64, kOps.at(options_.average));
    return all;
  }

  void print(const std::string& text) const {
    if (rank_ != 0) return;
    std::fputs(text.c_str(), stdout);
    std::fflush(stdout);
  }

  struct Who {
    int32_t node;
    int32_t pid;
    char host[56];
  };

  // Every rank's line of the preamble; rank r's bytes are the only ones in its place that are not
  // 0, so a sum gathers them.
  std::vector<Who> gather_who() {
    std::vector<Who> all(static_cast<size_t>(num_ranks_));
    Who& mine = all[static_cast<size_t>(rank_)];
    int node = 0;
    check(comm_, hfr_comm_node(comm_, &node), "hfr_comm_node");
    mine.node = node;
    mine.pid = getpid();
    gethostname(mine.host, sizeof(mine.host) - 1);
    all_reduce_alone(all.data(), all.data(), all.size() * sizeof(Who), HFR_UINT8, HFR_SUM);
    return all;
  }

  void print_preamble() {
    const std::vector<Who> ranks = gather_who();
    int version = 0;
    hfr_get_version(&version);
    const bool by_factor = options_.factor > 1;
    std::string text = cat(
        "# hfreduce perf version ", version / 10000, ".", version / 100 % 100, ".", version % 100,
        ", all_reduce\n# nThread ", options_.threads, " nGpus ", options_.per_thread, " minBytes ",
        options_.min_bytes, " maxBytes ", options_.max_bytes, " step: ",
        by_factor ? cat(options_.factor, "(factor)") : cat(options_.step_bytes, "(bytes)"),
        " warmup iters: ", options_.warmups, " iters: ", options_.iterations,
        " agg iters: ", options_.aggregate, " validation: ", options_.checks,
        " graph: 0 blocking: ", options_.blocking ? 1 : 0,
        " device: host buffers: ", options_.registered ? "hfr_mem_alloc" : "private",
        "\n#\n# Using ", num_ranks_, num_ranks_ == 1 ? " rank on " : " ranks on ", num_nodes_,
        num_nodes_ == 1 ? " node\n" : " nodes\n");
    for (int rank = 0; rank < num_ranks_; ++rank) {
      const Who& who = ranks[static_cast<size_t>(rank)];
      char line[160];
      std::snprintf(line, sizeof(line), "#  Rank %3d Node %3d Pid %7d on %s device host\n", rank,
                    who.node, who.pid, who.host);
      text += line;
    }
    print(text + table_header());
  }

  bool finish(const std::vector<PerfRow>& rows) const {
    const PerfSummary summary = summarize(rows, num_ranks_);
    print(table_footer(summary));
    if (rank_ == 0 && !options_.json_file.empty()) {
      std::ofstream file(options_.json_file);
      file << json_document(rows, {num_ranks_, num_nodes_, options_.command_line});
      file.flush();
      if (!file) throw PerfError("cannot write " + options_.json_file);
    }
    return summary.wrong == 0;
  }

  hfr_comm_t comm_;
  const PerfOptions& options_;
  int rank_ = 0;
  int num_ranks_ = 1;
  int num_nodes_ = 1;
  Stream stream_;
  std::vector<std::byte> input_;
  std::vector<std::byte> expected_;
  std::vector<hfr_request_t> requests_;
};

// In the rank's thread. Returns whether all went well.
bool run_rank(hfr_comm_t comm, const PerfOptions& options) {
  try {
    const bool right = Rank(comm, options).run();
    check(comm, hfr_comm_finalize(comm), "hfr_comm_finalize");
    return right;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "hfreduce perf: %s\n", error.what());
    hfr_comm_abort(comm);  // the other ranks need not wait for their deadline
    return false;
  }
}

}  // namespace

int run_perf(const PerfOptions& options, bool launched) {
  std::vector<hfr_comm_t> comms;
  try {
    comms = join(options.ranks_per_process(), launched);
  } catch (const PerfError& error) {
    std::fprintf(stderr, "hfreduce perf: %s\n", error.what());
    return 1;
  }
  std::atomic<bool> all_well{true};
  auto run = [&](hfr_comm_t comm) {
    if (!run_rank(comm, options)) all_well = false;
  };
  // A single rank keeps to the calling thread.
  std::vector<std::thread> threads;
  for (size_t i = 1; i < comms.size(); ++i) threads.emplace_back(run, comms[i]);
  run(comms[0]);
  for (std::thread& thread : threads) thread.join();
  for (hfr_comm_t comm : comms) hfr_comm_destroy(comm);
  return all_well ? 0 : 1;
}

}  // namespace hfr::tools
