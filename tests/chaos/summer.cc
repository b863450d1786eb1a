#include "summer.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace hfr_tests {
namespace {

constexpr size_t kGuardBytes = 4096;
constexpr std::byte kGuard{0xa5};

}  // namespace

// All that the rank itself needs it has before its limits are lowered.
Summer::Summer(const Plan& plan, Watch& watch, Outcome& outcome, int rank, bool on_heap)
    : plan_(plan), watch_(watch), outcome_(outcome), rank_(rank), on_heap_(on_heap) {
  for (Buffer* buffer : {&send_, &recv_}) {
    buffer->own = static_cast<std::byte*>(
        std::aligned_alloc(kGuardBytes, (buffer_bytes() + 3 * kGuardBytes) & ~(kGuardBytes - 1)));
    if (buffer->own == nullptr) give_up("no memory for buffers");
    std::memset(buffer->own, static_cast<int>(kGuard), buffer_bytes() + 2 * kGuardBytes);
  }
  use_own();
  if (hfr_stream_create(&stream_) != HFR_SUCCESS) give_up("no stream");
}

void Summer::end() { hfr_stream_destroy(stream_); }

void Summer::use_own() {
  send_.data = send_.own + kGuardBytes;
  recv_.data = recv_.own + kGuardBytes;
}

bool Summer::take_memory(hfr_comm_t comm) {
  use_own();
  if (!on_heap_) return true;
  for (Buffer* buffer : {&send_, &recv_}) {
    void* memory = nullptr;
    const hfr_status_t status = watch_.call(
        1, 0, [&] { return hfr_mem_alloc(comm, &memory, buffer_bytes() + kGuardBytes); });
    if (!outcome_.check(status, "mem_alloc", comm)) {
      watch_.call(1, 0, [&] { return hfr_comm_abort(comm); });
      return false;
    }
    buffer->data = static_cast<std::byte*>(memory);
    std::memset(buffer->data + buffer_bytes(), static_cast<int>(kGuard), kGuardBytes);
  }
  return true;
}

bool Summer::give_memory_back(hfr_comm_t comm) {
  if (!on_heap_) return true;
  for (Buffer* buffer : {&send_, &recv_}) {
    const hfr_status_t status = watch_.call(1, 0, [&] { return hfr_mem_free(comm, buffer->data); });
    if (!outcome_.check(status, "mem_free", comm)) return false;
  }
  use_own();
  return true;
}

Summer::Result Summer::sum(const Step& step, hfr_comm_t comm, const std::vector<int>& members,
                           bool wish, bool* wished, bool spoil) {
  fill_all(step, wish);
  if (!operate(step, comm)) return Result::kFailed;
  if (spoil)
    at(step.in_place ? send_ : recv_, 0, step)[step.count * step.type.bytes - 1] ^= std::byte{1};
  return compare(step, members, wished) ? Result::kRight : Result::kWrong;
}

void Summer::fill_all(const Step& step, bool wish) {
  Values given;
  for (size_t j = 0; j < step.in_flight; ++j) {
    std::byte* sent = at(send_, j, step);
    for (size_t v = 0; v < 8; ++v) given[v] = bits_of(step.type, input(rank_, step.number, j, v));
    by_width(step.type.bytes, [&](auto element) {
      using Element = decltype(element);
      fill<Element>(sent, step.count, given);
      const Element first = static_cast<Element>(bits_of(step.type, wish ? 1 : 0));
      std::memcpy(sent, &first, sizeof(first));
    });
    if (!step.in_place) std::memset(at(recv_, j, step), 0xee, step.count * step.type.bytes);
  }
}

bool Summer::operate(const Step& step, hfr_comm_t comm) {
  hfr_request_t requests[kMostInFlight] = {};
  const bool by_request = step.way == Step::Way::kWait || step.way == Step::Way::kTest;
  hfr_status_t status = HFR_SUCCESS;
  for (size_t j = 0; j < step.in_flight && status == HFR_SUCCESS; ++j) {
    const std::byte* sent = at(send_, j, step);
    std::byte* result = at(step.in_place ? send_ : recv_, j, step);
    status = watch_.call(1, 2'000, [&] {
      return hfr_all_reduce(sent, result, step.count, step.type.dtype, step.op, comm,
                            step.way == Step::Way::kStream ? stream_ : nullptr,
                            by_request ? &requests[j] : nullptr);
    });
  }
  // The stream's operations have the buffers until it is through, however they end.
  if (step.way == Step::Way::kStream) {
    const hfr_status_t ended =
        watch_.call(1, 2'000, [&] { return hfr_stream_synchronize(stream_); });
    if (status == HFR_SUCCESS) status = ended;
  }
  for (size_t j = 0; j < step.in_flight && by_request && status == HFR_SUCCESS; ++j) {
    status = watch_.call(1, 2'000, [&] {
      if (step.way == Step::Way::kWait) return hfr_wait(comm, requests[j]);
      int done = 0;
      hfr_status_t looked = HFR_SUCCESS;
      while (done == 0 && looked == HFR_SUCCESS) {
        looked = hfr_test(comm, requests[j], &done);
        if (done == 0) sleep_us(50);
      }
      return looked == HFR_SUCCESS ? hfr_wait(comm, requests[j]) : looked;
    });
  }
  return outcome_.check(status, "all_reduce", comm);
}

bool Summer::compare(const Step& step, const std::vector<int>& members, bool* wished) {
  Values given, wanted;
  const auto right = [&](const char* what, size_t element) {
    if (element >= step.count) return true;
    outcome_.wrong(step, what, element, members);
    return false;
  };
  for (size_t j = 0; j < step.in_flight; ++j) {
    const std::byte* result = at(step.in_place ? send_ : recv_, j, step);
    for (size_t v = 0; v < 8; ++v) {
      int value = 0;
      for (int rank : members) {
        const int theirs = input(rank, step.number, j, v);
        value = step.op == HFR_SUM ? value + theirs : std::max(value, theirs);
      }
      wanted[v] = bits_of(step.type, value);
      given[v] = bits_of(step.type, input(rank_, step.number, j, v));
    }
    const bool well = by_width(step.type.bytes, [&](auto element) {
      using Element = decltype(element);
      Element wish{};
      std::memcpy(&wish, result, sizeof(wish));
      if (wished != nullptr && wish != 0) *wished = true;
      if (!right("the result", first_wrong<Element>(result, step.count, wanted))) return false;
      return step.in_place || right("the input afterwards",
                                    first_wrong<Element>(at(send_, j, step), step.count, given));
    });
    if (!well) return false;
  }
  for (const Buffer* buffer : {&send_, &recv_}) {
    const std::byte* end = buffer->data + buffer_bytes();
    if (std::any_of(end, end + kGuardBytes, [](std::byte b) { return b != kGuard; }))
      return right("what lies behind the buffer", 0);
  }
  return true;
}

}  // namespace hfr_tests
