// Collects every repetition's bytes per second; prints medians with their spread as ratios.
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

namespace hfr_bench {

class Collector : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs) {
      if (run.run_type != Run::RT_Iteration) continue;
      const auto counter = run.counters.find("bytes_per_second");
      if (counter != run.counters.end()) {
        rates_[run.run_name.function_name].push_back(counter->second.value);
      }
    }
  }

  struct Rate {
    double median = 0;
    double low = 0;  // quartiles
    double high = 0;
  };
  Rate rate(const std::string& name) const {
    const auto found = rates_.find(name);
    if (found == rates_.end()) return {};
    std::vector<double> sorted = found->second;
    std::sort(sorted.begin(), sorted.end());
    const size_t last = sorted.size() - 1;
    return {sorted[last / 2], sorted[last / 4], sorted[last - last / 4]};
  }

 private:
  std::map<std::string, std::vector<double>> rates_;
};

}  // namespace hfr_bench
