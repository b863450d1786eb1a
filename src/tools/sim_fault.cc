#include "tools/sim_fault.hpp"

#include <algorithm>
#include <charconv>
#include <random>
#include <string_view>

#include "base/text.hpp"

namespace hfr::tools {
namespace {

constexpr double kMostSeconds = 1e5;  // a deadline is at most a day

std::optional<double> parse_number(std::string_view text, std::string_view* rest) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || !(number >= 0)) return std::nullopt;
  *rest = text.substr(static_cast<size_t>(end - text.data()));
  return number;
}

std::optional<sim::SimTime> parse_time(std::string_view text) {
  std::string_view unit;
  const auto number = parse_number(text, &unit);
  if (!number) return std::nullopt;
  double seconds = 0;
  if (unit == "s") {
    seconds = *number;
  } else if (unit == "ms") {
    seconds = *number * 1e-3;
  } else if (unit == "us") {
    seconds = *number * 1e-6;
  } else if (!unit.empty() || *number > 0) {
    return std::nullopt;
  }
  if (seconds > kMostSeconds) return std::nullopt;
  return static_cast<sim::SimTime>(seconds * sim::kPsPerSecond + 0.5);
}

std::optional<int> parse_place(std::string_view text) {
  int place = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), place);
  if (error != std::errc() || end != text.data() + text.size() || place < 0) return std::nullopt;
  return place;
}

std::optional<sim::FaultKind> parse_kind(std::string_view text) {
  for (int i = 0; i < sim::kNumFaultKinds; ++i) {
    const auto kind = static_cast<sim::FaultKind>(i);
    if (text == sim::fault_name(kind)) return kind;
  }
  return std::nullopt;
}

}  // namespace

Result<FaultSpec> parse_fault(const std::string& text) {
  const auto wrong = [&](const std::string& what) {
    return Status(Code::kInvalidArgument,
                  cat("--fault ", text, ": ", what,
                      "; write KIND:WHERE@TIME or KIND:WHERE@TIME+DURATION, as kill:17@2ms, "
                      "cut:any@any+500us, slow*4:17@0"));
  };
  const std::string_view all = text;
  const size_t colon = all.find(':');
  const size_t at = all.find('@');
  if (colon == std::string::npos || at == std::string::npos || at < colon)
    return wrong("it has no ':' before an '@'");
  const size_t plus = std::min(all.find('+', at), all.size());
  const std::string_view where = all.substr(colon + 1, at - colon - 1);
  const std::string_view when = all.substr(at + 1, plus - at - 1);
  std::string_view kind = all.substr(0, colon);

  FaultSpec spec;
  const size_t star = std::min(kind.find('*'), kind.size());
  const bool has_factor = star < kind.size();
  if (has_factor) {
    std::string_view rest;
    const auto factor = parse_number(kind.substr(star + 1), &rest);
    if (!factor || !rest.empty() || *factor < 1 || *factor > 1e6)
      return wrong("the factor must be a number from 1 to 1000000");
    spec.factor = *factor;
    kind = kind.substr(0, star);
  }
  const auto known = parse_kind(kind);
  if (!known) return wrong("the kinds are kill, stop, slow, lose, cut and isolate");
  spec.kind = *known;
  if (has_factor != (spec.kind == sim::FaultKind::kSlow))
    return wrong("slow has a factor, slow*4, and no other kind has");
  if (where != "any") {
    spec.where = parse_place(where);
    if (!spec.where)
      return wrong(cat("'", where, "' is no ", sim::hits_rank(spec.kind) ? "rank" : "node"));
  }
  if (when != "any") {
    spec.at = parse_time(when);
    if (!spec.at) return wrong(cat("'", when, "' is no time; write 2ms, 150us, 1.5s or any"));
  }
  if (plus == all.size()) return spec;
  if (!sim::can_end(spec.kind)) return wrong("this kind has no end");
  const auto lasts = parse_time(all.substr(plus + 1));
  if (!lasts || *lasts == 0) return wrong("the duration must be a time, as 500us");
  spec.lasts = *lasts;
  return spec;
}

std::vector<sim::Fault> place_faults(const std::vector<FaultSpec>& specs, uint64_t seed,
                                     int num_nodes, int num_ranks, sim::SimTime span) {
  std::mt19937_64 random(seed);
  std::vector<sim::Fault> faults;
  for (const FaultSpec& spec : specs) {
    const auto places = static_cast<uint64_t>(sim::hits_rank(spec.kind) ? num_ranks : num_nodes);
    sim::Fault fault;
    fault.kind = spec.kind;
    fault.where = spec.where ? *spec.where : static_cast<int>(random() % places);
    fault.at = spec.at ? *spec.at : random() % std::max<sim::SimTime>(span, 1);
    if (spec.lasts != sim::kNever) fault.until = fault.at + spec.lasts;
    fault.factor = spec.factor;
    faults.push_back(fault);
  }
  return faults;
}

}  // namespace hfr::tools
