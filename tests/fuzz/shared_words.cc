// What other ranks' processes leave in a node's shared memory and in messages, and is put into
// words here: a failure, an operation's signature.
#include <memory>

#include "base/signature.hpp"
#include "engine/failure.hpp"
#include "input.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  hfr_fuzz::Input input(data, size);
  hfr_fuzz::require(!hfr::signature_text(input.value<uint64_t>()).empty());
  auto cell = std::make_unique<hfr::FailureCell>();
  cell->state = 2;
  cell->code = input.value<int32_t>();
  cell->rank = input.value<int32_t>();
  const auto text = input.bytes(sizeof(cell->text));
  if (!text.empty()) std::memcpy(cell->text, text.data(), text.size());
  const hfr::Failure failure = hfr::read_failure(*cell);
  hfr_fuzz::require(!failure.status.ok() &&
                    failure.status.message().size() <= hfr::FailureCell::kTextBytes);
  return 0;
}
