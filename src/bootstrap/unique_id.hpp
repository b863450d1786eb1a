// The 128 bytes that hfr_get_unique_id hands out: where ranks meet and the secret that lets them
// in.
#pragma once

#include <array>
#include <cstddef>
#include <span>

#include "base/config.hpp"
#include "base/net.hpp"
#include "bootstrap/auth.hpp"

namespace hfr {

constexpr size_t kUniqueIdBytes = 128;

struct UniqueId {
  HostPort address;  // numeric
  Secret secret;
};

std::array<std::byte, kUniqueIdBytes> encode_unique_id(const UniqueId& id);
// Fails for bytes that no encode_unique_id made: a checksum covers them.
Result<UniqueId> decode_unique_id(std::span<const std::byte, kUniqueIdBytes> bytes);

// An id and its rendezvous' socket, on the interface that the settings name.
struct OpenRendezvous {
  UniqueId id;
  UniqueFd listener;
};
Result<OpenRendezvous> open_rendezvous(const Config& config, const Secret& secret);

// Opens the rendezvous' socket in this process, and keeps it until a communicator takes it. The
// table of kept sockets is the one thing that lives outside a communicator: an id exists before its
// communicator does.
Result<UniqueId> open_unique_id(const Config& config);
// The socket, if it was opened in this process and not taken yet; else an empty one.
UniqueFd take_listener(const UniqueId& id);

}  // namespace hfr
