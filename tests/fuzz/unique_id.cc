// A unique id, whose checksum anybody can compute, and the addresses that it may name.
#include "bootstrap/unique_id.hpp"

#include <sodium.h>

#include "input.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr size_t kChecksumAt = 96;
  hfr_fuzz::Input input(data, size);
  const bool sound = (input.value<uint8_t>() & 1) != 0;
  auto bytes = input.value<std::array<std::byte, hfr::kUniqueIdBytes>>();
  if (sound) {
    std::memcpy(bytes.data(), "HFRuid01", 8);
    crypto_generichash(
        reinterpret_cast<unsigned char*>(&bytes[kChecksumAt]), bytes.size() - kChecksumAt,
        reinterpret_cast<const unsigned char*>(bytes.data()), kChecksumAt, nullptr, 0);
  }
  auto id = hfr::decode_unique_id(bytes);
  if (!id.ok()) return 0;
  hfr_fuzz::require(id->address.host.size() < 54);
  auto again = hfr::decode_unique_id(hfr::encode_unique_id(*id));
  hfr_fuzz::require(again.ok() && again->address.host == id->address.host &&
                    again->address.port == id->address.port);
  return 0;
}
