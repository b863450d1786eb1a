#include "transport/verbs/links.hpp"

#include <algorithm>
#include <cstring>
#include <string>

namespace hfr::verbs {
namespace {

// A connection that is not joined yet, on its way through its pairs of rails. Both sides take the
// same pairs in the same order, since each learns whether the other could.
struct Attempt {
  Joining& peer;
  LinkSetUp& link;
  uint32_t epoch = 0;
  Status mine;           // of this epoch
  std::string failures;  // of all before

  const RailPair& pair() const { return link.pairs[epoch]; }
};

std::string way_text(const Attempt& attempt, const Shared& shared) {
  const RailPair& pair = attempt.pair();
  const Agreement& agreement = attempt.peer.agreement;
  const Path path = agreement.path(pair, shared.rails);
  const RailCard& theirs = agreement.their_rails[pair.theirs];
  return cat("verbs to rank ", attempt.peer.rank, ": ", shared.rails[pair.mine]->info().text(), ' ',
             pair.gids.mine.text(), " to ", theirs.device.data(), " port ", theirs.port, ' ',
             pair.gids.theirs.text(), ", MTU ", path.mtu, ", service level ",
             int{path.service_level}, ", traffic class ", int{path.traffic_class});
}

Status open(Attempt& attempt, uint64_t deadline_ns) {
  Connection& connection = *attempt.link.connection;
  attempt.mine = connection.open(attempt.pair().mine, attempt.epoch);
  LinkCard card;
  if (attempt.mine.ok()) {
    card = connection.card();
  } else {
    card.word = LinkWord::kGivenUp;
  }
  return send_card(attempt.peer, card, deadline_ns);
}

Status join(Attempt& attempt, const Shared& shared, uint64_t deadline_ns) {
  LinkCard theirs;
  HFR_RETURN_IF_ERROR(receive_card(attempt.peer, theirs, deadline_ns));
  // Where the other side has no queue pair, its verdict says why.
  if (attempt.mine.ok() && theirs.word == LinkWord::kOpened) {
    attempt.mine = attempt.link.connection->join(
        theirs, attempt.peer.agreement.path(attempt.pair(), shared.rails));
  }
  Verdict verdict;
  const std::string& why_not = attempt.mine.message();
  if (!attempt.mine.ok()) {
    std::memcpy(verdict.why_not.data(), why_not.data(),
                std::min(why_not.size(), verdict.why_not.size() - 1));
  }
  return send_card(attempt.peer, verdict, deadline_ns);
}

// Whether both sides have joined. When not, the attempt has moved to its next pair.
Result<bool> conclude(const VerbsOptions& options, Shared& shared, Attempt& attempt,
                      uint64_t deadline_ns) {
  Verdict theirs;
  HFR_RETURN_IF_ERROR(receive_card(attempt.peer, theirs, deadline_ns));
  theirs.why_not.back() = 0;
  const std::string way = way_text(attempt, shared);
  const std::string their_why = theirs.why_not.data();
  if (attempt.mine.ok() && their_why.empty()) {
    options.logger.log(LogLevel::kInfo, way);
    const int mtu = attempt.peer.agreement.path(attempt.pair(), shared.rails).mtu;
    if (options.mtu > mtu) {
      options.logger.log(LogLevel::kWarn, "HFREDUCE_IB_MTU=", options.mtu,
                         " is more than the ports or rank ", attempt.peer.rank, " allow: ", way);
    }
    return true;
  }
  const std::string failure =
      cat(way, ": ",
          attempt.mine.ok() ? cat("rank ", attempt.peer.rank, " says: ", their_why)
                            : attempt.mine.message());
  attempt.failures += cat(attempt.failures.empty() ? "" : "; ", failure);
  attempt.link.connection->close(shared.table);
  if (++attempt.epoch == attempt.link.pairs.size())
    return Status(Code::kSystemError, attempt.failures);
  options.logger.log(LogLevel::kWarn, failure, "; trying the next pair of rails");
  return false;
}

}  // namespace

Status make_links(Shared& shared, std::span<Joining> peers) {
  for (Joining& peer : peers) {
    for (size_t i = 0; i < peer.links.size(); ++i) {
      const auto idx = static_cast<uint16_t>(shared.table.size());
      HFR_ASSIGN_OR_RETURN(
          peer.links[i].connection,
          Connection::make(shared.rails, shared.alarm, idx, static_cast<uint32_t>(i)));
      shared.table.push_back(peer.links[i].connection.get());
    }
  }
  return Status();
}

// Each step goes to all before the next begins; cards are small enough for a socket's buffer.
Status join_links(const VerbsOptions& options, Shared& shared, std::span<Joining> peers,
                  uint64_t deadline_ns) {
  std::vector<Attempt> attempts;
  for (Joining& peer : peers) {
    for (LinkSetUp& link : peer.links) attempts.push_back({peer, link, 0, {}, {}});
  }
  while (!attempts.empty()) {
    for (Attempt& attempt : attempts) HFR_RETURN_IF_ERROR(open(attempt, deadline_ns));
    for (Attempt& attempt : attempts) HFR_RETURN_IF_ERROR(join(attempt, shared, deadline_ns));
    std::vector<Attempt> failed;
    for (Attempt& attempt : attempts) {
      HFR_ASSIGN_OR_RETURN(const bool joined, conclude(options, shared, attempt, deadline_ns));
      if (joined) {
        attempt.link.connection->start();
      } else {
        failed.push_back(attempt);
      }
    }
    attempts.swap(failed);
  }
  return Status();
}

}  // namespace hfr::verbs
