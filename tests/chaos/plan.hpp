// What the ranks do in which step: all of them, old and new, the same.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "arguments.hpp"
#include "elements.hpp"
#include "hfreduce/hfreduce.h"

namespace hfr_tests {

constexpr size_t kMostInFlight = 4;

// SplitMix64: alike on all machines.
class Draw {
 public:
  explicit Draw(uint64_t seed) : state_(seed) {}
  uint64_t below(uint64_t limit) {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return (z ^ (z >> 31)) % limit;
  }

 private:
  uint64_t state_;
};

// A step's operations, and what follows them.
struct Step {
  enum class Way { kBlocking, kWait, kTest, kStream };
  uint64_t number;
  Type type;
  hfr_op_t op;
  size_t count;
  size_t in_flight;
  bool in_place;
  Way way;
  bool split;
  bool suspend;
  long suspended_us;  // so long it stays so
};

// After this step so many new ranks join.
struct Growth {
  uint64_t step;
  int num_new;
};

class Plan {
 public:
  explicit Plan(const Arguments& arguments)
      : seed_(arguments.number("seed")),
        slot_bytes_(arguments.number("max_bytes") / kMostInFlight & ~size_t{63}),
        may_split_(arguments.flag("split")) {
    for (const std::string& word : words(arguments.text("suspend")))
      suspends_.push_back(std::strtoull(word.c_str(), nullptr, 10));
    for (const std::string& word : words(arguments.text("grow"))) {
      const size_t colon = word.find(':');
      growths_.push_back({std::strtoull(word.c_str(), nullptr, 10),
                          std::atoi(word.c_str() + (colon == std::string::npos ? 0 : colon + 1))});
    }
  }

  // Of one operation's buffer.
  size_t slot_bytes() const { return slot_bytes_; }

  Step step(uint64_t number) const {
    Draw draw(seed_ ^ number * 0x9e3779b97f4a7c15);
    Step step{};
    step.number = number;
    step.type = kTypes[draw.below(std::size(kTypes))];
    step.op = draw.below(4) == 0 ? HFR_MAX : HFR_SUM;
    step.way = static_cast<Step::Way>(draw.below(4));
    step.in_flight = step.way == Step::Way::kBlocking ? 1 : 1 + draw.below(kMostInFlight);
    step.in_place = draw.below(2) == 0;
    const size_t most = slot_bytes_ / step.type.bytes;
    step.count = 2 + (draw.below(2) == 0 ? draw.below(300) : draw.below(most - 2));
    step.count = std::min(step.count, most);
    step.split = may_split_ && draw.below(8) == 0;
    step.suspend = std::find(suspends_.begin(), suspends_.end(), number) != suspends_.end();
    step.suspended_us = static_cast<long>(draw.below(draw.below(4) == 0 ? 50'000 : 1'000));
    return step;
  }

  const std::vector<Growth>& growths() const { return growths_; }
  int num_new_ranks() const { return new_ranks_before(growths_.size()); }
  // That join in earlier growths, if all of them take place.
  int new_ranks_before(size_t growth) const {
    int count = 0;
    for (size_t i = 0; i < growth; ++i) count += growths_[i].num_new;
    return count;
  }
  // Which of `num_members` makes the id.
  size_t growth_host(size_t growth, size_t num_members) const {
    return Draw(seed_ + growth).below(num_members);
  }

 private:
  static std::vector<std::string> words(const std::string& text) {
    std::vector<std::string> found;
    std::istringstream stream(text);
    for (std::string word; std::getline(stream, word, ',');) found.push_back(word);
    return found;
  }

  const uint64_t seed_;
  const size_t slot_bytes_;
  const bool may_split_;
  std::vector<uint64_t> suspends_;  // after these steps
  std::vector<Growth> growths_;
};

}  // namespace hfr_tests
