// What the rendezvous' server and its members read: the first byte picks the side, the rest comes
// in pieces as from a socket.
#include "bootstrap/messages.hpp"
#include "input.hpp"

using namespace hfr::rendezvous;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr size_t kRanks = 3;
  hfr_fuzz::Input input(data, size);
  const auto choice = input.value<uint8_t>();
  const bool server = (choice & 1) != 0;
  const size_t piece = size_t{1} + (choice >> 1);
  const size_t limit = server ? kMaxMemberFrame : max_server_frame(kRanks);
  std::vector<std::byte> buffer;
  while (!input.empty()) {
    const auto bytes = input.bytes(piece);
    buffer.insert(buffer.end(), bytes.begin(), bytes.end());
    while (true) {
      auto frame = take_frame(buffer, limit);
      if (!frame.ok()) return 0;
      if (!*frame) break;
      if (server) {
        auto message = read_member_message(**frame);
        if (!message) continue;
        if (auto* gather = std::get_if<Gather>(&*message)) {
          hfr_fuzz::require(gather->left_ms <= 86'400'000);
        } else if (auto* report = std::get_if<Report>(&*message)) {
          hfr_fuzz::require(!report->failure.status.ok());
        }
      } else {
        auto message = read_server_message(**frame, kRanks);
        if (!message) continue;
        if (auto* gathered = std::get_if<GatheredBlobs>(&*message)) {
          hfr_fuzz::require(gathered->blobs.size() == kRanks);
        } else if (auto* verdict = std::get_if<Verdict>(&*message)) {
          hfr_fuzz::require(!verdict->failure.status.ok());
        }
      }
    }
    hfr_fuzz::require(buffer.size() < limit + 4);
  }
  return 0;
}
