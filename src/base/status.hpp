// Status and Result: how set-up code reports what failed, on what, and what to try.
#pragma once

#include <cassert>
#include <string>
#include <utility>
#include <variant>

namespace hfr {

// The same values as hfr_status_t in the public header; capi/ asserts that.
enum class Code : int {
  kOk = 0,
  kInvalidArgument = 1,
  kInvalidUsage = 2,
  kSystemError = 3,
  kOutOfMemory = 4,
  kTimeout = 5,
  kRemoteError = 6,
  kAborted = 7,
  kMismatch = 8,
  kInProgress = 9,
  kUnsupported = 10,
  kInternalError = 11,
  kCorrupted = 12,
};

// Of a number that came from elsewhere: it is a Code, and none of success.
constexpr bool is_failure_code(int code) {
  return code > static_cast<int>(Code::kOk) && code <= static_cast<int>(Code::kCorrupted);
}

// A code and a sentence for the user. Success carries no sentence.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string message) : code_(code), message_(std::move(message)) {}

  bool ok() const { return code_ == Code::kOk; }
  Code code() const { return code_; }
  const std::string& message() const { return message_; }

 private:
  Code code_ = Code::kOk;
  std::string message_;
};

// A value, or the status that says why there is none.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}        // NOLINT: implicit by design
  Result(Status status) : state_(std::move(status)) {  // NOLINT: implicit by design
    assert(!std::get<Status>(state_).ok());
  }

  bool ok() const { return std::holds_alternative<T>(state_); }
  Status status() const { return ok() ? Status() : std::get<Status>(state_); }
  T& value() { return std::get<T>(state_); }
  const T& value() const { return std::get<T>(state_); }
  T& operator*() { return value(); }
  const T& operator*() const { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::variant<Status, T> state_;
};

// A failure of the job: what, and whose.
struct Failure {
  Status status;
  int rank = -1;  // who is to blame; -1 when nobody can tell
};

// Status of a failed system call: "<what>: <strerror(error_number)>".
Status system_error(const std::string& what, int error_number);

}  // namespace hfr

// Returns from the enclosing function when `expression` is not ok.
#define HFR_RETURN_IF_ERROR(expression)        \
  do {                                         \
    ::hfr::Status hfr_status_ = (expression);  \
    if (!hfr_status_.ok()) return hfr_status_; \
  } while (false)

#define HFR_CONCAT_INNER(a, b) a##b
#define HFR_CONCAT(a, b) HFR_CONCAT_INNER(a, b)
// HFR_ASSIGN_OR_RETURN(auto x, make_x()): takes the value, or returns the status.
#define HFR_ASSIGN_OR_RETURN(lhs, expression)                                                     \
  auto HFR_CONCAT(hfr_result_, __LINE__) = (expression);                                          \
  if (!HFR_CONCAT(hfr_result_, __LINE__).ok()) return HFR_CONCAT(hfr_result_, __LINE__).status(); \
  lhs = std::move(HFR_CONCAT(hfr_result_, __LINE__).value())
