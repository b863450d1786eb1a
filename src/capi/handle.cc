#include "capi/handle.hpp"

#include <algorithm>
#include <cstring>

#include "base/text.hpp"
#include "base/thread.hpp"
#include "bootstrap/launch_env.hpp"
#include "bootstrap/unique_id.hpp"
#include "capi/options.hpp"

namespace hfr {
namespace {

Status invalid(const std::string& sentence) { return Status(Code::kInvalidArgument, sentence); }

Status aborted(const char* call) {
  return Status(Code::kAborted, cat(call, ": hfr_comm_abort was called on this communicator"));
}

Status was_shrunk(const char* call) {
  return Status(Code::kInvalidUsage,
                cat(call, ": this communicator was shrunk; use the one that was made of it"));
}

Status check_rank(int num_ranks, int rank) {
  if (num_ranks < 1) return invalid(cat("num_ranks is ", num_ranks, "; it must be at least 1"));
  if (rank < 0 || rank >= num_ranks) {
    return invalid(cat("rank is ", rank, "; it must be from 0 to ", num_ranks - 1));
  }
  return Status();
}

}  // namespace

Result<StartOptions> read_options(const hfr_comm_options_t* options) {
  StartOptions start;
  HFR_ASSIGN_OR_RETURN(start.config, load_config(process_environment()));
  if (options != nullptr) {
    HFR_RETURN_IF_ERROR(apply_options(options, start.config, start.non_blocking));
  }
  // Looked at here: set-up may run on another thread.
  if (start.config.device == "cuda") start.cuda_context = current_gpu_context();
  return start;
}

void write_unique_id(const UniqueId& id, char* bytes) {
  const auto encoded = encode_unique_id(id);
  static_assert(sizeof(encoded) == HFR_UNIQUE_ID_BYTES);
  std::memcpy(bytes, encoded.data(), sizeof(encoded));
}

Status make_unique_id(char* bytes) {
  HFR_ASSIGN_OR_RETURN(Config config, load_config(process_environment()));
  HFR_ASSIGN_OR_RETURN(UniqueId id, open_unique_id(config));
  write_unique_id(id, bytes);
  return Status();
}

Result<JoinSpec> spec_from_id(const char* bytes, int num_ranks, int rank,
                              const StartOptions& start) {
  HFR_RETURN_IF_ERROR(check_rank(num_ranks, rank));
  std::array<std::byte, HFR_UNIQUE_ID_BYTES> encoded{};
  std::memcpy(encoded.data(), bytes, encoded.size());
  HFR_ASSIGN_OR_RETURN(UniqueId id, decode_unique_id(encoded));
  JoinSpec spec;
  spec.rank = rank;
  spec.num_ranks = num_ranks;
  spec.address = id.address;
  spec.secret = id.secret;
  spec.listener = take_listener(id);
  spec.config = start.config;
  spec.cuda_context = start.cuda_context;
  return spec;
}

Result<JoinSpec> spec_from_environment(const StartOptions& start) {
  HFR_ASSIGN_OR_RETURN(LaunchInfo launch, read_launch_info(process_environment()));
  HFR_RETURN_IF_ERROR(check_rank(launch.num_ranks, launch.rank));
  const Config& config = start.config;
  if (config.rendezvous.empty()) {
    return invalid("HFREDUCE_RENDEZVOUS is not set; give it host:port, where rank 0 listens");
  }
  if (config.secret.empty()) {
    return invalid("HFREDUCE_SECRET is not set; give all ranks the same secret text");
  }
  JoinSpec spec;
  spec.rank = launch.rank;
  spec.num_ranks = launch.num_ranks;
  auto address = parse_host_port(config.rendezvous);
  if (!address.ok()) return invalid(cat("HFREDUCE_RENDEZVOUS: ", address.status().message()));
  spec.address = *address;
  spec.secret = Secret::from_passphrase(config.secret);
  if (launch.rank == 0) {
    HFR_ASSIGN_OR_RETURN(spec.listener, listen_tcp(spec.address));
  }
  spec.config = config;
  spec.cuda_context = start.cuda_context;
  return spec;
}

Result<ShrinkOptions> read_shrink_options(const hfr_shrink_options_t* options, const Shape& shape) {
  ShrinkOptions read;
  if (options == nullptr) return read;
  hfr_shrink_options_t known = HFR_SHRINK_OPTIONS_INIT;
  // The sizes that the struct has had, and those that it may have one day.
  if (options->size < sizeof(known) || options->size > 4096) {
    return invalid(cat("hfr_shrink_options_t: size is ", options->size,
                       "; start from HFR_SHRINK_OPTIONS_INIT"));
  }
  std::memcpy(&known, options, std::min(options->size, sizeof(known)));
  read.timeout_ns = uint64_t{known.timeout_ms} * 1'000'000;
  if (known.num_excluded > shape.num_ranks) {
    return invalid(cat("hfr_shrink_options_t: num_excluded is ", known.num_excluded, " of ",
                       shape.num_ranks, " ranks"));
  }
  if (known.num_excluded < 0 || (known.num_excluded > 0 && known.excluded == nullptr)) {
    return invalid(cat("hfr_shrink_options_t: num_excluded is ", known.num_excluded,
                       known.num_excluded > 0 ? " but excluded is NULL" : ""));
  }
  for (int i = 0; i < known.num_excluded; ++i) {
    const int rank = known.excluded[i];
    if (rank < 0 || rank >= shape.num_ranks || rank == shape.rank) {
      return invalid(cat("hfr_shrink_options_t: excluded has rank ", rank,
                         "; it must be from 0 to ", shape.num_ranks - 1, " and not this rank"));
    }
    read.excluded.push_back(rank);
  }
  return read;
}

}  // namespace hfr

