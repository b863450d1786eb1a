#include "base/wait_graph.hpp"

#include <algorithm>
#include <map>
#include <tuple>
#include <vector>

namespace hfr {
namespace {

int strength(WaitStage stage) {
  switch (stage) {
    case WaitStage::kStream:
      return 3;
    case WaitStage::kStarting:
    case WaitStage::kAddingPart:
    case WaitStage::kCopyIn:
    case WaitStage::kCopyOut:
    case WaitStage::kAdding:
    case WaitStage::kGroupPart:
    case WaitStage::kCarrying:
      return 2;
    case WaitStage::kPartialSum:
    case WaitStage::kFinalValue:
    case WaitStage::kTaking:
      return 1;
    default:
      return 0;
  }
}

bool tells_more(const WaitEdge& a, const WaitEdge& b) {
  auto order = [](const WaitEdge& edge) {
    return std::make_tuple(edge.operation, edge.chunk, -strength(edge.stage), edge.from);
  };
  return order(a) < order(b);
}

// At most one edge from each rank: each path is a line into a rank without one, or into a circle.
class Graph {
 public:
  explicit Graph(std::span<const WaitEdge> edges) : edges_(edges) {
    for (size_t i = 0; i < edges.size(); ++i) {
      if (edges[i].to >= 0) edge_of_.try_emplace(edges[i].from, i);
    }
  }

  std::optional<size_t> find_holdup() {
    std::map<int, int> num_held_up;  // by the rank at which they end
    for (const auto& [rank, edge] : edge_of_) ++num_held_up[end_of(rank)];
    int cause = -1;
    int most = 0;
    for (const auto& [rank, count] : num_held_up) {
      if (count > most) cause = rank;
      most = std::max(most, count);
    }
    if (const auto circle = of_circle_.find(cause); circle != of_circle_.end())
      return circle->second;
    std::optional<size_t> best;
    for (const auto& [rank, edge] : edge_of_) {
      if (edges_[edge].to != cause) continue;
      if (!best || tells_more(edges_[edge], edges_[*best])) best = edge;
    }
    return best;
  }

 private:
  static constexpr int kOnTheWay = -1;

  // Each rank's edge is followed once.
  int end_of(int rank) {
    std::vector<int> path;
    int at = rank;
    while (edge_of_.contains(at) && !ends_.contains(at)) {
      ends_[at] = kOnTheWay;
      path.push_back(at);
      at = next(at);
    }
    int end = at;
    if (const auto known = ends_.find(at); known != ends_.end())
      end = known->second == kOnTheWay ? end_of_circle(at) : known->second;
    for (int on_path : path) ends_[on_path] = end;
    return ends_[rank];
  }

  int end_of_circle(int start) {
    size_t best = edge_of_.at(start);
    for (int at = next(start); at != start; at = next(at)) {
      if (tells_more(edges_[edge_of_.at(at)], edges_[best])) best = edge_of_.at(at);
    }
    of_circle_[edges_[best].to] = best;
    return edges_[best].to;
  }

  int next(int rank) const { return edges_[edge_of_.at(rank)].to; }

  std::span<const WaitEdge> edges_;
  std::map<int, size_t> edge_of_;  // by the rank that waits
  std::map<int, int> ends_;        // by rank, of those that were followed
  // By the rank that holds a circle up: the wait that tells so.
  std::map<int, size_t> of_circle_;
};

}  // namespace

std::optional<size_t> find_holdup(std::span<const WaitEdge> edges) {
  return Graph(edges).find_holdup();
}

}  // namespace hfr
