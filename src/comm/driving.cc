// Who makes progress: callers that wait drive the engine, one at a time, and a thread of the
// communicator does while there is work and nobody waits.
#include <pthread.h>

#include "base/text.hpp"
#include "base/thread.hpp"
#include "comm/communicator.hpp"

namespace hfr {
namespace {

constexpr uint64_t kLookAroundNs = 1'000'000;
// Before a shared CPU may turn out to be shared no longer.
constexpr uint32_t kCallsThatYield = 64;

}  // namespace

void Communicator::EngineLock::wait(Communicator& owner) {
  wanted_.fetch_add(1, std::memory_order_relaxed);
  Waiter waiter(owner.parts_.wait);
  while (!try_lock()) waiter.pause();
  wanted_.fetch_sub(1, std::memory_order_relaxed);
}

void Communicator::pause_driving(Waiter& waiter, uint64_t& last_look_ns) {
  uint64_t now = waiter.pause([this](uint64_t ns) {
    executor_.meters().sleeps.add(1);
    if (parts_.transport != nullptr) {
      parts_.transport->sleep(ns);
    } else {
      Waiter::sleep(ns);
    }
  });
  if (now == 0) return;
  if (cpu_sharing_.look()) {
    waiter.give_way();
    calls_that_yield_ = kCallsThatYield;
  }
  if (last_look_ns == 0) {
    last_look_ns = now;
    executor_.check(now);  // deadlines start
  } else if (now - last_look_ns >= kLookAroundNs) {
    last_look_ns = now;
    look_around(now);
  }
}

void Communicator::look_around(uint64_t now_ns) {
  if (executor_.failed()) return;
  if (parts_.transport != nullptr) parts_.transport->watch(now_ns);
  if (auto failure = parts_.membership->poll()) {
    fail(in_context(*failure));
    return;
  }
  auto stall = executor_.check(now_ns);
  if (!stall) return;
  const Status status = describe_stall(*stall, parts_.shape, parts_.config.timeout_ms);
  if (stall->peer_lost) {
    const Failure first = parts_.membership->report_and_ask({status, stall->wait.rank});
    fail(first.status.message() == status.message() ? first : in_context(first));
    return;
  }
  fail(in_context(parts_.membership->resolve_stall(stall->wait, stall->number, status)));
}

void Communicator::wake_progress_thread() {
  Status failed;
  {
    std::lock_guard lock(progress_mutex_);
    if (progress_stop_) return;
    progress_poked_ = true;
    if (progress_thread_.joinable()) {
      progress_wanted_.notify_one();
    } else {
      auto started = start_thread("that drives operations", [this] { run_progress_thread(); });
      failed = started.status();
      if (started.ok()) {
        progress_thread_ = std::move(*started);
        pthread_setname_np(progress_thread_.native_handle(), "hfreduce_drive");
      }
      progress_running_.store(started.ok(), std::memory_order_relaxed);
    }
  }
  if (failed.ok()) return;
  // The operation has begun, and nobody may ever wait for it.
  engine_.lock(*this);
  fail({Status(failed.code(), cat("rank ", parts_.shape.rank, " (node ", parts_.shape.node,
                                  "): ", failed.message())),
        parts_.shape.rank});
  engine_.unlock();
}

void Communicator::run_progress_thread() {
  while (true) {
    linger();
    {
      std::unique_lock lock(progress_mutex_);
      progress_wanted_.wait(lock, [this] { return progress_poked_ || progress_stop_; });
      if (progress_stop_) return;
      progress_poked_ = false;
    }
    // Leaves as soon as somebody waits; that thread pokes again if it leaves work behind.
    auto others = [this] { return drivers_.load(std::memory_order_relaxed) > 0; };
    engine_.lock(*this);
    drive([&] { return executor_.idle() || others(); });
    engine_.unlock();
    watch_graphs();
  }
}

// A small message of a GPU takes less than waking a thread does.
void Communicator::linger() {
  if (user_side_ == nullptr) return;
  const uint64_t until = monotonic_ns() + parts_.wait.spin_ns;
  while (!progress_poked_ && !progress_stop_ && monotonic_ns() < until) Waiter::relax();
}

}  // namespace hfr
