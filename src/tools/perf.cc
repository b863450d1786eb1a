#include "tools/perf.hpp"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <fstream>
#include <thread>

#include "base/text.hpp"
#include "tools/perf_join.hpp"
#include "tools/perf_measure.hpp"
#include "tools/perf_numbers.hpp"
#include "tools/perf_preamble.hpp"
#include "tools/perf_report.hpp"
#include "tools/progress.hpp"

namespace hfr::tools {
namespace {

// One rank. All ranks make the same calls in the same order; rank 0 also prints.
class Rank {
 public:
  Rank(hfr_comm_t comm, const PerfOptions& options)
      : comm_(comm), options_(options), measurer_(comm, options) {
    check(comm, hfr_comm_node_count(comm, &num_nodes_), "hfr_comm_node_count");
  }

  // Returns whether all values were right.
  bool run() {
    const std::vector<size_t> sizes =
        size_sequence(options_.min_bytes, options_.max_bytes, options_.step_bytes, options_.factor);
    const size_t most =
        (sizes.empty() ? 0 : sizes.back()) * static_cast<size_t>(options_.aggregate);
    Buffer send(measurer_.device(), comm_, most, options_.registered);
    Buffer recv(measurer_.device(), comm_, most, options_.registered);
    Progress progress(rank_ == 0, 2 * sizes.size() * options_.types.size() * options_.ops.size());
    print_preamble();
    std::vector<PerfRow> rows;
    for (hfr_dtype_t type : options_.types) {
      for (hfr_op_t op : options_.ops) {
        measurer_.prepare(type, op, sizes.empty() ? 0 : sizes.back());
        for (size_t size : sizes) {
          const size_t count = size / hfr_dtype_size(type);
          PerfRow row{count * hfr_dtype_size(type), count, type, op, {}, {}};
          auto measure = [&](std::byte* from, const char* place) {
            progress.show(
                cat(bytes_text(row.bytes), " ", type_name(type), " ", op_name(op), " ", place));
            Measurement result = measurer_.run({from, recv.data(), row.bytes, count, type, op});
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
    return report(rows);
  }

 private:
  void print(const std::string& text) const {
    if (rank_ != 0) return;
    std::fputs(text.c_str(), stdout);
    std::fflush(stdout);
  }

  // Every rank's line of the preamble; rank r's bytes are the only ones in its place that are not
  // 0, so a sum gathers them.
  std::vector<Participant> gather_participants() {
    std::vector<Participant> all(static_cast<size_t>(num_ranks_));
    Participant& mine = all[static_cast<size_t>(rank_)];
    int node = 0;
    check(comm_, hfr_comm_node(comm_, &node), "hfr_comm_node");
    mine.node = node;
    mine.pid = getpid();
    gethostname(mine.host, sizeof(mine.host) - 1);
    measurer_.device().name().copy(mine.device, sizeof(mine.device) - 1);
    return measurer_.combine(all, HFR_UINT8, HFR_SUM);
  }

  void print_preamble() {
    int version = 0;
    hfr_get_version(&version);
    print(preamble(options_, version, num_nodes_, gather_participants()) + table_header());
  }

  bool report(const std::vector<PerfRow>& rows) const {
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
  Measurer measurer_;
  const int rank_ = measurer_.rank();
  const int num_ranks_ = measurer_.num_ranks();
  int num_nodes_ = 1;
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
    comms = join(options.ranks_per_process(), launched, options.device);
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
