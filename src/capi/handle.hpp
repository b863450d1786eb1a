// hfr_comm: what the C handle points to. A communicator that is being made, is there, never came to
// be, or is suspended (docs/suspend.md).
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "capi/premul_ops.hpp"
#include "comm/communicator.hpp"
#include "hfreduce/hfreduce.h"

namespace hfr {

struct StartOptions {
  Config config;
  bool non_blocking = false;
  void* cuda_context = nullptr;  // current when the caller called
};

// The environment with the caller's options over it.
Result<StartOptions> read_options(const hfr_comm_options_t* options);

// Writes HFR_UNIQUE_ID_BYTES.
void write_unique_id(const UniqueId& id, char* bytes);
// Opens a rendezvous in this process; writes its id.
Status make_unique_id(char* bytes);
Result<JoinSpec> spec_from_id(const char* bytes, int num_ranks, int rank,
                              const StartOptions& start);
Result<JoinSpec> spec_from_environment(const StartOptions& start);

struct ShrinkOptions {
  std::vector<int> excluded;
  uint64_t timeout_ns = 0;  // 0: the communicator's
};
// `options` may be null.
Result<ShrinkOptions> read_shrink_options(const hfr_shrink_options_t* options, const Shape& shape);

}  // namespace hfr

struct hfr_comm {
 public:
  // Blocking: the communicator is there when it returns. Else a thread makes it.
  static hfr::Result<hfr_comm*> start(hfr::JoinSpec spec, bool non_blocking);
  // One that is there already.
  static hfr_comm* of(std::shared_ptr<hfr::Communicator> comm);
  static hfr::Status start_all(hfr_comm** comms, int num_ranks, const hfr::StartOptions& start);

  // A guard against handles that were destroyed or never made; best effort.
  bool is_valid() const { return magic_ == kMagic; }
  // The communicator is there.
  bool is_ready() const { return state_.load(std::memory_order_acquire) == State::kReady; }
  // Ok once it is; `call` is for the sentence.
  hfr::Status ready_status(const char* call);
  // The same, and ok while it is suspended.
  hfr::Status made_status(const char* call);
  // Of one that is ready. For calls that may not run beside suspend and resume.
  hfr::Communicator& communicator() { return *comm_; }
  hfr::PremulOps& premul_ops() { return premul_ops_; }
  // The number of the first operation since it was resumed.
  uint64_t first_request() const { return first_request_; }
  // Of an operation that was complete when the communicator was suspended.
  bool is_past(uint64_t request) const {
    return request < (suspended_ != nullptr ? suspended_->heritage.metrics.operations_started
                                            : first_request_);
  }

  // Any thread, beside all but destruction. Of one that is made.
  template <typename Query>
  auto with_shape(Query&& query) {
    const std::lock_guard lock(comm_mutex_);
    return query(comm_ != nullptr ? comm_->shape() : suspended_->shape);
  }
  hfr::CommMetrics metrics();
  hfr::Status dump(const std::string& path);
  hfr::Status async_error();
  void abort();

  hfr::Result<std::shared_ptr<hfr::Communicator>> split(int color, int key);
  hfr::Result<std::shared_ptr<hfr::Communicator>> shrink(const hfr::ShrinkOptions& options);
  hfr::Result<std::shared_ptr<hfr::Communicator>> grow(int num_ranks);
  hfr::Status suspend();
  hfr::Status resume();

  hfr::Status check_unused();
  void shut_down();

  void keep_error(const std::string& sentence);
  std::string last_error();

  ~hfr_comm() { magic_ = 0; }

 private:
  enum class State : int { kStarting, kReady, kFailed, kSuspended };
  struct Suspended {
    hfr::Heritage heritage;
    hfr::Shape shape;
    bool shrunk = false;
  };
  // Of one call; while it lives, abort() sets it, too.
  class CallCancel;
  static constexpr uint64_t kMagic = 0x68667265647563ull;

  void make(hfr::JoinSpec spec);
  hfr::Status suspended_error();
  // Null while there is none.
  std::shared_ptr<hfr::Communicator> hold();

  uint64_t magic_ = kMagic;
  std::atomic<State> state_{State::kStarting};
  std::mutex comm_mutex_;                    // of who changes comm_, and of who reads any time
  std::shared_ptr<hfr::Communicator> comm_;  // set before kReady
  std::unique_ptr<Suspended> suspended_;     // likewise, instead
  uint64_t first_request_ = 0;
  hfr::Status start_status_;  // set before kFailed
  hfr::CancelFlag cancel_;    // set for good: there was an abort, or this is at its end
  std::mutex call_cancel_mutex_;
  hfr::CancelFlag* call_cancel_ = nullptr;
  std::thread starter_;
  hfr::PremulOps premul_ops_;
  std::mutex error_mutex_;
  std::string error_;
  bool error_is_of_failed_ = false;  // the communicator had failed when error_ was kept
};
