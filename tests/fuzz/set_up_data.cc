// What another rank says of itself at set-up. What can be read survives being sent on.
#include "comm/set_up_data.hpp"

#include "input.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  hfr_fuzz::Input input(data, size);
  const bool first = (input.value<uint8_t>() & 1) == 0;
  const auto bytes = input.rest();
  if (first) {
    const auto info = hfr::decode_rank_info(bytes, 3);
    if (!info.ok()) return 0;
    hfr_fuzz::require(info->process.find('@') != std::string::npos && info->door.size() < 108);
    hfr_fuzz::require(hfr::encode(*hfr::decode_rank_info(hfr::encode(*info), 3)) ==
                      hfr::encode(*info));
  } else {
    const auto findings = hfr::decode_findings(bytes, 3);
    if (!findings.ok()) return 0;
    hfr_fuzz::require(hfr::encode(*hfr::decode_findings(hfr::encode(*findings), 3)) ==
                      hfr::encode(*findings));
  }
  return 0;
}
