#include "comm/host_stream.hpp"

#include <set>

#include "base/thread.hpp"

namespace hfr {
namespace {

// A handle that crosses the C interface as void* may be another library's stream.
struct LiveStreams {
  std::mutex mutex;
  std::set<void*> handles;
};
LiveStreams& live_streams() {
  static LiveStreams streams;
  return streams;
}

}  // namespace

HostStream::HostStream() : thread_([this] { run(); }) {
  LiveStreams& live = live_streams();
  std::lock_guard lock(live.mutex);
  live.handles.insert(this);
}

HostStream* HostStream::from_handle(void* handle) {
  LiveStreams& live = live_streams();
  std::lock_guard lock(live.mutex);
  return live.handles.count(handle) != 0 ? static_cast<HostStream*>(handle) : nullptr;
}

HostStream::~HostStream() {
  {
    LiveStreams& live = live_streams();
    std::lock_guard lock(live.mutex);
    live.handles.erase(this);
  }
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void HostStream::enqueue(Entry entry) {
  {
    std::lock_guard lock(mutex_);
    entries_.push_back(std::move(entry));
  }
  changed_.notify_all();
}

Status HostStream::synchronize() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return entries_.empty() && !busy_; });
  return std::exchange(first_failure_, Status());
}

void HostStream::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stop_ || !entries_.empty(); });
    if (entries_.empty()) return;
    Entry entry = std::move(entries_.front());
    entries_.pop_front();
    busy_ = true;
    lock.unlock();
    Status status;
    try {
      status = entry();
    } catch (const std::exception&) {
      status = status_of_exception();
    }
    entry = nullptr;  // what it holds goes before anybody is told
    lock.lock();
    busy_ = false;
    if (!status.ok() && first_failure_.ok()) first_failure_ = status;
    changed_.notify_all();
  }
}

}  // namespace hfr
