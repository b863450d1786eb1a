// How ranks of libraries without a launcher find each other: small files in a folder that
// compare.py makes for each run (ALLREDUCE_BENCH_DIR). Only used for set-up.
#ifndef HFREDUCE_BENCH_ALLREDUCE_EXCHANGE_HPP_
#define HFREDUCE_BENCH_ALLREDUCE_EXCHANGE_HPP_

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <thread>

#include "options.hpp"

namespace hfr_bench {

struct Exchange {
  int rank = 0;
  int num_ranks = 0;
  std::string folder;

  static Exchange from_env() {
    return {std::stoi(require_env("RANK")), std::stoi(require_env("WORLD_SIZE")),
            require_env("ALLREDUCE_BENCH_DIR")};
  }

  // Renamed into place, so that a reader never sees half of it.
  void publish(const std::string& name, const std::string& bytes) const {
    std::string path = folder + "/" + name;
    std::ofstream(path + ".part", std::ios::binary) << bytes;
    std::filesystem::rename(path + ".part", path);
  }

  std::string wait_for(const std::string& name) const {
    using Clock = std::chrono::steady_clock;
    std::string path = folder + "/" + name;
    auto deadline = Clock::now() + std::chrono::seconds(60);
    while (!std::filesystem::exists(path)) {
      if (Clock::now() > deadline) {
        throw std::runtime_error("rank " + std::to_string(rank) + " waited 60 s for " + path);
      }
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }
};

}  // namespace hfr_bench

#endif  // HFREDUCE_BENCH_ALLREDUCE_EXCHANGE_HPP_
