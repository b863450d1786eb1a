// UCC, with persistent collectives: prepared once per buffer and size, then only started.
#include <ucc/api/ucc.h>

#include "exchange.hpp"
#include "measure.hpp"

namespace {

void check(ucc_status_t status, const char* call) {
  if (status == UCC_OK) return;
  throw std::runtime_error(std::string(call) + " failed: " + ucc_status_string(status));
}

// UCC's set-up asks for all-gathers of small blobs; done at once, so a request is always complete.
class Gatherer {
 public:
  explicit Gatherer(const hfr_bench::Exchange& exchange, std::string name)
      : exchange_(exchange), name_(std::move(name)) {}

  ucc_oob_coll_t callbacks() {
    ucc_oob_coll_t oob = {};
    oob.allgather = [](void* send, void* receive, size_t bytes, void* self, void** request) {
      static_cast<Gatherer*>(self)->gather(send, receive, bytes);
      *request = self;
      return UCC_OK;
    };
    oob.req_test = [](void*) { return UCC_OK; };
    oob.req_free = [](void*) { return UCC_OK; };
    oob.coll_info = this;
    oob.n_oob_eps = static_cast<uint32_t>(exchange_.num_ranks);
    oob.oob_ep = static_cast<uint32_t>(exchange_.rank);
    return oob;
  }

 private:
  void gather(const void* send, void* receive, size_t bytes) {
    std::string prefix = name_ + "." + std::to_string(round_++) + ".";
    exchange_.publish(prefix + std::to_string(exchange_.rank),
                      std::string(static_cast<const char*>(send), bytes));
    for (int rank = 0; rank < exchange_.num_ranks; ++rank) {
      std::string blob = exchange_.wait_for(prefix + std::to_string(rank));
      std::memcpy(static_cast<char*>(receive) + static_cast<size_t>(rank) * bytes, blob.data(),
                  bytes);
    }
  }

  const hfr_bench::Exchange& exchange_;
  std::string name_;
  int round_ = 0;
};

class UccLibrary : public hfr_bench::Library {
 public:
  explicit UccLibrary(const hfr_bench::Options& options)
      : exchange_(hfr_bench::Exchange::from_env()),
        dtype_(options.dtype == hfr_bench::Dtype::kFloat32 ? UCC_DT_FLOAT32 : UCC_DT_BFLOAT16),
        crowded_(!options.cpus.empty() &&
                 static_cast<size_t>(exchange_.num_ranks) > options.cpus.size()) {
    hfr_bench::bind_to_cpu(options, exchange_.rank);
    make_context();
    make_team();
  }

  ~UccLibrary() override {
    if (prepared_ != nullptr) ucc_collective_finalize(prepared_);
    while (ucc_team_destroy(team_) == UCC_INPROGRESS) ucc_context_progress(context_);
    ucc_context_destroy(context_);
    ucc_finalize(library_);
  }

  std::string version() const override { return std::string("UCC ") + ucc_get_version_string(); }
  int rank() const override { return exchange_.rank; }
  int num_ranks() const override { return exchange_.num_ranks; }

  void all_reduce(const void* in, void* out, size_t count) override {
    if (in != in_ || out != out_ || count != count_) {
      if (prepared_ != nullptr)
        check(ucc_collective_finalize(prepared_), "ucc_collective_finalize");
      prepared_ = prepare(in, out, count, dtype_, UCC_OP_SUM);
      in_ = in;
      out_ = out;
      count_ = count;
    }
    run(prepared_);
  }

  double max(double value) override {
    ucc_coll_req_h request = prepare(&value, &value, 1, UCC_DT_FLOAT64, UCC_OP_MAX);
    run(request);
    check(ucc_collective_finalize(request), "ucc_collective_finalize");
    return value;
  }

 private:
  void make_context() {
    ucc_lib_config_h lib_config = nullptr;
    check(ucc_lib_config_read(nullptr, nullptr, &lib_config), "ucc_lib_config_read");
    ucc_lib_params_t lib_params = {};
    lib_params.mask = UCC_LIB_PARAM_FIELD_THREAD_MODE;
    lib_params.thread_mode = UCC_THREAD_SINGLE;
    check(ucc_init(&lib_params, lib_config, &library_), "ucc_init");
    ucc_lib_config_release(lib_config);

    ucc_context_config_h config = nullptr;
    check(ucc_context_config_read(library_, nullptr, &config), "ucc_context_config_read");
    ucc_context_params_t params = {};
    params.mask = UCC_CONTEXT_PARAM_FIELD_OOB;
    params.oob = context_gatherer_.callbacks();
    check(ucc_context_create(library_, &params, config, &context_), "ucc_context_create");
    ucc_context_config_release(config);
  }

  void make_team() {
    ucc_team_params_t params = {};
    params.mask =
        UCC_TEAM_PARAM_FIELD_OOB | UCC_TEAM_PARAM_FIELD_EP | UCC_TEAM_PARAM_FIELD_EP_RANGE;
    params.oob = team_gatherer_.callbacks();
    params.ep = static_cast<uint64_t>(exchange_.rank);
    params.ep_range = UCC_COLLECTIVE_EP_RANGE_CONTIG;
    check(ucc_team_create_post(&context_, 1, &params, &team_), "ucc_team_create_post");
    ucc_status_t status;
    while ((status = ucc_team_create_test(team_)) == UCC_INPROGRESS) progress();
    check(status, "ucc_team_create_test");
  }

  ucc_coll_req_h prepare(const void* in, void* out, size_t count, ucc_datatype_t dtype,
                         ucc_reduction_op_t op) {
    ucc_coll_args_t args = {};
    args.coll_type = UCC_COLL_TYPE_ALLREDUCE;
    args.mask = UCC_COLL_ARGS_FIELD_FLAGS;
    args.flags = UCC_COLL_ARGS_FLAG_PERSISTENT;
    if (in == out) args.flags |= UCC_COLL_ARGS_FLAG_IN_PLACE;
    args.src.info = {const_cast<void*>(in), count, dtype, UCC_MEMORY_TYPE_HOST};
    args.dst.info = {out, count, dtype, UCC_MEMORY_TYPE_HOST};
    args.op = op;
    ucc_coll_req_h request = nullptr;
    check(ucc_collective_init(&args, &request, team_), "ucc_collective_init");
    return request;
  }

  void run(ucc_coll_req_h request) {
    check(ucc_collective_post(request), "ucc_collective_post");
    ucc_status_t status;
    while ((status = ucc_collective_test(request)) == UCC_INPROGRESS) progress();
    check(status, "ucc_collective_test");
  }

  void progress() {
    ucc_context_progress(context_);
    if (crowded_) sched_yield();
  }

  hfr_bench::Exchange exchange_;
  Gatherer context_gatherer_{exchange_, "context"};
  Gatherer team_gatherer_{exchange_, "team"};
  ucc_datatype_t dtype_;
  bool crowded_;
  ucc_lib_h library_ = nullptr;
  ucc_context_h context_ = nullptr;
  ucc_team_h team_ = nullptr;
  // What the last call prepared.
  ucc_coll_req_h prepared_ = nullptr;
  const void* in_ = nullptr;
  void* out_ = nullptr;
  size_t count_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  return hfr_bench::measure_main(argc, argv, [](const hfr_bench::Options& options) {
    return std::make_unique<UccLibrary>(options);
  });
}
