// Transport between ranks that are threads of one process. See docs/transports.md.
#pragma once

#include <memory>

#include "ports/transport.hpp"

namespace hfr {

std::unique_ptr<Transport> make_loopback_transport(int rank);

}  // namespace hfr
