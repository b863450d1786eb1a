// What members and the rendezvous say to each other once membership is proven. A frame is a length
// and packed fields (base/pack.hpp), the first of which is the kind.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace hfr::rendezvous {

// Member to server: fields after the kind.
constexpr char kJoin = 'J';    // version, rank, num_ranks, settings, label
constexpr char kGather = 'G';  // stage, milliseconds left, blob
constexpr char kReport = 'R';  // code, culprit, sentence
constexpr char kStall = 'S';   // code, blamed rank, sentence
constexpr char kLeave = 'B';
// Server to member.
constexpr char kGathered = 'g';  // packed blobs of all ranks
constexpr char kFailure = 'f';   // code, culprit, sentence
constexpr char kClosing = 'c';   // the server goes; carry on without

constexpr size_t kMaxBlobBytes = size_t{64} << 10;
constexpr size_t kMaxMemberFrame = kMaxBlobBytes + 4096;

}  // namespace hfr::rendezvous
