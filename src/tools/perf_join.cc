#include "tools/perf_join.hpp"

#include <exception>
#include <thread>

namespace hfr::tools {
namespace {

hfr_comm_options_t options_for(hfr_device_t device) {
  hfr_comm_options_t options = HFR_COMM_OPTIONS_INIT;
  options.device = device;
  return options;
}

hfr_comm_t join_environment(hfr_device_t device) {
  const hfr_comm_options_t options = options_for(device);
  hfr_comm_t comm = nullptr;
  check(nullptr, hfr_comm_init_env(&comm, &options), "joining the launcher's job");
  return comm;
}

// Several ranks in each process: the processes join first, and through that communicator rank 0
// hands out the id of the real one (a sum to which the others add nothing).
std::vector<hfr_comm_t> join_threads_of_processes(int ranks_per_process, hfr_device_t device) {
  hfr_comm_t processes = join_environment(HFR_DEVICE_HOST);
  int process = 0;
  int num_processes = 1;
  check(processes, hfr_comm_rank(processes, &process), "hfr_comm_rank");
  check(processes, hfr_comm_count(processes, &num_processes), "hfr_comm_count");
  hfr_unique_id_t id{};
  if (process == 0) check(nullptr, hfr_get_unique_id(&id), "hfr_get_unique_id");
  check(processes,
        hfr_all_reduce(id.bytes, id.bytes, sizeof(id.bytes), HFR_UINT8, HFR_SUM, processes, nullptr,
                       nullptr),
        "handing out the unique id");
  const hfr_comm_options_t options = options_for(device);
  std::vector<hfr_comm_t> comms(static_cast<size_t>(ranks_per_process));
  std::vector<std::exception_ptr> errors(comms.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < comms.size(); ++i) {
    threads.emplace_back([&, i] {
      try {
        const int rank = process * ranks_per_process + static_cast<int>(i);
        check(nullptr,
              hfr_comm_init_rank(&comms[i], num_processes * ranks_per_process, &id, rank, &options),
              "joining as rank " + std::to_string(rank));
      } catch (...) {
        errors[i] = std::current_exception();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  hfr_comm_destroy(processes);
  for (const std::exception_ptr& error : errors) {
    if (!error) continue;
    for (hfr_comm_t comm : comms) hfr_comm_destroy(comm);
    std::rethrow_exception(error);
  }
  return comms;
}

}  // namespace

void check(hfr_comm_t comm, hfr_status_t status, const std::string& what) {
  if (status == HFR_SUCCESS) return;
  throw PerfError(what + ": " + hfr_status_string(status) + ": " + hfr_get_last_error(comm));
}

std::vector<hfr_comm_t> join(int ranks_per_process, bool launched, hfr_device_t device) {
  if (launched && ranks_per_process == 1) return {join_environment(device)};
  if (launched) return join_threads_of_processes(ranks_per_process, device);
  const hfr_comm_options_t options = options_for(device);
  std::vector<hfr_comm_t> comms(static_cast<size_t>(ranks_per_process));
  check(nullptr, hfr_comm_init_all(comms.data(), ranks_per_process, &options),
        "starting the ranks");
  return comms;
}

}  // namespace hfr::tools
