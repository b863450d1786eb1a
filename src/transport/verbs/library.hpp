// Library: libibverbs, loaded at run time, so that one binary runs with and without it.
//
// What the header defines inline over a context's operations (poll_cq, post_send, post_recv) is
// used as it is; what the library exports is looked up with its symbol version, as names alone
// would find the oldest.
#pragma once

#include <infiniband/verbs.h>

#include <string>

#include "base/status.hpp"

namespace hfr::verbs {

// Without the prefix ibv_, since the header makes macros of some names.
#define HFR_VERBS_FUNCTIONS(X) \
  X(get_device_list)           \
  X(free_device_list)          \
  X(get_device_name)           \
  X(open_device)               \
  X(close_device)              \
  X(query_device)              \
  X(query_port)                \
  X(alloc_pd)                  \
  X(dealloc_pd)                \
  X(reg_mr)                    \
  X(dereg_mr)                  \
  X(create_cq)                 \
  X(destroy_cq)                \
  X(create_qp)                 \
  X(modify_qp)                 \
  X(destroy_qp)                \
  X(get_async_event)           \
  X(ack_async_event)           \
  X(event_type_str)            \
  X(wc_status_str)

struct Library {
#define HFR_DECLARE(name) decltype(&::ibv_##name) name = nullptr;
  HFR_VERBS_FUNCTIONS(HFR_DECLARE)
#undef HFR_DECLARE
  // Knows optional access flags; null before rdma-core 28.
  decltype(&::ibv_reg_mr_iova2) reg_mr_iova2 = nullptr;

  // Registers for local and remote writing; `relaxed` asks for relaxed ordering, where it is
  // offered. Null: errno says why.
  ibv_mr* register_memory(ibv_pd* domain, void* memory, size_t bytes, bool relaxed) const;
};

Result<Library> load_library(const char* name);

// The process' library, loaded when first asked for; or why there is none.
const Result<Library>& verbs_library();

}  // namespace hfr::verbs
