// Open MPI or MPICH, whichever it is built with.
#include <mpi.h>

#include <climits>

#include "measure.hpp"

namespace {

class MpiLibrary : public hfr_bench::Library {
 public:
  explicit MpiLibrary(const hfr_bench::Options& options) {
    if (options.dtype != hfr_bench::Dtype::kFloat32) {
      throw hfr_bench::Unsupported("MPI has no bfloat16");
    }
    check(MPI_Init(nullptr, nullptr), "MPI_Init");
    check(MPI_Comm_rank(MPI_COMM_WORLD, &rank_), "MPI_Comm_rank");
    check(MPI_Comm_size(MPI_COMM_WORLD, &num_ranks_), "MPI_Comm_size");
    hfr_bench::bind_to_cpu(options, rank_);
  }

  ~MpiLibrary() override {
    for (void* memory : allocated_) MPI_Free_mem(memory);
    MPI_Finalize();
  }

  std::string version() const override {
    char text[MPI_MAX_LIBRARY_VERSION_STRING];
    int length = 0;
    check(MPI_Get_library_version(text, &length), "MPI_Get_library_version");
    std::string first_line(text, static_cast<size_t>(length));
    first_line.resize(std::min(first_line.size(), first_line.find_first_of("\n,")));
    std::replace(first_line.begin(), first_line.end(), '\t', ' ');
    return first_line;
  }

  int rank() const override { return rank_; }
  int num_ranks() const override { return num_ranks_; }

  void all_reduce(const void* in, void* out, size_t count) override {
    if (count > INT_MAX) throw hfr_bench::Unsupported("MPI counts fit an int");
    check(MPI_Allreduce(in == out ? MPI_IN_PLACE : in, out, static_cast<int>(count), MPI_FLOAT,
                        MPI_SUM, MPI_COMM_WORLD),
          "MPI_Allreduce");
  }

  double max(double value) override {
    check(MPI_Allreduce(MPI_IN_PLACE, &value, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD),
          "MPI_Allreduce");
    return value;
  }

  void* allocate(size_t bytes) override {
    void* memory = nullptr;
    check(MPI_Alloc_mem(static_cast<MPI_Aint>(bytes), MPI_INFO_NULL, &memory), "MPI_Alloc_mem");
    allocated_.push_back(memory);
    return memory;
  }

 private:
  static void check(int code, const char* call) {
    if (code == MPI_SUCCESS) return;
    throw std::runtime_error(std::string(call) + " failed with " + std::to_string(code));
  }

  int rank_ = 0;
  int num_ranks_ = 0;
  std::vector<void*> allocated_;
};

}  // namespace

int main(int argc, char** argv) {
  return hfr_bench::measure_main(argc, argv, [](const hfr_bench::Options& options) {
    return std::make_unique<MpiLibrary>(options);
  });
}
