// Wait: what an operation waits for, as a value: recorded as it is, and put into words when told.
#pragma once

#include <cstdint>
#include <string>

#include "base/text.hpp"

namespace hfr {

// Values are those of record files: never renumbered.
enum class WaitStage : uint8_t {
  kNothing = 0,
  kStarting = 1,    // the rank's post
  kAddingPart = 2,  // of an operation that is in no chunks
  kCopyIn = 3,      // device to staging
  kCopyOut = 4,     // staging to device, of an earlier chunk
  kAdding = 5,      // the rank's threads have a part of a chunk
  kPartialSum = 6,  // from another node
  kFinalValue = 7,  // from another node
  kTaking = 8,      // a put has not finished
  kSum = 9,         // the lane's owner has not published it
  kGroupPart = 10,  // a member of this rank's group of GPUs
  kCarrying = 11,   // the group's carrier
  kStream = 12,     // its own: the stream has not come to the operation
  kMeeting = 13,    // in no operation: all ranks meet, as when they finalize
  // Set-up, in its order, of whatever rank.
  kNodeMemory = 14,
  kOpenDevice = 15,
  kConnect = 16,  // with the ranks' meeting before it
  kFindings = 17,
};
constexpr int kNumWaitStages = 18;

constexpr bool is_of_set_up(WaitStage stage) {
  return stage >= WaitStage::kNodeMemory && stage <= WaitStage::kFindings;
}

struct Wait {
  int rank = -1;
  WaitStage stage = WaitStage::kNothing;
  uint64_t chunk = 0;  // of the operation
  uint64_t num_chunks = 0;
};

// "copy-in of chunk 3 of 8"
inline std::string wait_text(const Wait& wait) {
  const std::string chunk = cat("chunk ", wait.chunk, " of ", wait.num_chunks);
  switch (wait.stage) {
    case WaitStage::kNothing:
      return "nothing";
    case WaitStage::kStarting:
      return "starting it";
    case WaitStage::kAddingPart:
      return "adding its part";
    case WaitStage::kCopyIn:
      return cat("copy-in of ", chunk);
    case WaitStage::kCopyOut:
      return cat("copy-out before ", chunk);
    case WaitStage::kAdding:
      return cat("adding its part of ", chunk);
    case WaitStage::kPartialSum:
      return cat("the partial sum of ", chunk, " to arrive");
    case WaitStage::kFinalValue:
      return cat("the final value of ", chunk, " to arrive");
    case WaitStage::kTaking:
      return cat("taking ", chunk);
    case WaitStage::kSum:
      return cat("the sum of ", chunk);
    case WaitStage::kGroupPart:
      return cat("its part of ", chunk);
    case WaitStage::kCarrying:
      return cat("carrying ", chunk);
    case WaitStage::kStream:
      return "its stream to come to the operation";
    case WaitStage::kMeeting:
      return "all ranks to meet";
    case WaitStage::kNodeMemory:
      return "set-up: the node's shared memory";
    case WaitStage::kOpenDevice:
      return "set-up: its device to open";
    case WaitStage::kConnect:
      return "set-up: connections to other nodes";
    case WaitStage::kFindings:
      return "set-up: what the other ranks found";
  }
  return "something that is no stage";
}

}  // namespace hfr
