// A record of a rank, whole or a front, also changed meanwhile; what inspect makes of several.
#include "base/record_reader.hpp"
#include "input.hpp"
#include "tools/inspect.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hfr::record;
  hfr_fuzz::Input input(data, size);
  const auto flags = input.value<uint8_t>();
  const auto called_after = input.value<uint64_t>();
  const auto spans_after = input.value<uint64_t>();
  const auto from = input.rest();
  std::vector<std::byte> bytes(from.begin(), from.end());
  // What is not given is zero; or the file is cut off there.
  if ((flags & 1) == 0) bytes.resize((flags & 2) == 0 ? kFileBytes : kFrontBytes);
  std::vector<std::byte> after = bytes;
  if (bytes.size() >= kFrontBytes && (flags & 4) != 0) {
    std::memcpy(after.data() + offsetof(File, progress.called), &called_after, 8);
    std::memcpy(after.data() + offsetof(File, num_spans.value), &spans_after, 8);
  }
  const auto record = hfr::read_record(bytes, after);
  if (!record.ok()) {
    hfr_fuzz::require(!record.status().message().empty());
    return 0;
  }
  hfr_fuzz::require(record->completed <= record->called);
  hfr_fuzz::require(record->calls.size() <= kNumCalls && record->spans.size() <= kNumSpans);
  hfr_fuzz::require(record->first_call + record->calls.size() == record->called);
  // As that of each of up to three ranks, one of which is gone.
  std::vector<hfr::tools::RankState> ranks;
  for (int rank = 0; rank < std::min(3, record->owner.num_ranks); ++rank) {
    ranks.push_back(
        {*record, static_cast<hfr::ProcessState>(((flags >> 3) + rank) & 3), 0, "file"});
    ranks.back().record.owner.rank = rank;
  }
  const auto communicators = hfr::tools::judge_all(std::move(ranks));
  hfr_fuzz::require(communicators.size() == 1);
  hfr_fuzz::require(!communicators[0].verdict.sentence.empty());
  hfr_fuzz::require(!inspect_text(communicators, {}, true).empty());
  hfr_fuzz::require(!inspect_json(communicators, {}).empty());
  return 0;
}
