// HFReduce on GPU memory, through its public C interface only.
#include <hfreduce/hfreduce.h>

#include <optional>

#include "gpu_library.hpp"
#include "overlap.hpp"

namespace {

class HfreduceCudaLibrary : public hfr_bench::GpuLibrary {
 public:
  explicit HfreduceCudaLibrary(const hfr_bench::Options& options)
      : GpuLibrary(options),
        dtype_(options.dtype == hfr_bench::Dtype::kFloat32 ? HFR_FLOAT32 : HFR_BFLOAT16),
        blocking_(options.blocking) {
    hfr_comm_options_t init = HFR_COMM_OPTIONS_INIT;
    init.device = HFR_DEVICE_CUDA;
    check(hfr_comm_init_env(&comm_, &init));
  }

  ~HfreduceCudaLibrary() override {
    hfr_comm_finalize(comm_);
    hfr_comm_destroy(comm_);
  }

  std::string version() const override {
    int number = 0;
    int nodes = 0;
    check(hfr_get_version(&number));
    check(hfr_comm_node_count(comm_, &nodes));
    return "HFReduce " + std::to_string(number / 10000) + "." + std::to_string(number / 100 % 100) +
           "." + std::to_string(number % 100) + ", nodes: " + std::to_string(nodes) + ", " +
           gpu().name();
  }

  void all_reduce(const void* in, void* out, size_t count) override {
    check(hfr_all_reduce(in, out, count, dtype_, HFR_SUM, comm_, blocking_ ? nullptr : stream(),
                         blocking_ ? nullptr : &last_.emplace()));
  }
  // Waiting in the library makes progress; the stream is then done as well.
  void finish() override {
    if (last_) check(hfr_wait(comm_, *last_));
    last_.reset();
    gpu().synchronize(stream());
  }

 private:
  void reduce_max(void* value) override {
    check(hfr_all_reduce(value, value, 1, HFR_FLOAT64, HFR_MAX, comm_, nullptr, nullptr));
  }
  void check(hfr_status_t status) const {
    if (status == HFR_SUCCESS) return;
    throw std::runtime_error(std::string(hfr_status_string(status)) + ": " +
                             hfr_get_last_error(comm_));
  }

  hfr_comm_t comm_ = nullptr;
  hfr_dtype_t dtype_;
  bool blocking_;
  std::optional<hfr_request_t> last_;  // put on the stream
};

}  // namespace

int main(int argc, char** argv) {
  return hfr_bench::gpu_main(argc, argv, [](const hfr_bench::Options& options) {
    return std::make_unique<HfreduceCudaLibrary>(options);
  });
}
