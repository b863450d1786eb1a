// What a client of the metrics endpoint sends, as it comes in piece by piece.
#include "comm/page_server.hpp"
#include "input.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  hfr_fuzz::Input input(data, size);
  const std::string text = input.text();
  hfr::PageRequest before = hfr::PageRequest::kUnfinished;
  for (size_t end = 0; end <= text.size(); ++end) {
    const hfr::PageRequest now = hfr::read_page_request(std::string_view(text).substr(0, end));
    // What has been decided stays so, whatever follows.
    if (before != hfr::PageRequest::kUnfinished) hfr_fuzz::require(now == before);
    before = now;
  }
  return 0;
}
