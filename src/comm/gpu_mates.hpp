// GpuMates: the ranks of one communicator that are threads of one process and share a GPU.
//
// Their streams share the GPU's hardware queues, where a wait may stand only behind all that it
// waits for (docs/cuda.md). So a rank's stream is made to wait once every mate has made its call,
// and the copies of all of them are handed over by one thread, chunk by chunk.
//
//   each mate's call:  submit, put what comes before into the stream, arrive | all arrived?
//                      push the copies | last one: hand over everybody's | the stream waits
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "ports/device.hpp"

namespace hfr {

// Hands over an operation's copies for ranks that share hardware queues, chunk by chunk, in an
// order in which each waits only for what comes before it.
Status hand_over_chunks(std::span<UserSide* const> ranks, size_t chunks, size_t window);

class GpuMates {
 public:
  explicit GpuMates(size_t num) : members_(num), users_(num) {}
  GpuMates(const GpuMates&) = delete;
  GpuMates& operator=(const GpuMates&) = delete;

  // A number that no other call in this process gets.
  static uint64_t new_key();
  // The mates that agreed on `key`.
  static std::shared_ptr<GpuMates> join(uint64_t key, size_t num);

  // Each member's own calls, with its place among the members.
  void enter(size_t me, UserSide* user) { users_[me] = user; }
  // It has made the call for operation `op`, in a stream or not.
  void arrive(size_t me, uint64_t op, bool in_stream);
  bool all_arrived(uint64_t op) const;
  // Once they have.
  bool all_in_streams(uint64_t op) const;

  // The copies are pushed. The last one hands over all members' copies, and all get its result:
  // handed_over() says when. To be called for the same operations by all.
  void push(size_t me, size_t chunks, size_t window);
  bool handed_over(size_t me) const;
  // For a member that failed while it waited. True: nothing of its will be handed over. False: it
  // is being handed over, and has to be waited for.
  bool give_up(size_t me);
  // Of the latest; the next push() follows.
  Status finish(size_t me);

 private:
  static constexpr size_t kKinds = UserSide::kMaxOpen;
  static constexpr uint32_t kGivenUp = 1u << 31;
  static constexpr size_t kRounds = 4;  // a member is at most one ahead of another

  struct alignas(kCacheLine) Member {
    std::atomic<uint64_t> arrived{0};  // operations before this one
    std::array<std::atomic<bool>, kKinds> in_stream{};
    uint64_t round = 0;
  };
  struct alignas(kCacheLine) Round {
    std::atomic<uint32_t> num_pushed{0};  // and kGivenUp
    std::atomic<bool> done{false};
    Status status;  // before done
  };

  Round& round(size_t me) { return rounds_[members_[me].round % kRounds]; }

  std::vector<Member> members_;
  std::vector<UserSide*> users_;
  std::array<Round, kRounds> rounds_;
};

}  // namespace hfr
