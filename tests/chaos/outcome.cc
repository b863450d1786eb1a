#include "outcome.hpp"

#include <unistd.h>

#include <cstdio>

namespace hfr_tests {
namespace {

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    result += static_cast<unsigned char>(c) < 32 ? ' ' : c;
  }
  return result + "\"";
}

}  // namespace

void give_up(const char* why) {
  char line[256];
  const int length =
      std::snprintf(line, sizeof(line), "{\"outcome\": \"unable\", \"sentence\": \"%s\"}\n", why);
  [[maybe_unused]] const ssize_t written = write(STDOUT_FILENO, line, static_cast<size_t>(length));
  _exit(3);
}

void Outcome::fail(hfr_status_t status, const char* where, const char* sentence) {
  if (sentence[0] == '\0' && nameless_[0] == '\0')
    std::snprintf(nameless_, sizeof(nameless_), "%s (%d)", where, static_cast<int>(status));
  std::snprintf(then_, sizeof(then_), "%s (%d): %s", where, static_cast<int>(status), sentence);
  if (failure_ != HFR_SUCCESS) return;
  ++failures_;
  failure_ = status;
  std::snprintf(where_, sizeof(where_), "%s", where);
  std::snprintf(sentence_, sizeof(sentence_), "%s", sentence);
}

void Outcome::forgive() {
  failure_ = HFR_SUCCESS;
  where_[0] = sentence_[0] = then_[0] = '\0';
}

void Outcome::wrong(const Step& step, const char* what, size_t element,
                    const std::vector<int>& members) {
  std::string who;
  for (int rank : members) who += (who.empty() ? "" : ",") + std::to_string(rank);
  std::snprintf(sentence_, sizeof(sentence_),
                "step %llu: %s is wrong at %zu of %zu elements of type %d, op %d, way %d, %zu in "
                "flight, in place %d, members %s",
                static_cast<unsigned long long>(step.number), what, element, step.count,
                static_cast<int>(step.type.dtype), static_cast<int>(step.op),
                static_cast<int>(step.way), step.in_flight, step.in_place ? 1 : 0, who.c_str());
  wrong_ = true;
}

void Outcome::print(const Counts& counts, const std::vector<int>& members,
                    const std::string& left) const {
  const char* outcome = wrong_ ? "wrong" : well() ? "right" : "error";
  uint64_t bits = 0;
  for (int rank : members) bits |= uint64_t{1} << rank;
  std::printf(
      "{\"outcome\": \"%s\", \"status\": %d, \"where\": %s, \"sentence\": %s, \"then\": %s, "
      "\"nameless\": %s, \"steps\": %llu, \"failures\": %d, \"shrinks\": %d, \"growths\": %d, "
      "\"suspends\": %d, \"members\": %llu, \"since_ns\": %llu, \"until_ns\": %llu, "
      "\"latest_ms\": %lld, \"limited\": %s, \"left\": %s}\n",
      outcome, static_cast<int>(failure_), quoted(where_).c_str(), quoted(sentence_).c_str(),
      quoted(then_).c_str(), quoted(nameless_).c_str(),
      static_cast<unsigned long long>(counts.steps), failures_, counts.shrinks, counts.growths,
      counts.suspends, static_cast<unsigned long long>(bits),
      static_cast<unsigned long long>(counts.since_ns),
      static_cast<unsigned long long>(counts.until_ns), static_cast<long long>(counts.latest_ms),
      counts.limited ? "true" : "false", quoted(left).c_str());
  std::fflush(stdout);
}

}  // namespace hfr_tests
