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

Status make_unique_id(char* bytes) {
  HFR_ASSIGN_OR_RETURN(Config config, load_config(process_environment()));
  HFR_ASSIGN_OR_RETURN(UniqueId id, open_unique_id(config));
  auto encoded = encode_unique_id(id);
  static_assert(sizeof(encoded) == HFR_UNIQUE_ID_BYTES);
  std::memcpy(bytes, encoded.data(), sizeof(encoded));
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
    case State::kStarting:
      break;
  }
  return Status(Code::kInvalidUsage,
                hfr::cat(call,
                         ": the communicator is still being made; poll "
                         "hfr_comm_get_async_error until it reports HFR_SUCCESS"));
}

hfr::Status hfr_comm::async_error() {
  switch (state_.load(std::memory_order_acquire)) {
    case State::kReady:
      return comm_->async_error();
    case State::kFailed:
      return start_status_;
    case State::kStarting:
      break;
  }
  return Status(Code::kInProgress, "the communicator is being made");
}

void hfr_comm::abort() {
  cancel_.set();
  if (starter_.joinable()) starter_.join();
  if (state_.load(std::memory_order_acquire) == State::kReady) comm_->abort();
}

hfr::Status hfr_comm::check_unused() {
  if (state_.load(std::memory_order_acquire) != State::kReady) return Status();
  return comm_->check_unused();
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
