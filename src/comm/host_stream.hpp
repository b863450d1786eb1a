// HostStream: a queue of work for host memory, run in order on a thread of its own.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

#include "base/status.hpp"

namespace hfr {

class HostStream {
 public:
  using Entry = std::function<Status()>;

  HostStream();
  ~HostStream();  // waits for the entries

  // The host stream that `handle` is, or null: it is something else's. Any thread.
  static HostStream* from_handle(void* handle);

  void enqueue(Entry entry);
  // Waits for all entries; the first failure among them since the last call.
  Status synchronize();

 private:
  void run();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Entry> entries_;
  bool busy_ = false;
  bool stop_ = false;
  Status first_failure_;
  std::thread thread_;
};

}  // namespace hfr