using hfr::Code;
using hfr::Status;

class hfr_comm::CallCancel : public hfr::CancelFlag {
 public:
  explicit CallCancel(hfr_comm& owner) : owner_(owner) { install(this); }
  ~CallCancel() override { install(nullptr); }

 private:
  void install(hfr::CancelFlag* flag) {
    const std::lock_guard lock(owner_.call_cancel_mutex_);
    owner_.call_cancel_ = flag;
  }

  hfr_comm& owner_;
};

void hfr_comm::make(hfr::JoinSpec spec) {
  spec.cancel = &cancel_;
  hfr::Result<std::shared_ptr<hfr::Communicator>> made = [&] {
    try {
      return hfr::Communicator::create(std::move(spec));
    } catch (const std::exception&) {
      return hfr::Result<std::shared_ptr<hfr::Communicator>>(hfr::status_of_exception());
    }
  }();
  if (made.ok()) {
    const std::lock_guard lock(comm_mutex_);
    comm_ = std::move(*made);
    state_.store(State::kReady, std::memory_order_release);
  } else {
    start_status_ = made.status();
    state_.store(State::kFailed, std::memory_order_release);
  }
}

hfr::Result<hfr_comm*> hfr_comm::start(hfr::JoinSpec spec, bool non_blocking) {
  auto handle = std::make_unique<hfr_comm>();
  if (non_blocking) {
    hfr_comm* self = handle.get();
    auto held = std::make_shared<hfr::JoinSpec>(std::move(spec));
    self->starter_ = std::thread([self, held] { self->make(std::move(*held)); });
    return handle.release();
  }
  handle->make(std::move(spec));
  if (handle->state_.load(std::memory_order_acquire) == State::kFailed)
    return handle->start_status_;
  return handle.release();
}

hfr_comm* hfr_comm::of(std::shared_ptr<hfr::Communicator> comm) {
  auto handle = std::make_unique<hfr_comm>();
  handle->comm_ = std::move(comm);
  handle->state_.store(State::kReady, std::memory_order_release);
  return handle.release();
}

