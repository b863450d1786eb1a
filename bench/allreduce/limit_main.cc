// The limit that libraries are held against: an allreduce between 2 ranks with no library around
// it. Variants: `memory` within a node, `sockets` between nodes.
#include "limit_memory.hpp"
#include "limit_sockets.hpp"

int main(int argc, char** argv) {
  return hfr_bench::measure_main(
      argc, argv, [](const hfr_bench::Options& options) -> std::unique_ptr<hfr_bench::Library> {
        if (options.variant == "memory") return std::make_unique<hfr_bench::MemoryLimit>(options);
        if (options.variant == "sockets") return std::make_unique<hfr_bench::SocketLimit>(options);
        throw hfr_bench::Unsupported("the limits are: memory, sockets");
      });
}
