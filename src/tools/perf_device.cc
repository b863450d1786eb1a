#include "tools/perf_device.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/text.hpp"
#include "tools/perf_cuda.hpp"
#include "tools/perf_join.hpp"
#include "tools/perf_values.hpp"

namespace hfr::tools {
namespace {

class HostDevice : public PerfDevice {
 public:
  std::string name() const override { return "host"; }

  void* allocate(size_t bytes) override {
    constexpr size_t kAlignment = 4096;
    const size_t size = (std::max<size_t>(bytes, 1) + kAlignment - 1) / kAlignment * kAlignment;
    void* memory = std::aligned_alloc(kAlignment, size);
    if (memory == nullptr)
      throw PerfError(cat("no memory for a buffer of ", bytes_text(size), "; lower -e or -m"));
    return memory;
  }
  void free(void* memory) override { std::free(memory); }
  void write(void* to, const void* from, size_t bytes) override { std::memcpy(to, from, bytes); }
  void read(void* to, const void* from, size_t bytes) override { std::memcpy(to, from, bytes); }

  hfr_stream_t stream() override {
    if (!stream_) {
      hfr_stream_t made = nullptr;
      check(nullptr, hfr_stream_create(&made), "hfr_stream_create");
      stream_.reset(made);
    }
    return stream_.get();
  }
  void synchronize() override {
    if (stream_) check(nullptr, hfr_stream_synchronize(stream_.get()), "hfr_stream_synchronize");
  }
  void capture(const std::function<void()>&) override {
    throw PerfError("a CUDA graph needs a CUDA device");
  }
  void replay() override {}

 private:
  struct DestroyStream {
    void operator()(void* stream) const { hfr_stream_destroy(stream); }
  };
  std::unique_ptr<void, DestroyStream> stream_;
};

// Bytes of host memory that pass between a pattern and the device: whole patterns, about this many
// bytes.
constexpr size_t kPieceBytes = size_t{1} << 20;

size_t piece_bytes(size_t pattern_bytes, size_t bytes) {
  const size_t patterns = std::max<size_t>(1, kPieceBytes / pattern_bytes);
  return std::min(patterns * pattern_bytes, bytes);
}

}  // namespace

std::unique_ptr<PerfDevice> make_device(hfr_device_t kind, hfr_comm_t comm) {
  if (kind != HFR_DEVICE_CUDA) return std::make_unique<HostDevice>();
  int local_rank = 0;
  check(comm, hfr_comm_local_rank(comm, &local_rank), "hfr_comm_local_rank");
  return make_cuda_device(local_rank);
}

void fill(PerfDevice& device, void* buffer, size_t bytes, const std::vector<std::byte>& pattern) {
  if (bytes == 0) return;
  std::vector<std::byte> piece(piece_bytes(pattern.size(), bytes));
  tile(piece.data(), piece.size(), pattern);
  for (size_t at = 0; at < bytes; at += piece.size()) {
    device.write(static_cast<std::byte*>(buffer) + at, piece.data(),
                 std::min(piece.size(), bytes - at));
  }
}

size_t count_wrong_on(PerfDevice& device, const void* buffer, size_t bytes, hfr_dtype_t dtype,
                      hfr_op_t op, const std::vector<std::byte>& pattern) {
  if (bytes == 0) return 0;
  std::vector<std::byte> piece(piece_bytes(pattern.size(), bytes));
  size_t wrong = 0;
  for (size_t at = 0; at < bytes; at += piece.size()) {
    const size_t size = std::min(piece.size(), bytes - at);
    device.read(piece.data(), static_cast<const std::byte*>(buffer) + at, size);
    wrong += count_wrong(piece.data(), size, dtype, op, pattern);
  }
  return wrong;
}

}  // namespace hfr::tools
