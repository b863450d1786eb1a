#include "transport/verbs/device_event.hpp"

namespace hfr::verbs {

DeviceEvent meaning(const ibv_async_event& event, int port) {
  auto of_port = [&](DeviceEvent what) {
    return event.element.port_num == port ? what : DeviceEvent::kNothing;
  };
  switch (event.event_type) {
    case IBV_EVENT_CQ_ERR:
      return DeviceEvent::kCompletionsLost;
    case IBV_EVENT_QP_FATAL:
    case IBV_EVENT_QP_REQ_ERR:
    case IBV_EVENT_QP_ACCESS_ERR:
    case IBV_EVENT_PATH_MIG_ERR:
      return DeviceEvent::kPairBroken;
    case IBV_EVENT_DEVICE_FATAL:
      return DeviceEvent::kDeviceLost;
    case IBV_EVENT_PORT_ERR:
      return of_port(DeviceEvent::kPortDown);
    case IBV_EVENT_LID_CHANGE:
      return of_port(DeviceEvent::kPortChanged);
    case IBV_EVENT_PORT_ACTIVE:
    case IBV_EVENT_GID_CHANGE:
    case IBV_EVENT_PKEY_CHANGE:
      return of_port(DeviceEvent::kWarning);
    case IBV_EVENT_SM_CHANGE:
    case IBV_EVENT_CLIENT_REREGISTER:
      return of_port(DeviceEvent::kNotice);
    default:
      return DeviceEvent::kNothing;
  }
}

}  // namespace hfr::verbs
