// What two sides of the verbs transport say of themselves at set-up: whether it fits, and in words.
// Pure.
#pragma once

#include <string>

#include "base/status.hpp"
#include "transport/verbs/wire.hpp"

namespace hfr::verbs {

// Whether two sides' cards fit, and theirs is sound; a sentence that names both when not.
Status check_cards(int my_rank, const PeerCard& mine, int their_rank, const PeerCard& theirs);

// The rails of a sound card with their GIDs.
std::string rails_text(const PeerCard& card);

}  // namespace hfr::verbs
