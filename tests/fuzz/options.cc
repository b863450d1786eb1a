// An option struct of a caller that was compiled against any version of the header.
#include "capi/options.hpp"

#include <vector>

#include "input.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  hfr_fuzz::Input input(data, size);
  auto options = input.value<hfr_comm_options_t>();
  // The caller owns as much as it says, and its text has an end.
  const std::string host_id = input.text();
  if (options.host_id != nullptr) options.host_id = host_id.c_str();
  std::vector<std::byte> exact(
      std::clamp<size_t>(options.size, sizeof(options.size), sizeof(options)));
  std::memcpy(exact.data(), &options, exact.size());
  hfr::Config config;
  bool non_blocking = false;
  if (!hfr::apply_options(reinterpret_cast<const hfr_comm_options_t*>(exact.data()), config,
                          non_blocking)
           .ok()) {
    return 0;
  }
  hfr_fuzz::require(config.timeout_ms >= 1 && config.window <= 64);
  return 0;
}
