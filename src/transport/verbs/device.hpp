// Rail: one port of one device, opened.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "transport/verbs/library.hpp"
#include "transport/verbs/transport.hpp"
#include "transport/verbs/wire.hpp"

namespace hfr::verbs {

class Rail {
 public:
  // `gid_index`: the only GID that is offered; -1: all.
  static Result<std::unique_ptr<Rail>> open(const VerbsRail& info, int gid_index);
  ~Rail();
  Rail(const Rail&) = delete;
  Rail& operator=(const Rail&) = delete;

  const Library& library() const { return library_; }
  const VerbsRail& info() const { return info_; }
  const RailCard& card() const { return card_; }
  uint32_t max_message_bytes() const { return max_message_bytes_; }
  ibv_context* context() const { return context_; }
  ibv_pd* domain() const { return domain_; }
  ibv_cq* completions() const { return completions_; }

  // Room for the completions of so many connections, as far as the device, or `most`, has it. Once,
  // before the first queue pair.
  Status make_completion_queue(size_t num_connections, size_t most, const Logger& logger);
  // The port carries connections now; when not, why. Notes its LID, which may have changed. A
  // system call.
  Status look_at_port();
  // The port still has that GID. A system call.
  bool has_gid(const Gid& gid) const;

  // What happened to the connections over this port; in words, where something did.
  struct News {
    std::string all_broke;
    std::vector<std::pair<const ibv_qp*, std::string>> broke;
  };
  // Takes the device's events, so that its descriptor is quiet again. Never blocks.
  News take_events(const Logger& logger);
  // The completion queue is of no use any more: connections that are opened from now on have a new
  // one. The old one stays as long as queue pairs hold it. What `take_events` would say.
  News lose_completions(const Logger& logger);

 private:
  Rail(const Library& library, VerbsRail info) : library_(library), info_(std::move(info)) {}
  Status read_port(int gid_index);
  ibv_cq* create_completion_queue() const;

  const Library& library_;
  const VerbsRail info_;
  RailCard card_;
  bool infiniband_ = false;
  uint32_t max_message_bytes_ = 0;
  ibv_context* context_ = nullptr;
  ibv_pd* domain_ = nullptr;
  ibv_cq* completions_ = nullptr;
  size_t completion_entries_ = 0;
  std::vector<ibv_cq*> lost_completions_;  // of queue pairs that are not destroyed yet
  std::string lost_;                       // why it will never work again; empty: it may
};

// Room in a completion queue for so many connections, on a device whose queues hold at most
// `most`. Pure.
size_t completion_entries(size_t num_connections, size_t most);

}  // namespace hfr::verbs
