#include "transport/verbs/transport.hpp"

#include <algorithm>
#include <ctime>
#include <map>
#include <utility>

#include "base/text.hpp"
#include "transport/verbs/setup.hpp"
#include "transport/verbs/watcher.hpp"

namespace hfr {
namespace {

using verbs::Endpoint;
using verbs::Rail;
using verbs::Region;

// Small messages need no completions, and a look costs more than the rest of a turn; a connection
// that broke shows in them, though. Of turns that are not short.
constexpr uint64_t kTurnsBetweenLooks = 8;
constexpr unsigned kMostShortTurns = 8;
constexpr uint64_t kMendLookNs = 1'000'000;
constexpr uint64_t kWatchNs = 50'000'000;
constexpr uint64_t kShortNapNs = 50'000;
constexpr uint64_t kLongNapNs = 500'000;
constexpr uint64_t kSettleNs = 2'000'000'000;

class VerbsTransport : public Transport {
 public:
  explicit VerbsTransport(VerbsOptions options) : options_(std::move(options)) {
    shared_.mend_ns = options_.mend_ns;
    shared_.logger = options_.logger;
  }

  ~VerbsTransport() override {
    if (!endpoints_.empty() && !stopped_) settle();
    stop();
  }

  TransportCapabilities capabilities() const override {
    // Both sides mend a connection.
    return {.name = "verbs",
            .preferred_put_bytes = size_t{512} << 10,
            .max_inline_bytes = verbs::kMaxSmallBytes,
            .needs_attendance = true,
            .rdma = true};
  }

  const LinkMeters* link_meters() const override { return &shared_.links; }

  Status register_memory(void* memory, size_t bytes) override {
    HFR_RETURN_IF_ERROR(open_rails());
    HFR_ASSIGN_OR_RETURN(auto region, Region::make(shared_.rails, memory, bytes, true));
    shared_.regions.push_back(std::move(region));
    return Status();
  }

  void forget_memory(void* memory) override {
    std::erase_if(shared_.regions, [&](const auto& region) { return region->data() == memory; });
  }

  bool sends_in_place(const void* src, size_t bytes) const override {
    return bytes <= verbs::kMaxSmallBytes || shared_.region_of(src, bytes) != nullptr;
  }

  Result<std::vector<std::byte>> listen() override {
    HFR_RETURN_IF_ERROR(open_rails());
    HFR_ASSIGN_OR_RETURN(listener_, verbs::open_listener(options_));
    HFR_ASSIGN_OR_RETURN(HostPort address, local_address(listener_.get()));
    const std::string at = hfr::text(address);
    auto bytes = std::as_bytes(std::span(at));
    return std::vector<std::byte>(bytes.begin(), bytes.end());
  }

  Status connect(std::span<const int> peers, std::span<const std::vector<std::byte>> addresses,
                 uint64_t deadline_ns) override {
    auto connected =
        verbs::connect_peers(options_, shared_, listener_.get(), peers, addresses, deadline_ns);
    if (!connected.ok()) {
      shared_.table.clear();
      return connected.status();
    }
    endpoints_ = std::move(*connected);
    listener_.reset();
    std::vector<int> watched;
    for (size_t i = 0; i < endpoints_.size(); ++i) {
      by_rank_[endpoints_[i]->peer()] = i;
      watched.push_back(endpoints_[i]->control_fd());
    }
    for (const auto& rail : shared_.rails) watched.push_back(rail->context()->async_fd);
    return watcher_.start(std::move(watched));
  }

  void set_landing(uint32_t number, void* memory, size_t bytes) override {
    shared_.homes.set(number, memory, bytes, shared_.region_of(memory, bytes));
  }

  bool put(int peer, const void* src, size_t bytes, const PutTag& tag, Token token) override {
    auto found = by_rank_.find(peer);
    return found != by_rank_.end() && !stopped_ &&
           endpoints_[found->second]->put(src, bytes, tag, token);
  }

  size_t poll(std::span<TransportEvent> events) override {
    if (stopped_ || endpoints_.empty()) return 0;
    // Most turns of a rank that waits find nothing: they end here.
    const bool may_be_short = ++num_short_turns_ < kMostShortTurns;
    if (may_be_short && quiet()) return 0;
    // Another endpoint first each time, so that a busy one does not keep the events to itself.
    if (++first_ >= endpoints_.size()) first_ = 0;
    size_t count = for_each_endpoint(events, [](Endpoint& e, auto room) { return e.take(room); });
    // What is here is reported at once; all else waits for a turn that finds nothing, but not long.
    if (count > 0 && may_be_short) return count;
    num_short_turns_ = 0;
    look_around();
    if (++turn_ % kTurnsBetweenLooks == 0 || awaits_completion()) take_completions();
    return count + for_each_endpoint(events.subspan(count),
                                     [](Endpoint& e, auto room) { return e.move_on(room); });
  }

  void watch(uint64_t now_ns) override {
    if (stopped_ || now_ns < next_watch_ns_) return;
    next_watch_ns_ = now_ns + kWatchNs;
    take_completions();  // what came in while nobody looked is no silence
    for (auto& endpoint : endpoints_) endpoint->watch(now_ns);
  }

