// A configuration file; what it accepts, the environment accepts as well.
#include "base/config.hpp"

#include <map>
#include <sstream>

#include "input.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  hfr_fuzz::Input input(data, size);
  std::istringstream text(input.text());
  hfr::Config config;
  if (!hfr::apply_config_lines(text, "a file", config).ok()) return 0;
  hfr_fuzz::require(config.timeout_ms >= 1 && config.window <= 64 &&
                    config.chunk_bytes % 4096 == 0);
  (void)hfr::shared_settings(config);
  return 0;
}
