// A capture's state: what the stream's next entry would depend on. The driver's functions for it
// changed with CUDA 13.
#pragma once

#include <vector>

#include "device/cuda/driver.hpp"

namespace hfr {

// `last`: the nodes that the stream's next one depends on.
inline CUresult capture_state(const Driver& driver, CUstream stream, CUgraph& graph,
                              std::vector<CUgraphNode>& last) {
  CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
  cuuint64_t id = 0;
  const CUgraphNode* nodes = nullptr;
  size_t num_nodes = 0;
#if CUDA_VERSION >= 13000
  const CUgraphEdgeData* edges = nullptr;  // all that comes next waits for the whole of each node
  const CUresult result =
      driver.cuStreamGetCaptureInfo(stream, &status, &id, &graph, &nodes, &edges, &num_nodes);
#else
  const CUresult result =
      driver.cuStreamGetCaptureInfo(stream, &status, &id, &graph, &nodes, &num_nodes);
#endif
  if (result == CUDA_SUCCESS) last.assign(nodes, nodes + num_nodes);
  return result;
}

inline CUresult set_capture_end(const Driver& driver, CUstream stream,
                                std::vector<CUgraphNode>& last) {
#if CUDA_VERSION >= 13000
  return driver.cuStreamUpdateCaptureDependencies(stream, last.data(), nullptr, last.size(),
                                                  CU_STREAM_SET_CAPTURE_DEPENDENCIES);
#else
  return driver.cuStreamUpdateCaptureDependencies(stream, last.data(), last.size(),
                                                  CU_STREAM_SET_CAPTURE_DEPENDENCIES);
#endif
}

}  // namespace hfr
