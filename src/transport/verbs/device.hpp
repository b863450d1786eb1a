// Rail: one port of one device, opened.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

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
  bool is_infiniband() const { return infiniband_; }
  uint32_t max_message_bytes() const { return max_message_bytes_; }
  ibv_context* context() const { return context_; }
  ibv_pd* domain() const { return domain_; }
  ibv_cq* completions() const { return completions_; }

  // Room for the completions of so many connections, as far as the device has it. Once, before the
  // first queue pair.
  Status make_completion_queue(size_t num_connections, const Logger& logger);
  // Asks the device. A system call.
  bool port_is_up() const;
  // Takes the device's events, so that its descriptor is quiet again; true when this port went
  // down. Never blocks.
  bool take_events(const Logger& logger);

 private:
  Rail(const Library& library, VerbsRail info) : library_(library), info_(std::move(info)) {}
  Status read_port(int gid_index);

  const Library& library_;
  const VerbsRail info_;
  RailCard card_;
  bool infiniband_ = false;
  uint32_t max_message_bytes_ = 0;
  ibv_context* context_ = nullptr;
  ibv_pd* domain_ = nullptr;
  ibv_cq* completions_ = nullptr;
};

// Room in a completion queue for so many connections, on a device whose queues hold at most
// `most`. Pure.
size_t completion_entries(size_t num_connections, size_t most);

}  // namespace hfr::verbs
