// Set-up of the loopback transport: ranks of one process find each other by the addresses that they
// publish.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/status.hpp"
#include "transport/loopback/connection.hpp"

namespace hfr::loopback {

// A transport's own address, and the bell that its peers ring.
struct Place {
  uint64_t number = 0;
  std::shared_ptr<Doorbell> doorbell;
};

Place open_place();
std::string text(const Place& place);

struct Met {
  std::shared_ptr<Connection> connection;
  int side = 0;  // which of the connection's two sides is this rank's
};

// Waits until every peer has come too. Order of the result is that of `peers`.
Result<std::vector<Met>> meet_peers(int rank, const Place& mine, std::span<const int> peers,
                                    std::span<const std::vector<std::byte>> addresses,
                                    uint64_t deadline_ns);

}  // namespace hfr::loopback
