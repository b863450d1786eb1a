// A rank that misbehaves as its argument says, for the tests of `hfreduce inspect`. Rank 1 is the
// odd one; all complete three operations first.
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "hfreduce/hfreduce.h"

namespace {

hfr_comm_t g_comm = nullptr;

// True when it went well; else says why not.
bool sum(size_t count, hfr_dtype_t dtype = HFR_FLOAT32, hfr_op_t op = HFR_SUM) {
  std::vector<double> data(count, 1.0);
  if (hfr_all_reduce(data.data(), data.data(), count, dtype, op, g_comm, nullptr, nullptr) ==
      HFR_SUCCESS) {
    return true;
  }
  std::fprintf(stderr, "%s\n", hfr_get_last_error(g_comm));
  return false;
}

[[noreturn]] void wait_forever() {
  signal(SIGTERM, SIG_DFL);
  while (true) pause();
}

// What the rank does after three operations; true when all went well.
bool behave(const std::string& how, bool odd) {
  if (how == "well") return sum(100);
  if (how == "never") {
    if (odd) wait_forever();
    return sum(1000);
  }
  if (how == "size") return sum(odd ? 200 : 100);
  if (how == "type") return sum(100, odd ? HFR_INT32 : HFR_FLOAT32);
  if (how == "op") return sum(100, HFR_FLOAT32, odd ? HFR_MAX : HFR_SUM);
  if (how == "order") {
    hfr_request_t requests[2];
    std::vector<float> data[2] = {std::vector<float>(100), std::vector<float>(200)};
    for (size_t i : {0u, 1u}) {
      std::vector<float>& one = data[odd ? 1 - i : i];
      hfr_all_reduce(one.data(), one.data(), one.size(), HFR_FLOAT32, HFR_SUM, g_comm, nullptr,
                     &requests[i]);
    }
    return hfr_wait(g_comm, requests[0]) == HFR_SUCCESS &&
           hfr_wait(g_comm, requests[1]) == HFR_SUCCESS;
  }
  if (how == "dead" || how == "stopped") {
    if (odd) raise(how == "dead" ? SIGKILL : SIGSTOP);
    return sum(1000);
  }
  if (how == "finalize") {
    if (odd) wait_forever();
    return hfr_comm_finalize(g_comm) == HFR_SUCCESS;
  }
  if (how == "leave") {  // without destroying
    std::exit(0);
  }
  // "on": until it is ended.
  while (sum(100)) usleep(100);
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  // The launcher ends the others when one rank fails: they are to find out by themselves. Who only
  // waits is ended.
  signal(SIGTERM, SIG_IGN);
  if (hfr_comm_init_env(&g_comm, nullptr) != HFR_SUCCESS) {
    std::fprintf(stderr, "%s\n", hfr_get_last_error(nullptr));
    return 1;
  }
  int rank = 0;
  hfr_comm_rank(g_comm, &rank);
  bool well = sum(10) && sum(10) && sum(10);
  well = well && behave(argv[1], rank == 1);
  if (well && std::string(argv[1]) != "finalize") well = hfr_comm_finalize(g_comm) == HFR_SUCCESS;
  return hfr_comm_destroy(g_comm) == HFR_SUCCESS && well ? 0 : 1;
}
