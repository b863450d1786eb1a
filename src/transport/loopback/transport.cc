#include "transport/loopback/transport.hpp"

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "base/text.hpp"
#include "transport/loopback/endpoint.hpp"
#include "transport/loopback/setup.hpp"

namespace hfr {
namespace {

using loopback::Endpoint;

class LoopbackTransport : public Transport {
 public:
  explicit LoopbackTransport(int rank) : rank_(rank) {}
  ~LoopbackTransport() override { stop(); }

  TransportCapabilities capabilities() const override {
    return {"loopback", size_t{256} << 10, loopback::Direction::kInlineBytes};
  }

  Result<std::vector<std::byte>> listen() override {
    place_ = loopback::open_place();
    std::string at = loopback::text(place_);
    auto bytes = std::as_bytes(std::span(at));
    return std::vector<std::byte>(bytes.begin(), bytes.end());
  }

  Status connect(std::span<const int> peers, std::span<const std::vector<std::byte>> addresses,
                 uint64_t deadline_ns) override {
    HFR_ASSIGN_OR_RETURN(auto met,
                         loopback::meet_peers(rank_, place_, peers, addresses, deadline_ns));
    for (size_t i = 0; i < peers.size(); ++i) {
      by_rank_[peers[i]] = i;
      endpoints_.push_back(
          std::make_unique<Endpoint>(peers[i], met[i].connection, met[i].side, landings_));
    }
    return Status();
  }

  void set_landing(uint32_t number, void* memory, size_t bytes) override {
    landings_.set(number, memory, bytes);
  }

  bool put(int peer, const void* src, size_t bytes, const PutTag& tag, Token token) override {
    auto found = by_rank_.find(peer);
    return found != by_rank_.end() && endpoints_[found->second]->put(src, bytes, tag, token);
  }

  size_t poll(std::span<TransportEvent> events) override {
    size_t count = 0;
    // Another endpoint first each time, so that a busy one does not keep the events to itself.
    first_ = endpoints_.empty() ? 0 : (first_ + 1) % endpoints_.size();
    for (size_t i = 0; i < endpoints_.size() && count < events.size(); ++i) {
      count += endpoints_[(first_ + i) % endpoints_.size()]->poll(events.subspan(count));
    }
    return count;
  }

  void sleep(uint64_t timeout_ns) override {
    if (place_.doorbell == nullptr) return;
    place_.doorbell->sleep(timeout_ns, [&] {
      return std::any_of(endpoints_.begin(), endpoints_.end(),
                         [](const auto& endpoint) { return endpoint->has_work(); });
    });
  }

  void stop() override {
    for (auto& endpoint : endpoints_) endpoint->close();
  }

  std::string peer_error(int peer) const override {
    auto found = by_rank_.find(peer);
    return found == by_rank_.end() ? "no connection with it" : endpoints_[found->second]->error();
  }

 private:
  const int rank_;
  loopback::Place place_;
  LandingTable landings_;
  std::vector<std::unique_ptr<Endpoint>> endpoints_;
  std::map<int, size_t> by_rank_;
  size_t first_ = 0;
};

}  // namespace

std::unique_ptr<Transport> make_loopback_transport(int rank) {
  return std::make_unique<LoopbackTransport>(rank);
}

}  // namespace hfr
