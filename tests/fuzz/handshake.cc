// The accepting side of the proof of membership, which strangers reach. They do not get in.
#include "bootstrap/auth.hpp"
#include "input.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const hfr::Secret secret = hfr::Secret::random();
  hfr_fuzz::Input input(data, size);
  hfr::AcceptingHandshake handshake(secret, 0);
  while (true) {
    const auto bytes = input.bytes(handshake.wants());
    if (bytes.size() < handshake.wants()) break;
    if (!handshake.feed(bytes).ok()) break;
    hfr_fuzz::require(!handshake.done());
  }
  return 0;
}
