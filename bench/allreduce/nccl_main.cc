// NCCL on GPU memory. Its library is loaded at run time, with prototypes of our own: nothing of
// NCCL is needed to build this.
//
// NCCL refuses two ranks on one GPU inside one machine. Where ranks outnumber GPUs each is
// therefore given a NCCL_HOSTID of its own, so that NCCL takes each for a machine and joins them by
// sockets on the loopback interface; nothing else makes it run there.
#include <cstdlib>

#include "gpu_library.hpp"
#include "late_library.hpp"
#include "overlap.hpp"

namespace {

// What is used of NCCL 2's C interface.
struct NcclId {
  char bytes[128];
};
using NcclComm = void*;
enum NcclType { kNcclFloat32 = 7, kNcclFloat64 = 8, kNcclBfloat16 = 9 };
enum NcclOp { kNcclSum = 0, kNcclMax = 2 };

struct Nccl {
  Nccl() {
    hfr_bench::LateLibrary library("NCCL", {"libnccl.so.2"});
    library.load(get_version, "ncclGetVersion");
    library.load(get_unique_id, "ncclGetUniqueId");
    library.load(comm_init_rank, "ncclCommInitRank");
    library.load(comm_destroy, "ncclCommDestroy");
    library.load(all_reduce, "ncclAllReduce");
    library.load(error_string, "ncclGetErrorString");
    library.load(last_error, "ncclGetLastError");
  }

  int (*get_version)(int* version);
  int (*get_unique_id)(NcclId* id);
  int (*comm_init_rank)(NcclComm* comm, int num_ranks, NcclId id, int rank);
  int (*comm_destroy)(NcclComm comm);
  int (*all_reduce)(const void* send, void* recv, size_t count, int type, int op, NcclComm comm,
                    CUstream stream);
  const char* (*error_string)(int result);
  const char* (*last_error)(NcclComm comm);
};

class NcclLibrary : public hfr_bench::GpuLibrary {
 public:
  explicit NcclLibrary(const hfr_bench::Options& options)
      : GpuLibrary(options),
        dtype_(options.dtype == hfr_bench::Dtype::kFloat32 ? kNcclFloat32 : kNcclBfloat16),
        blocking_(options.blocking) {
    if (num_ranks() > gpu().num_devices()) {
      setenv("NCCL_HOSTID", ("rank" + std::to_string(rank())).c_str(), 0);
      setenv("NCCL_SOCKET_IFNAME", "lo", 0);
      shared_ = true;
    }
    NcclId id = {};
    if (rank() == 0) {
      check(nccl_.get_unique_id(&id), "ncclGetUniqueId");
      exchange().publish("id", std::string(id.bytes, sizeof(id.bytes)));
    } else {
      exchange().wait_for("id").copy(id.bytes, sizeof(id.bytes));
    }
    check(nccl_.comm_init_rank(&comm_, num_ranks(), id, rank()), "ncclCommInitRank");
  }

  ~NcclLibrary() override { nccl_.comm_destroy(comm_); }

  std::string version() const override {
    int number = 0;
    check(nccl_.get_version(&number), "ncclGetVersion");
    return "NCCL " + std::to_string(number / 10000) + "." + std::to_string(number / 100 % 100) +
           "." + std::to_string(number % 100) + ", " +
           (shared_ ? "a node for each rank, " : "one node, ") + gpu().name();
  }

  void all_reduce(const void* in, void* out, size_t count) override {
    start(in, out, count, dtype_, kNcclSum);
    if (blocking_) finish();
  }
  void finish() override { gpu().synchronize(stream()); }

 private:
  void reduce_max(void* value) override {
    start(value, value, 1, kNcclFloat64, kNcclMax);
    finish();
  }
  void start(const void* in, void* out, size_t count, NcclType type, NcclOp op) {
    check(nccl_.all_reduce(in, out, count, type, op, comm_, stream()), "ncclAllReduce");
  }
  void check(int result, const char* call) const {
    if (result == 0) return;
    throw std::runtime_error(std::string(call) + ": " + nccl_.error_string(result) + ": " +
                             nccl_.last_error(nullptr));
  }

  Nccl nccl_;
  NcclType dtype_;
  bool blocking_;
  bool shared_ = false;
  NcclComm comm_ = nullptr;
};

}  // namespace

int main(int argc, char** argv) {
  return hfr_bench::gpu_main(argc, argv, [](const hfr_bench::Options& options) {
    return std::make_unique<NcclLibrary>(options);
  });
}
