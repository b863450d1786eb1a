// HFREDUCE_IB_HCA: which devices it allows.
#include <algorithm>
#include <charconv>

#include "base/text.hpp"
#include "transport/verbs/transport.hpp"

namespace hfr {

std::string VerbsRail::text() const { return cat(device, " port ", port); }

Result<bool> hca_allows(const std::string& hca, const std::string& device, int port) {
  const bool excludes = !hca.empty() && hca[0] == '^';
  bool named = false;
  size_t at = excludes ? 1 : 0;
  while (at <= hca.size() && !hca.empty()) {
    const size_t end = std::min(hca.find(',', at), hca.size());
    const std::string entry = hca.substr(at, end - at);
    const size_t colon = entry.find(':');
    const std::string name = entry.substr(0, colon);
    int wanted = port;
    if (colon != std::string::npos) {
      const char* last = entry.data() + entry.size();
      auto [stop, error] = std::from_chars(entry.data() + colon + 1, last, wanted);
      if (error != std::errc() || stop != last || wanted < 1 || wanted > 255) wanted = -1;
    }
    if (name.empty() || wanted < 0) {
      return Status(Code::kInvalidArgument,
                    cat("HFREDUCE_IB_HCA=", hca, ": '", entry,
                        "' is neither a device's name nor name:port, as in mlx5_0,mlx5_1:2 or "
                        "^mlx5_2"));
    }
    named |= name == device && wanted == port;
    at = end + 1;
  }
  return hca.empty() || named != excludes;
}

}  // namespace hfr
