// What survivors say to each other at a meeting point once membership of the line is proven. Frames
// as in messages.hpp.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hfr::meeting {

constexpr const char* kPurpose = "hfreduce meeting";

// To the convener: fields after the kind.
constexpr char kCome = 'C';  // id, milliseconds left, excluded, decisions that led to the id,
                             // MeetingPurpose
// From the convener.
constexpr char kDecided =
    'd';                     // decisions, of which the last one makes this connection the child's
constexpr char kNews = 'n';  // decisions that you have not heard of; come again
constexpr char kRefused = 'r';  // code, sentence

constexpr size_t kMaxFrame = size_t{16} << 20;

}  // namespace hfr::meeting
