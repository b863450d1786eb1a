// What a device's asynchronous events mean for the connections over one of its ports. Pure.
#pragma once

#include <infiniband/verbs.h>

#include <cstdint>

namespace hfr::verbs {

enum class DeviceEvent : uint8_t {
  kNothing,          // of another port, or of something that completions tell as well
  kNotice,           // connections work on, or break and say why
  kWarning,          // the same, but somebody should look
  kPairBroken,       // one queue pair, which may never say so by a completion
  kCompletionsLost,  // a completion queue is of no use any more, nor what reports to it
  kPortDown,
  kPortChanged,  // has other addresses: what was connected by the old ones cannot be reached
  kDeviceLost,   // nothing of it will ever work again in this process
};

DeviceEvent meaning(const ibv_async_event& event, int port);

}  // namespace hfr::verbs