hfr::Status hfr_comm::start_all(hfr_comm** comms, int num_ranks, const hfr::StartOptions& start) {
  HFR_RETURN_IF_ERROR(hfr::check_rank(num_ranks, 0));
  std::array<char, HFR_UNIQUE_ID_BYTES> id{};
  HFR_RETURN_IF_ERROR(hfr::make_unique_id(id.data()));
  std::vector<std::unique_ptr<hfr_comm>> handles;
  Status first;
  for (int rank = 0; rank < num_ranks; ++rank) {
    auto spec = hfr::spec_from_id(id.data(), num_ranks, rank, start);
    if (!spec.ok()) return spec.status();
    spec->cuda_context = nullptr;
    spec->cuda_ordinal = rank;
    auto handle = hfr_comm::start(std::move(*spec), true);
    if (!handle.ok()) return handle.status();
    handles.emplace_back(*handle);
  }
  for (auto& handle : handles) {
    handle->starter_.join();
    if (handle->state_.load(std::memory_order_acquire) == State::kFailed && first.ok()) {
      first = handle->start_status_;
    }
  }
  if (!first.ok()) {
    for (auto& handle : handles) handle->shut_down();
    return first;
  }
  for (size_t i = 0; i < handles.size(); ++i) comms[i] = handles[i].release();
  return Status();
}

hfr::Status hfr_comm::ready_status(const char* call) {
  switch (state_.load(std::memory_order_acquire)) {
    case State::kReady:
      return Status();
    case State::kFailed:
      return start_status_;
    case State::kSuspended:
      return Status(Code::kInvalidUsage,
                    hfr::cat(call, ": the communicator is suspended; call hfr_comm_resume first"));
    case State::kStarting:
      break;
  }
  return Status(Code::kInvalidUsage,
                hfr::cat(call,
                         ": the communicator is still being made; poll "
                         "hfr_comm_get_async_error until it reports HFR_SUCCESS"));
}

hfr::Status hfr_comm::made_status(const char* call) {
  if (state_.load(std::memory_order_acquire) == State::kSuspended) return Status();
  return ready_status(call);
}

std::shared_ptr<hfr::Communicator> hfr_comm::hold() {
  const std::lock_guard lock(comm_mutex_);
  return comm_;
}

hfr::CommMetrics hfr_comm::metrics() {
  const std::lock_guard lock(comm_mutex_);
  return comm_ != nullptr ? comm_->metrics() : suspended_->heritage.metrics;
}

hfr::Status hfr_comm::dump(const std::string& path) {
  const auto comm = hold();
  return comm != nullptr ? comm->dump(path) : ready_status("hfr_comm_dump");
}

hfr::Status hfr_comm::async_error() {
  switch (state_.load(std::memory_order_acquire)) {
    case State::kReady:
    case State::kSuspended:
      if (const auto comm = hold()) return comm->async_error();
      return suspended_error();
    case State::kFailed:
      return start_status_;
    case State::kStarting:
      break;
  }
  return Status(Code::kInProgress, "the communicator is being made");
}

hfr::Status hfr_comm::suspended_error() {
  if (cancel_.is_set()) return hfr::aborted("hfr_comm_get_async_error");
  const std::lock_guard lock(comm_mutex_);
  if (suspended_ == nullptr || !suspended_->shrunk) return Status();
  return Status(Code::kAborted, "this communicator was shrunk");
}

void hfr_comm::abort() {
  cancel_.set();
  {
    const std::lock_guard lock(call_cancel_mutex_);
    if (call_cancel_ != nullptr) call_cancel_->set();
  }
  if (starter_.joinable()) starter_.join();
  if (const auto comm = hold()) comm->abort();
}

hfr::Result<std::shared_ptr<hfr::Communicator>> hfr_comm::split(int color, int key) {
  const CallCancel cancel(*this);
  return comm_->split(color, key, cancel);
}

