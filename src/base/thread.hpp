// Threads where the machine may have no room for one more: that is a status, not an exception.
#pragma once

#include <exception>
#include <new>
#include <system_error>
#include <thread>
#include <utility>

#include "base/status.hpp"
#include "base/text.hpp"

namespace hfr {

// Inside a catch block: what was thrown, as a status.
inline Status status_of_exception() {
  try {
    throw;
  } catch (const std::bad_alloc&) {
    return Status(Code::kOutOfMemory, "out of memory");
  } catch (const std::system_error& error) {
    if (error.code() != std::errc::resource_unavailable_try_again)
      return Status(Code::kInternalError, error.what());
    return system_error("a thread cannot be started", error.code().value());  // std::thread
  } catch (const std::exception& error) {
    return Status(Code::kInternalError, error.what());
  }
}

// `body` throws nothing. `purpose` completes "starting a thread ...".
template <typename Body>
Result<std::thread> start_thread(const char* purpose, Body&& body) {
  try {
    return std::thread(std::forward<Body>(body));
  } catch (const std::system_error& error) {
    return system_error(cat("starting a thread ", purpose), error.code().value());
  }
}

}  // namespace hfr