  // What arrives in memory wakes nobody: looks at it, and naps.
  void sleep(uint64_t timeout_ns) override {
    const uint64_t until = monotonic_ns() + timeout_ns;
    for (uint64_t nap = kShortNapNs; !has_work(); nap = std::min(2 * nap, kLongNapNs)) {
      const uint64_t now = monotonic_ns();
      watch(now);
      if (now >= until) return;
      const auto ns = static_cast<long>(std::min(nap, until - now));
      timespec duration{0, ns};
      nanosleep(&duration, nullptr);
    }
  }

  void stop() override {
    if (stopped_) return;
    stopped_ = true;
    watcher_.stop();
    for (auto& endpoint : endpoints_) endpoint->close();
  }

  std::string peer_error(int peer) const override {
    auto found = by_rank_.find(peer);
    return found == by_rank_.end() ? "no connection with it" : endpoints_[found->second]->error();
  }

 private:
  Status open_rails() {
    if (!shared_.rails.empty()) return Status();
    if (options_.rails.empty() || options_.rails.size() > kMaxVerbsRails) {
      return Status(Code::kInvalidArgument, cat("verbs wants 1 to ", kMaxVerbsRails, " rails, not ",
                                                options_.rails.size()));
    }
    std::vector<std::unique_ptr<Rail>> rails;
    for (const VerbsRail& info : options_.rails) {
      HFR_ASSIGN_OR_RETURN(auto rail, Rail::open(info, options_.gid_index));
      rails.push_back(std::move(rail));
    }
    shared_.rails = std::move(rails);
    return Status();
  }

  // `fill` puts events into the room it is given and returns how many.
  template <typename Fill>
  size_t for_each_endpoint(std::span<TransportEvent> events, Fill fill) {
    size_t count = 0;
    size_t idx = first_;
    for (size_t i = 0; i < endpoints_.size(); ++i) {
      count += fill(*endpoints_[idx], events.subspan(count));
      if (++idx == endpoints_.size()) idx = 0;
    }
    return count;
  }

  bool needs_mending() const {
    return std::any_of(endpoints_.begin(), endpoints_.end(),
                       [](const auto& endpoint) { return endpoint->needs_mending(); });
  }

  // Rare events. Two loads when there are none.
  void look_around() {
    const bool raised = watcher_.raised();
    if (!raised && !shared_.alarm) return;
    const uint64_t now = monotonic_ns();
    if (!raised && now < next_look_ns_) return;
    next_look_ns_ = now + kMendLookNs;
    if (raised) {
      for (size_t i = 0; i < shared_.rails.size(); ++i)
        tell_all(i, shared_.rails[i]->take_events(options_.logger));
    }
    for (auto& endpoint : endpoints_) endpoint->attend(now);
    shared_.alarm = needs_mending();
    if (raised) watcher_.rearm();
  }

  void tell_all(size_t rail_idx, const Rail::News& news) {
    for (auto& endpoint : endpoints_) endpoint->hear(rail_idx, news);
  }

  bool quiet() const {
    if (watcher_.raised() || shared_.alarm) return false;
    for (const auto& endpoint : endpoints_) {
      if (!endpoint->quiet()) return false;
    }
    return true;
  }

  bool awaits_completion() const {
    return std::any_of(endpoints_.begin(), endpoints_.end(),
                       [](const auto& endpoint) { return endpoint->awaits_completion(); });
  }

  void take_completions() {
    for (size_t i = 0; i < shared_.rails.size(); ++i) {
      Rail& rail = *shared_.rails[i];
      if (!verbs::poll_completions(*rail.completions(), shared_.table))
        tell_all(i, rail.lose_completions(options_.logger));
    }
  }

  bool has_work() {
    if (stopped_ || endpoints_.empty()) return false;
    if (watcher_.raised() || shared_.alarm) return true;
    take_completions();
    return std::any_of(endpoints_.begin(), endpoints_.end(),
                       [](const auto& endpoint) { return endpoint->has_work(); });
  }

  // Waits until what was reported done is acknowledged: the peer gets it, though we end.
  void settle() {
    const uint64_t until = monotonic_ns() + kSettleNs;
    while (monotonic_ns() < until) {
      look_around();
      take_completions();
      bool settled = true;
      for (auto& endpoint : endpoints_) settled &= endpoint->settle();
      if (settled) return;
    }
  }

  VerbsOptions options_;
  UniqueFd listener_;
  verbs::Shared shared_;
  std::vector<std::unique_ptr<Endpoint>> endpoints_;
  std::map<int, size_t> by_rank_;
  verbs::Watcher watcher_;
  size_t first_ = 0;
  uint64_t turn_ = 0;
  unsigned num_short_turns_ = 0;
  uint64_t next_look_ns_ = 0;
  uint64_t next_watch_ns_ = 0;
  bool stopped_ = false;
};

}  // namespace

std::unique_ptr<Transport> make_verbs_transport(VerbsOptions options) {
  return std::make_unique<VerbsTransport>(std::move(options));
}

}  // namespace hfr
