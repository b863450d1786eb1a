// How fast a link is against itself: two sides in this process, joined by the device.
#include <algorithm>
#include <thread>

#include "base/net.hpp"
#include "base/text.hpp"
#include "bootstrap/auth.hpp"
#include "comm/transport_setup.hpp"
#include "tools/doctor_net.hpp"
#include "tools/link_measure.hpp"
#include "tools/port_link.hpp"
#include "transport/tcp/transport.hpp"
#include "transport/verbs/transport.hpp"

namespace hfr::tools {
namespace {

constexpr uint64_t kPatienceNs = 20'000'000'000;
constexpr double kMeasureNs = 200e6;  // about how long a measurement takes
constexpr size_t kPutBytes = size_t{1} << 20;
constexpr size_t kSmallBytes = 8;
constexpr int kDepth = 16;
constexpr int kFirstTrain = 16;
constexpr int kLongestTrain = 4096;
constexpr int kFirstRoundTrips = 16;
constexpr int kMostRoundTrips = 1000;

Result<std::unique_ptr<Transport>> make_transport(const Link& link, const Config& config,
                                                  const std::string& host, int side,
                                                  const Handshake& handshake) {
  if (link.kind == Link::Kind::kTcp) {
    return make_tcp_transport({.bind_host = host,
                               .rank = side,
                               .handshake = handshake,
                               .congestion = config.tcp_congestion,
                               .connections = static_cast<int>(config.tcp_connections),
                               .logger = {}});
  }
  HFR_ASSIGN_OR_RETURN(std::vector<VerbsRail> rails,
                       find_verbs_rails(cat(link.name, ":", link.port), {}));
  VerbsOptions options{
      .bind_host = host, .rank = side, .handshake = handshake, .rails = {}, .logger = {}};
  set_verbs_options(config, rails, 0, options);
  return make_verbs_transport(std::move(options));
}

// Both sides of a link, each driven by a thread of its own.
class Pair {
 public:
  Status open(const Link& link, const Config& config, const std::string& host) {
    for (int side = 0; side < 2; ++side) {
      HFR_ASSIGN_OR_RETURN(auto transport,
                           make_transport(link, config, host, side, handshakes_[side]));
      HFR_ASSIGN_OR_RETURN(sides_[side], PortLink::make(std::move(transport), 1 - side, kPutBytes));
    }
    return connect_sides(sides_[0]->transport(), sides_[1]->transport(),
                         monotonic_ns() + kPatienceNs);
  }

  Result<LinkSpeed> measure() {
    LinkSpeed speed;
    const uint64_t begin = monotonic_ns();
    HFR_RETURN_IF_ERROR(latency_us(kFirstRoundTrips).status());
    const auto first_ns = static_cast<double>(monotonic_ns() - begin);
    HFR_ASSIGN_OR_RETURN(speed.half_round_trip_us,
                         latency_us(as_many_as_fit(kFirstRoundTrips, first_ns, kMostRoundTrips)));
    HFR_ASSIGN_OR_RETURN(double elapsed_ns, train_ns(kFirstTrain));
    const int count = as_many_as_fit(kFirstTrain, elapsed_ns, kLongestTrain);
    HFR_ASSIGN_OR_RETURN(elapsed_ns, train_ns(count));
    speed.put_mbytes_per_s = static_cast<double>(kPutBytes) * count / elapsed_ns * 1e3;
    return speed;
  }

 private:
  template <typename Body>
  void run(const Body& body) {
    std::thread other([&] { body(*sides_[1], 1); });
    body(*sides_[0], 0);
    other.join();
  }

  // When the first few took `elapsed_ns`: a slow link, or a busy machine, is asked for less.
  static int as_many_as_fit(int first, double elapsed_ns, int most) {
    return static_cast<int>(std::clamp<double>(first * kMeasureNs / elapsed_ns, first, most));
  }

  Status failed() const {
    for (const auto& side : sides_) {
      if (!side->error().empty()) return Status(Code::kRemoteError, side->error());
    }
    return Status(Code::kTimeout, "it took too long");
  }

  Result<double> latency_us(int count) {
    bool ok[2];
    std::vector<double> times[2];
    run([&](PortLink& link, int side) {
      ok[side] = measure_latency(link, side, kSmallBytes, count, monotonic_ns() + kPatienceNs,
                                 times[side]);
    });
    if (!ok[0] || !ok[1]) return failed();
    std::sort(times[0].begin(), times[0].end());
    return times[0][times[0].size() / 2] / 1e3;
  }

  Result<double> train_ns(int count) {
    bool ok[2];
    double elapsed_ns[2] = {};
    run([&](PortLink& link, int side) {
      ok[side] = measure_train(link, side, kPutBytes, count, kDepth, monotonic_ns() + kPatienceNs,
                               elapsed_ns[side]);
    });
    if (!ok[0] || !ok[1]) return failed();
    return elapsed_ns[0];
  }

  const Secret secret_ = Secret::random();
  const SecretHandshake handshakes_[2] = {{secret_, "doctor", 0}, {secret_, "doctor", 1}};
  std::unique_ptr<PortLink> sides_[2];
};

Result<LinkSpeed> measure(const Link& link, const Config& config, const std::string& host) {
  Pair pair;
  HFR_RETURN_IF_ERROR(pair.open(link, config, host));
  return pair.measure();
}

}  // namespace

void measure_links(NetReport& report, const Config& config, const std::string& host) {
  for (Link& link : report.links) {
    const bool verbs = link.kind == Link::Kind::kVerbs;
    if (!link.up || link.addresses.empty()) {
      link.not_measured = link.up ? "it has no address" : "it is not up";
      continue;
    }
    auto speed = measure(link, config, verbs ? host : link.addresses[0].address);
    if (speed.ok()) {
      link.speed = *speed;
    } else {
      link.not_measured = speed.status().message();
    }
  }
}

}  // namespace hfr::tools
