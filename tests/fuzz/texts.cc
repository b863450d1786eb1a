// Short texts: addresses, sizes, lists, what a launcher sets. The first byte picks the reader.
#include "base/config.hpp"
#include "base/net.hpp"
#include "bootstrap/launch_env.hpp"
#include "input.hpp"

namespace {

// Lines of NAME=VALUE as an environment.
hfr::Environment environment(const std::string& lines) {
  return [lines](const std::string& name) -> std::optional<std::string> {
    const size_t at = ("\n" + lines).find("\n" + name + "=");
    if (at == std::string::npos) return std::nullopt;
    const size_t begin = at + name.size() + 1;
    return lines.substr(begin, lines.find('\n', begin) - begin);
  };
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  hfr_fuzz::Input input(data, size);
  const auto reader = input.value<uint8_t>();
  const std::string text = input.text();
  switch (reader % 3) {
    case 0:
      for (const bool any_port : {false, true}) {
        const auto address = hfr::parse_host_port(text, any_port);
        if (!address.ok()) continue;
        hfr_fuzz::require(!address->host.empty() && (any_port || address->port != 0));
        const auto again = hfr::parse_host_port(hfr::text(*address), any_port);
        hfr_fuzz::require(again.ok() && again->port == address->port);
      }
      break;
    case 1:
      (void)hfr::parse_size(text);
      break;
    default: {
      const auto launch = hfr::read_launch_info(environment(text));
      if (!launch.ok()) break;
      hfr_fuzz::require(launch->rank >= 0 && launch->rank < launch->num_ranks);
    }
  }
  return 0;
}
