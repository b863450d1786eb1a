// What to say when a device refuses a call. Pure.
#pragma once

#include <string>

#include "base/status.hpp"
#include "transport/verbs/transport.hpp"

namespace hfr::verbs {

// `what` failed with `error` on `rail`: a sentence with what to try.
Status device_error(const std::string& what, const VerbsRail& rail, int error);

}  // namespace hfr::verbs
