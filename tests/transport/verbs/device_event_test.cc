#include "transport/verbs/device_event.hpp"

#include <gtest/gtest.h>

namespace hfr::verbs {
namespace {

constexpr int kPort = 2;

DeviceEvent of_port(ibv_event_type type, int port = kPort) {
  ibv_async_event event{};
  event.event_type = type;
  event.element.port_num = port;
  return meaning(event, kPort);
}

TEST(DeviceEvent, PortsAreToldApart) {
  struct Case {
    ibv_event_type type;
    DeviceEvent what;
  };
  for (const Case& c : {Case{IBV_EVENT_PORT_ERR, DeviceEvent::kPortDown},
                        Case{IBV_EVENT_LID_CHANGE, DeviceEvent::kPortChanged},
                        Case{IBV_EVENT_PORT_ACTIVE, DeviceEvent::kWarning},
                        Case{IBV_EVENT_GID_CHANGE, DeviceEvent::kWarning},
                        Case{IBV_EVENT_PKEY_CHANGE, DeviceEvent::kWarning},
                        Case{IBV_EVENT_SM_CHANGE, DeviceEvent::kNotice},
                        Case{IBV_EVENT_CLIENT_REREGISTER, DeviceEvent::kNotice}}) {
    EXPECT_EQ(of_port(c.type), c.what) << c.type;
    EXPECT_EQ(of_port(c.type, kPort + 1), DeviceEvent::kNothing) << c.type;
  }
}

TEST(DeviceEvent, AQueuePairMayBreakWithoutACompletion) {
  for (ibv_event_type type : {IBV_EVENT_QP_FATAL, IBV_EVENT_QP_REQ_ERR, IBV_EVENT_QP_ACCESS_ERR,
                              IBV_EVENT_PATH_MIG_ERR}) {
    EXPECT_EQ(of_port(type), DeviceEvent::kPairBroken) << type;
  }
}

// A pointer, which must not be taken for a port's number.
TEST(DeviceEvent, WhatIsOfNoPortCountsForAll) {
  ibv_async_event event{};
  event.element.cq = reinterpret_cast<ibv_cq*>(uintptr_t{kPort + 1});
  event.event_type = IBV_EVENT_CQ_ERR;
  EXPECT_EQ(meaning(event, kPort), DeviceEvent::kCompletionsLost);
  event.event_type = IBV_EVENT_DEVICE_FATAL;
  EXPECT_EQ(meaning(event, kPort), DeviceEvent::kDeviceLost);
}

TEST(DeviceEvent, TheRestIsInOrder) {
  for (ibv_event_type type : {IBV_EVENT_COMM_EST, IBV_EVENT_SQ_DRAINED, IBV_EVENT_PATH_MIG,
                              IBV_EVENT_QP_LAST_WQE_REACHED}) {
    EXPECT_EQ(of_port(type), DeviceEvent::kNothing) << type;
  }
}

}  // namespace
}  // namespace hfr::verbs
