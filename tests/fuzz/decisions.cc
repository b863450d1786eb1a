// What ranks tell each other of who is left when a communicator shrinks. The first byte picks the
// reader; what can be read survives being sent on.
#include "bootstrap/line.hpp"
#include "input.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  hfr_fuzz::Input input(data, size);
  const bool ranks = (input.value<uint8_t>() & 1) != 0;
  const std::string text = input.text();
  if (ranks) {
    if (const auto read = hfr::decode_ranks(text)) {
      for (int rank : *read) hfr_fuzz::require(rank >= 0);
    }
  } else if (const auto read = hfr::decode_decisions(text)) {
    const auto again = hfr::decode_decisions(hfr::encode(*read));
    hfr_fuzz::require(again && again->size() == read->size());
  }
  return 0;
}
