// HFReduce, through its public C interface only.
#include <dlfcn.h>
#include <hfreduce/hfreduce.h>

#include "measure.hpp"

namespace {

class HfreduceLibrary : public hfr_bench::Library {
 public:
  explicit HfreduceLibrary(const hfr_bench::Options& options)
      : dtype_(options.dtype == hfr_bench::Dtype::kFloat32 ? HFR_FLOAT32 : HFR_BFLOAT16) {
    hfr_bench::bind_to_cpu(options, std::stoi(hfr_bench::require_env("RANK")));
    check(hfr_comm_init_env(&comm_, nullptr), nullptr);
  }

  ~HfreduceLibrary() override {
    hfr_comm_finalize(comm_);
    hfr_comm_destroy(comm_);
  }

  std::string version() const override {
    int number = 0;
    int nodes = 0;
    check(hfr_get_version(&number), nullptr);
    check(hfr_comm_node_count(comm_, &nodes), comm_);
    return "HFReduce " + std::to_string(number / 10000) + "." + std::to_string(number / 100 % 100) +
           "." + std::to_string(number % 100) + ", nodes: " + std::to_string(nodes) + ", " +
           library_file();
  }

  int rank() const override { return query(hfr_comm_rank); }
  int num_ranks() const override { return query(hfr_comm_count); }

  void all_reduce(const void* in, void* out, size_t count) override {
    check(hfr_all_reduce(in, out, count, dtype_, HFR_SUM, comm_, nullptr, nullptr), comm_);
  }

  double max(double value) override {
    check(hfr_all_reduce(&value, &value, 1, HFR_FLOAT64, HFR_MAX, comm_, nullptr, nullptr), comm_);
    return value;
  }

  void* allocate(size_t bytes) override {
    void* memory = nullptr;
    check(hfr_mem_alloc(comm_, &memory, bytes), comm_);
    return memory;
  }

 private:
  // Which of several builds is measured (compare.py --build).
  static std::string library_file() {
    Dl_info info{};
    void* symbol = dlsym(RTLD_DEFAULT, "hfr_all_reduce");
    if (symbol == nullptr || dladdr(symbol, &info) == 0) return "file unknown";
    return info.dli_fname;
  }

  static void check(hfr_status_t status, hfr_comm_t comm) {
    if (status == HFR_SUCCESS) return;
    throw std::runtime_error(std::string(hfr_status_string(status)) + ": " +
                             hfr_get_last_error(comm));
  }

  int query(hfr_status_t (*function)(hfr_comm_t, int*)) const {
    int value = 0;
    check(function(comm_, &value), comm_);
    return value;
  }

  hfr_comm_t comm_ = nullptr;
  hfr_dtype_t dtype_;
};

}  // namespace

int main(int argc, char** argv) {
  return hfr_bench::measure_main(argc, argv, [](const hfr_bench::Options& options) {
    return std::make_unique<HfreduceLibrary>(options);
  });
}
