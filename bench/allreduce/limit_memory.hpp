// The least that two processes of one machine can do: flags and bytes in one shared mapping; no
// checks, no deadline, no failure. Small messages ride behind their flag. Larger ones are read
// where they lie when the buffers are shared, and pass through the mapping when they are not.
#ifndef HFREDUCE_BENCH_ALLREDUCE_LIMIT_MEMORY_HPP_
#define HFREDUCE_BENCH_ALLREDUCE_LIMIT_MEMORY_HPP_

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>

#include "limit.hpp"

namespace hfr_bench {

class MemoryLimit : public Library {
 public:
  explicit MemoryLimit(const Options& options)
      : exchange_(two_ranks()),
        me_(exchange_.rank),
        sum_(options.dtype),
        shared_(options.memory == Memory::kShared) {
    bind_to_cpu(options, me_);
    int file = -1;
    if (me_ == 0) {
      file = memfd_create("limit", MFD_CLOEXEC);
      if (file >= 0 && ftruncate(file, sizeof(Segment)) != 0) file = -1;
      exchange_.publish("memory",
                        "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(file));
    } else {
      file = open(exchange_.wait_for("memory").c_str(), O_RDWR | O_CLOEXEC);
    }
    void* memory =
        file < 0 ? MAP_FAILED
                 : mmap(nullptr, sizeof(Segment), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (memory == MAP_FAILED) throw std::runtime_error("cannot map the limits' shared memory");
    segment_ = static_cast<Segment*>(memory);
    max(0);  // rank 0's descriptor was opened
    close(file);
  }

  ~MemoryLimit() override { munmap(segment_, sizeof(Segment)); }

  std::string version() const override { return "no library: flags and bytes in shared memory"; }
  int rank() const override { return me_; }
  int num_ranks() const override { return 2; }

  // Both ranks ask for the same sizes in the same order, so the peer's is at the same place.
  void* allocate(size_t bytes) override {
    std::byte* memory = mine().heap + heap_used_;
    heap_used_ += (bytes + 4095) / 4096 * 4096;
    if (heap_used_ > sizeof(Side::heap)) throw Unsupported("more than 1 GiB of shared buffers");
    return memory;
  }

  void all_reduce(const void* in, void* out, size_t count) override {
    auto* from = static_cast<const std::byte*>(in);
    auto* to = static_cast<std::byte*>(out);
    size_t bytes = count * sum_.element_bytes();
    if (bytes <= kPublished) {
      publish(from, to, bytes);
    } else if (shared_) {
      read_in_place(from, to, bytes);
    } else {
      for (size_t done = 0; done < bytes; done += kPiece) {
        stage(from + done, to + done, std::min(kPiece, bytes - done));
      }
    }
  }

  double max(double value) override {
    mine().value = value;
    meet();
    double result = std::max(value, peer().value);
    meet();
    return result;
  }

 private:
  static constexpr size_t kPublished = 4096;
  static constexpr size_t kPiece = size_t{256} << 10;     // stays in L2
  static constexpr size_t kStreaming = size_t{16} << 20;  // results from here on bypass the caches

  using Flag = std::atomic<uint64_t>;

  struct Post {
    alignas(64) Flag number;
    std::byte payload[kPublished];
  };
  struct Side {
    alignas(64) Flag met;
    alignas(64) double value;
    Post posts[2];  // by parity: the peer may still read the last one
    alignas(4096) std::byte input[2][kPiece];
    alignas(4096) std::byte result[2][kPiece];
    alignas(4096) std::byte heap[size_t{1} << 30];
  };
  struct Segment {
    Side sides[2];
  };

  Side& mine() { return segment_->sides[me_]; }
  Side& peer() { return segment_->sides[1 - me_]; }

  static void await(const Flag& flag, uint64_t number) {
    while (flag.load(std::memory_order_acquire) < number) {
    }
  }

  void meet() {
    mine().met.store(++meetings_, std::memory_order_release);
    await(peer().met, meetings_);
  }

  void publish(const std::byte* in, std::byte* out, size_t bytes) {
    ++posts_;
    Post& post = mine().posts[posts_ % 2];
    std::memcpy(post.payload, in, bytes);
    post.number.store(posts_, std::memory_order_release);
    const Post& other = peer().posts[posts_ % 2];
    await(other.number, posts_);
    add(in, other.payload, out, nullptr, bytes);
  }

  // Each adds one half of both inputs and stores it to both outputs.
  void read_in_place(const std::byte* in, std::byte* out, size_t bytes) {
    size_t half = bytes / 2 / 64 * 64;
    size_t begin = me_ == 0 ? 0 : half;
    size_t length = me_ == 0 ? half : bytes - half;
    std::ptrdiff_t to_peer = peer().heap - mine().heap;
    meet();
    add(in + begin, in + to_peer + begin, out + begin, out + to_peer + begin, length,
        bytes >= kStreaming);
    meet();
  }

  // Each hands over the half that the peer adds, and gets that half's sum back.
  void stage(const std::byte* in, std::byte* out, size_t bytes) {
    size_t half = bytes / 2 / 64 * 64;
    size_t begin[] = {0, half};
    size_t length[] = {half, bytes - half};
    int other = 1 - me_;
    int slot = ++pieces_ % 2;
    std::memcpy(mine().input[slot], in + begin[other], length[other]);
    meet();
    add(in + begin[me_], peer().input[slot], out + begin[me_], mine().result[slot], length[me_]);
    meet();
    std::memcpy(out + begin[other], peer().result[slot], length[other]);
  }

  void add(const std::byte* a, const std::byte* b, std::byte* first, std::byte* second,
           size_t bytes, bool streaming = false) {
    void* dsts[] = {first, second};
    sum_(dsts, second == nullptr ? 1 : 2, a, b, bytes, streaming);
  }

  Exchange exchange_;
  int me_;
  Sum sum_;
  bool shared_;
  Segment* segment_ = nullptr;
  size_t heap_used_ = 0;
  uint64_t meetings_ = 0;
  uint64_t posts_ = 0;
  unsigned pieces_ = 0;
};

}  // namespace hfr_bench

#endif  // HFREDUCE_BENCH_ALLREDUCE_LIMIT_MEMORY_HPP_
