// NodeMemory: the memory that a node's ranks share, and how they come by it.
//
// The lowest local rank makes two memfds, staging and heap, and hands them over a local socket
// (abstract name, proof of membership first). A rank in the same process gets the very same
// mapping, so that threads share addresses; every other process maps the descriptors itself.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "base/shared_memory.hpp"
#include "ports/transport.hpp"

namespace hfr {

// Lives as long as any rank of the process uses it.
class NodeMemory {
 public:
  NodeMemory(SharedMemory staging, UniqueFd heap_fd, size_t heap_bytes)
      : staging_(std::move(staging)), heap_fd_(std::move(heap_fd)), heap_bytes_(heap_bytes) {}

  const SharedMemory& staging() const { return staging_; }
  int heap_fd() const { return heap_fd_.get(); }
  size_t heap_bytes() const { return heap_bytes_; }
  // Mapped on first use. Any thread.
  Result<const SharedMemory*> heap();
  // Something that the process' ranks share beside the mapping (its registration with a GPU's
  // driver), made by the first who asks; it lives as long as somebody holds it. Any thread.
  using Maker = std::function<Result<std::shared_ptr<void>>()>;
  Result<std::shared_ptr<void>> once(const Maker& make);
  // Lives as long as this. Any thread.
  void keep(std::shared_ptr<void> what);

 private:
  SharedMemory staging_;
  UniqueFd heap_fd_;
  const size_t heap_bytes_;
  std::mutex mutex_;
  SharedMemory heap_;
  std::weak_ptr<void> companion_;
  std::vector<std::shared_ptr<void>> kept_;
};

Result<std::shared_ptr<NodeMemory>> make_node_memory(size_t staging_bytes, size_t heap_bytes);

// A socket at which the node's lowest rank hands the memory out. Every rank opens one before it is
// known who that is.
class MemoryDoor {
 public:
  static Result<MemoryDoor> open();
  const std::string& name() const { return name_; }

  // Hands the memory to `ranks`. Others are turned away; the sentence at the deadline names who did
  // not come.
  Status hand_out(const std::shared_ptr<NodeMemory>& memory, std::set<int> ranks,
                  const Handshake& handshake, uint64_t deadline_ns);

 private:
  MemoryDoor(UniqueFd listener, std::string name)
      : listener_(std::move(listener)), name_(std::move(name)) {}

  UniqueFd listener_;
  std::string name_;
};

// The other local ranks' side: asks at the door called `name`, which is `door_rank`'s.
Result<std::shared_ptr<NodeMemory>> fetch_node_memory(const std::string& name, int door_rank,
                                                      size_t staging_bytes, size_t heap_bytes,
                                                      const Handshake& handshake,
                                                      uint64_t deadline_ns);

}  // namespace hfr
