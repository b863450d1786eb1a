// oneCCL on CPU tensors.
#include <oneapi/ccl.hpp>

#include "exchange.hpp"
#include "measure.hpp"

namespace {

class OnecclLibrary : public hfr_bench::Library {
 public:
  explicit OnecclLibrary(const hfr_bench::Options& options)
      : exchange_(hfr_bench::Exchange::from_env()),
        dtype_(options.dtype == hfr_bench::Dtype::kFloat32 ? ccl::datatype::float32
                                                           : ccl::datatype::bfloat16) {
    hfr_bench::bind_to_cpu(options, exchange_.rank);
    ccl::init();
    ccl::shared_ptr_class<ccl::kvs> store;
    if (exchange_.rank == 0) {
      store = ccl::create_main_kvs();
      auto address = store->get_address();
      exchange_.publish("kvs", std::string(address.begin(), address.end()));
    } else {
      std::string bytes = exchange_.wait_for("kvs");
      ccl::kvs::address_type address;
      std::copy_n(bytes.begin(), address.size(), address.begin());
      store = ccl::create_kvs(address);
    }
    communicator_ = std::make_unique<ccl::communicator>(
        ccl::create_communicator(exchange_.num_ranks, exchange_.rank, store));
  }

  std::string version() const override {
    auto version = ccl::get_library_version();
    return "oneCCL " + std::to_string(version.major) + "." + std::to_string(version.minor) + "." +
           std::to_string(version.update);
  }
  int rank() const override { return exchange_.rank; }
  int num_ranks() const override { return exchange_.num_ranks; }

  void all_reduce(const void* in, void* out, size_t count) override {
    ccl::allreduce(in, out, count, dtype_, ccl::reduction::sum, *communicator_).wait();
  }

  double max(double value) override {
    double result = 0;
    ccl::allreduce(&value, &result, 1, ccl::datatype::float64, ccl::reduction::max, *communicator_)
        .wait();
    return result;
  }

 private:
  hfr_bench::Exchange exchange_;
  ccl::datatype dtype_;
  std::unique_ptr<ccl::communicator> communicator_;
};

}  // namespace

int main(int argc, char** argv) {
  return hfr_bench::measure_main(argc, argv, [](const hfr_bench::Options& options) {
    return std::make_unique<OnecclLibrary>(options);
  });
}
