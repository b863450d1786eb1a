// Gloo over its TCP transport. Variants: the default is gloo::allreduce, as PyTorch calls it;
// `busy` polls its sockets, which only Gloo's older algorithm classes can do, and they work in
// place only, so this variant always runs in place, which favours it.
#include <gloo/allreduce.h>
#include <gloo/allreduce_halving_doubling.h>
#include <gloo/allreduce_ring_chunked.h>
#include <gloo/config.h>
#include <gloo/math.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/file_store.h>
#include <gloo/rendezvous/prefix_store.h>
#include <gloo/transport/tcp/device.h>

#include "exchange.hpp"
#include "measure.hpp"

namespace {

constexpr size_t kLargestBusyBytes = size_t{1} << 20;

class GlooLibrary : public hfr_bench::Library {
 public:
  explicit GlooLibrary(const hfr_bench::Options& options)
      : exchange_(hfr_bench::Exchange::from_env()), busy_(options.variant == "busy") {
    if (options.dtype != hfr_bench::Dtype::kFloat32) {
      throw hfr_bench::Unsupported("this Gloo has no bfloat16");
    }
    if (!busy_ && !options.variant.empty()) {
      throw hfr_bench::Unsupported("Gloo's variants are: busy");
    }
    hfr_bench::bind_to_cpu(options, exchange_.rank);
    data_ = connect("data");
    control_ = connect("control");
    for (int peer = 0; busy_ && peer < exchange_.num_ranks; ++peer) {
      if (peer != exchange_.rank) data_->getPair(peer)->setSync(true, true);
    }
  }

  std::string version() const override {
    return "Gloo " + std::to_string(GLOO_VERSION_MAJOR) + "." + std::to_string(GLOO_VERSION_MINOR) +
           "." + std::to_string(GLOO_VERSION_PATCH) + (busy_ ? ", busy polling, in place" : "");
  }

  int rank() const override { return exchange_.rank; }
  int num_ranks() const override { return exchange_.num_ranks; }
  bool in_place_only() const override { return busy_; }

  void all_reduce(const void* in, void* out, size_t count) override {
    if (in != in_ || out != out_ || count != count_) prepare(in, out, count);
    if (algorithm_ != nullptr) {
      algorithm_->run();
    } else {
      gloo::allreduce(*call_);
    }
  }

  double max(double value) override {
    gloo::AllreduceOptions call(control_);
    call.setOutput(&value, 1);
    call.setReduceFunction(
        static_cast<void (*)(void*, const void*, const void*, size_t)>(&gloo::max<double>));
    gloo::allreduce(call);
    return value;
  }

 private:
  std::shared_ptr<gloo::rendezvous::Context> connect(const std::string& name) {
    gloo::rendezvous::FileStore files(exchange_.folder);
    gloo::rendezvous::PrefixStore store(name, files);
    auto device = gloo::transport::tcp::CreateDevice("127.0.0.1");
    auto context = std::make_shared<gloo::rendezvous::Context>(exchange_.rank, exchange_.num_ranks);
    context->connectFullMesh(store, device);
    return context;
  }

  void prepare(const void* in, void* out, size_t count) {
    in_ = in;
    out_ = out;
    count_ = count;
    auto* output = static_cast<float*>(out);
    algorithm_.reset();
    if (busy_ && count * sizeof(float) <= kLargestBusyBytes) {
      std::vector<float*> pointers = {output};
      int num_elements = static_cast<int>(count);
      bool power_of_two = (exchange_.num_ranks & (exchange_.num_ranks - 1)) == 0;
      if (power_of_two) {
        algorithm_ =
            std::make_unique<gloo::AllreduceHalvingDoubling<float>>(data_, pointers, num_elements);
      } else {
        algorithm_ =
            std::make_unique<gloo::AllreduceRingChunked<float>>(data_, pointers, num_elements);
      }
      return;
    }
    call_ = std::make_unique<gloo::AllreduceOptions>(busy_ ? control_ : data_);
    if (in != out) call_->setInput(const_cast<float*>(static_cast<const float*>(in)), count);
    call_->setOutput(output, count);
    call_->setReduceFunction(
        static_cast<void (*)(void*, const void*, const void*, size_t)>(&gloo::sum<float>));
  }

  hfr_bench::Exchange exchange_;
  bool busy_;
  std::shared_ptr<gloo::rendezvous::Context> data_;
  std::shared_ptr<gloo::rendezvous::Context> control_;  // never polled: used between batches
  // What the last call prepared.
  const void* in_ = nullptr;
  void* out_ = nullptr;
  size_t count_ = 0;
  std::unique_ptr<gloo::AllreduceOptions> call_;
  std::unique_ptr<gloo::Algorithm> algorithm_;
};

}  // namespace

int main(int argc, char** argv) {
  return hfr_bench::measure_main(argc, argv, [](const hfr_bench::Options& options) {
    return std::make_unique<GlooLibrary>(options);
  });
}