hfr::Result<std::shared_ptr<hfr::Communicator>> hfr_comm::shrink(
    const hfr::ShrinkOptions& options) {
  const CallCancel cancel(*this);
  if (suspended_ == nullptr) return comm_->shrink(options.excluded, options.timeout_ns, cancel);
  if (suspended_->shrunk) return hfr::was_shrunk("hfr_comm_shrink");
  hfr::Heritage& heritage = suspended_->heritage;
  const uint64_t timeout_ns =
      options.timeout_ns != 0 ? options.timeout_ns : heritage.config.timeout_ms * 1'000'000;
  HFR_ASSIGN_OR_RETURN(const hfr::Logger logger,
                       hfr::open_log(heritage.config, suspended_->shape.rank));
  auto child = hfr::shrink(heritage, {.excluded = options.excluded,
                                      .end_ns = hfr::monotonic_ns() + timeout_ns,
                                      .cancel = &cancel,
                                      .logger = logger.of(hfr::Subsystem::kRecovery)});
  const std::lock_guard lock(comm_mutex_);
  suspended_->shrunk = child.ok();
  return child;
}

hfr::Result<std::shared_ptr<hfr::Communicator>> hfr_comm::grow(int num_ranks) {
  const CallCancel cancel(*this);
  return comm_->grow(num_ranks, cancel);
}

hfr::Status hfr_comm::suspend() {
  HFR_RETURN_IF_ERROR(comm_->prepare_suspend());
  auto left = std::make_unique<Suspended>();
  left->heritage = comm_->heritage();
  left->shape = comm_->shape();
  std::shared_ptr<hfr::Communicator> last;
  {
    const std::lock_guard lock(comm_mutex_);
    suspended_ = std::move(left);
    last = std::move(comm_);
    state_.store(State::kSuspended, std::memory_order_release);
  }
  // Calls of other threads, and entries of streams that are about to return.
  hfr::Waiter waiter(hfr::WaitPolicy{.spin_ns = 0});
  while (last.use_count() > 1) waiter.pause();
  last.reset();
  return Status();
}

hfr::Status hfr_comm::resume() {
  if (suspended_ == nullptr) {
    return Status(Code::kInvalidUsage, "hfr_comm_resume: the communicator is not suspended");
  }
  if (suspended_->shrunk) return hfr::was_shrunk("hfr_comm_resume");
  if (cancel_.is_set()) return hfr::aborted("hfr_comm_resume");
  HFR_ASSIGN_OR_RETURN(auto made, hfr::resume(suspended_->heritage, cancel_));
  {
    const std::lock_guard lock(comm_mutex_);
    first_request_ = suspended_->heritage.metrics.operations_started;
    comm_ = made;
    suspended_.reset();
    state_.store(State::kReady, std::memory_order_release);
  }
  if (!cancel_.is_set()) return Status();
  made->abort();  // one that came in the last moment
  return hfr::aborted("hfr_comm_resume");
}

hfr::Status hfr_comm::check_unused() {
  if (state_.load(std::memory_order_acquire) != State::kReady) return Status();
  return comm_->check_unused("hfr_comm_destroy");
}

void hfr_comm::shut_down() {
  cancel_.set();
  if (starter_.joinable()) starter_.join();
  if (comm_ != nullptr) comm_->shut_down();
}

void hfr_comm::keep_error(const std::string& sentence) {
  const bool failed = is_ready() && !comm_->failure().ok();
  std::lock_guard lock(error_mutex_);
  error_ = sentence;
  error_is_of_failed_ = failed;
}

std::string hfr_comm::last_error() {
  const hfr::Status failure = is_ready() ? comm_->failure() : Status();
  std::lock_guard lock(error_mutex_);
  // An operation in a stream failed after the last call on the communicator that did.
  return failure.ok() || error_is_of_failed_ ? error_ : failure.message();
}
