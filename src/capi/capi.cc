// The C interface: checks arguments, keeps last errors, and lets nothing escape but a status.
#include <cstring>
#include <new>

#include "base/signature.hpp"
#include "base/text.hpp"
#include "base/thread.hpp"
#include "capi/handle.hpp"
#include "capi/metrics.hpp"
#include "hfreduce/hfreduce.h"

namespace {

using hfr::cat;
using hfr::Code;
using hfr::Status;

static_assert(static_cast<int>(Code::kInternalError) == HFR_INTERNAL_ERROR);
static_assert(static_cast<int>(Code::kCorrupted) == HFR_CORRUPTED);
static_assert(static_cast<int>(Code::kInProgress) == HFR_IN_PROGRESS);
static_assert(static_cast<int>(Code::kTimeout) == HFR_TIMEOUT);
static_assert(static_cast<int>(hfr::DType::kFloat8E5M2) == HFR_FLOAT8_E5M2);
static_assert(static_cast<int>(hfr::DType::kFloat32) == HFR_FLOAT32);
static_assert(static_cast<int>(hfr::Op::kAvg) == HFR_AVG);
static_assert(hfr::kNumDTypes == HFR_NUM_DTYPES && hfr::kNumOps == HFR_NUM_OPS + 1);

// The failure of this thread's last call that had no communicator, and the text handed out last.
thread_local std::string t_last_error;
thread_local std::string t_handed_out;

hfr_status_t code_of(const Status& status) { return static_cast<hfr_status_t>(status.code()); }

hfr_status_t keep(hfr_comm_t comm, const Status& status) {
  if (status.ok()) return HFR_SUCCESS;
  if (comm == nullptr) {
    t_last_error = status.message();
  } else {
    comm->keep_error(status.message());
  }
  return code_of(status);
}

Status invalid(const std::string& sentence) { return Status(Code::kInvalidArgument, sentence); }

// Runs `body`, which returns a Status, and turns whatever it throws into one.
template <typename Body>
hfr_status_t guarded(hfr_comm_t comm, Body&& body) {
  try {
    return keep(comm, body());
  } catch (const std::exception&) {
    return keep(comm, hfr::status_of_exception());
  }
}

// As above for calls on a communicator: `body` gets the Communicator once the handle proves usable.
template <typename Body>
hfr_status_t on_comm(hfr_comm_t comm, const char* call, Body&& body) {
  if (comm == nullptr || !comm->is_valid()) {
    return guarded(nullptr, [&] { return invalid(cat(call, ": comm is not a communicator")); });
  }
  return guarded(comm, [&]() -> Status {
    if (!comm->is_ready()) HFR_RETURN_IF_ERROR(comm->ready_status(call));
    return body(comm->communicator());
  });
}

// For calls that one that is suspended takes, too.
template <typename Body>
hfr_status_t on_made(hfr_comm_t comm, const char* call, Body&& body) {
  if (comm == nullptr || !comm->is_valid()) {
    return guarded(nullptr, [&] { return invalid(cat(call, ": comm is not a communicator")); });
  }
  return guarded(comm, [&]() -> Status {
    HFR_RETURN_IF_ERROR(comm->made_status(call));
    return body();
  });
}

Status check_buffers(const void* sendbuf, const void* recvbuf, size_t count, size_t element) {
  if (count == 0) return Status();
  if (count > hfr::kMaxCount) {  // 48 bits: no product below overflows
    return invalid(cat("hfr_all_reduce: count ", count, " of ", element,
                       "-byte elements is more than memory can hold"));
  }
  if (sendbuf == nullptr || recvbuf == nullptr) {
    return invalid(cat("hfr_all_reduce: ", sendbuf == nullptr ? "sendbuf" : "recvbuf",
                       " is NULL but count is ", count));
  }
  auto send = reinterpret_cast<uintptr_t>(sendbuf);
  auto recv = reinterpret_cast<uintptr_t>(recvbuf);
  const size_t low_bits = element - 1;  // element is a power of 2
  if (((send | recv) & low_bits) != 0) {
    return invalid(cat("hfr_all_reduce: ", (send & low_bits) != 0 ? "sendbuf" : "recvbuf",
                       " is not aligned to its element size of ", element, " bytes"));
  }
  size_t bytes = count * element;
  if (send + bytes < send || recv + bytes < recv) {
    return invalid(cat("hfr_all_reduce: count ", count, " runs past the end of the address space"));
  }
  if (send != recv && send < recv + bytes && recv < send + bytes) {
    return invalid(
        "hfr_all_reduce: sendbuf and recvbuf overlap; they must be the same address or apart");
  }
  return Status();
}

bool is_dtype(hfr_dtype_t dtype) { return static_cast<unsigned>(dtype) < HFR_NUM_DTYPES; }

Status no_dtype(const char* call, hfr_dtype_t dtype) {
  return invalid(cat(call, ": dtype ", static_cast<int>(dtype), " is no hfr_dtype_t"));
}

// Fills in desc.op, and desc.scale for an operation that the user has made. desc.dtype is set.
Status set_operation(hfr_comm_t comm, hfr_op_t op, hfr::OpDescriptor& desc) {
  if (static_cast<unsigned>(op) < HFR_NUM_OPS) {
    desc.op = static_cast<hfr::Op>(op);
    return Status();
  }
  const auto made = comm->premul_ops().find(static_cast<int>(op));
  if (!made) {
    return invalid(cat("hfr_all_reduce: op ", static_cast<int>(op),
                       " is no hfr_op_t, nor one that was created on this communicator"));
  }
  if (made->dtype != desc.dtype) {
    return invalid(cat("hfr_all_reduce: op ", static_cast<int>(op), " was created for ",
                       dtype_name(made->dtype), " and dtype is ", dtype_name(desc.dtype)));
  }
  desc.op = hfr::Op::kPremulSum;
  desc.scale = made->scale;
  return Status();
}

}  // namespace

extern "C" {

hfr_status_t hfr_get_version(int* version) {
  if (version == nullptr) {
    return guarded(nullptr, [] { return invalid("hfr_get_version: version is NULL"); });
  }
  *version = HFR_VERSION;
  return HFR_SUCCESS;
}

const char* hfr_status_string(hfr_status_t status) {
  switch (status) {
    case HFR_SUCCESS:
      return "success";
    case HFR_INVALID_ARGUMENT:
      return "invalid argument";
    case HFR_INVALID_USAGE:
      return "invalid usage";
    case HFR_SYSTEM_ERROR:
      return "system error";
    case HFR_OUT_OF_MEMORY:
      return "out of memory";
    case HFR_TIMEOUT:
      return "deadline passed";
    case HFR_REMOTE_ERROR:
      return "remote rank failed";
    case HFR_ABORTED:
      return "aborted";
    case HFR_MISMATCH:
      return "ranks disagree";
    case HFR_IN_PROGRESS:
      return "in progress";
    case HFR_UNSUPPORTED:
      return "unsupported";
    case HFR_INTERNAL_ERROR:
      return "internal error";
    case HFR_CORRUPTED:
      return "corrupted";
  }
  return "unknown status";
}

const char* hfr_get_last_error(hfr_comm_t comm) {
  try {
    t_handed_out = comm != nullptr && comm->is_valid() ? comm->last_error() : t_last_error;
    return t_handed_out.c_str();
  } catch (const std::exception&) {
    return "out of memory";
  }
}

size_t hfr_dtype_size(hfr_dtype_t dtype) {
  if (static_cast<unsigned>(dtype) >= HFR_NUM_DTYPES) return 0;
  return hfr::dtype_size(static_cast<hfr::DType>(dtype));
}

hfr_status_t hfr_get_unique_id(hfr_unique_id_t* id) {
  return guarded(nullptr, [&]() -> Status {
    if (id == nullptr) return invalid("hfr_get_unique_id: id is NULL");
    return hfr::make_unique_id(id->bytes);
  });
}

hfr_status_t hfr_comm_init_rank(hfr_comm_t* comm, int num_ranks, const hfr_unique_id_t* id,
                                int rank, const hfr_comm_options_t* options) {
  if (comm != nullptr) *comm = nullptr;
  bool started = false;
  hfr_status_t status = guarded(nullptr, [&]() -> Status {
    if (comm == nullptr) return invalid("hfr_comm_init_rank: comm is NULL");
    if (id == nullptr) return invalid("hfr_comm_init_rank: id is NULL");
    HFR_ASSIGN_OR_RETURN(hfr::StartOptions start, hfr::read_options(options));
    HFR_ASSIGN_OR_RETURN(hfr::JoinSpec spec, hfr::spec_from_id(id->bytes, num_ranks, rank, start));
    HFR_ASSIGN_OR_RETURN(*comm, hfr_comm::start(std::move(spec), start.non_blocking));
    started = start.non_blocking;
    return Status();
  });
  return status == HFR_SUCCESS && started ? HFR_IN_PROGRESS : status;
}

hfr_status_t hfr_comm_init_env(hfr_comm_t* comm, const hfr_comm_options_t* options) {
  if (comm != nullptr) *comm = nullptr;
  bool started = false;
  hfr_status_t status = guarded(nullptr, [&]() -> Status {
    if (comm == nullptr) return invalid("hfr_comm_init_env: comm is NULL");
    HFR_ASSIGN_OR_RETURN(hfr::StartOptions start, hfr::read_options(options));
    HFR_ASSIGN_OR_RETURN(hfr::JoinSpec spec, hfr::spec_from_environment(start));
    HFR_ASSIGN_OR_RETURN(*comm, hfr_comm::start(std::move(spec), start.non_blocking));
    started = start.non_blocking;
    return Status();
  });
  return status == HFR_SUCCESS && started ? HFR_IN_PROGRESS : status;
}

hfr_status_t hfr_comm_init_all(hfr_comm_t* comms, int num_ranks,
                               const hfr_comm_options_t* options) {
  return guarded(nullptr, [&]() -> Status {
    if (comms == nullptr) return invalid("hfr_comm_init_all: comms is NULL");
    HFR_ASSIGN_OR_RETURN(hfr::StartOptions start, hfr::read_options(options));
    if (start.non_blocking) return invalid("hfr_comm_init_all: options->non_blocking must be 0");
    return hfr_comm::start_all(comms, num_ranks, start);
  });
}

hfr_status_t hfr_comm_finalize(hfr_comm_t comm) {
  return on_comm(comm, "hfr_comm_finalize", [](hfr::Communicator& c) { return c.finalize(); });
}

hfr_status_t hfr_comm_destroy(hfr_comm_t comm) {
  if (comm == nullptr) return HFR_SUCCESS;
  if (!comm->is_valid()) {
    return guarded(nullptr, [] { return invalid("hfr_comm_destroy: comm is not a communicator"); });
  }
  return guarded(nullptr, [&]() -> Status {
    HFR_RETURN_IF_ERROR(comm->check_unused());
    comm->shut_down();
    delete comm;
    return Status();
  });
}

hfr_status_t hfr_comm_abort(hfr_comm_t comm) {
  if (comm == nullptr || !comm->is_valid()) {
    return guarded(nullptr, [] { return invalid("hfr_comm_abort: comm is not a communicator"); });
  }
  return guarded(comm, [&] {
    comm->abort();
    return Status();
  });
}

hfr_status_t hfr_comm_split(hfr_comm_t comm, int color, int key, hfr_comm_t* child) {
  if (child != nullptr) *child = nullptr;
  return on_comm(comm, "hfr_comm_split", [&](hfr::Communicator&) -> Status {
    if (child == nullptr) return invalid("hfr_comm_split: child is NULL");
    if (color < HFR_SPLIT_NOCOLOR) {
      return invalid(
          cat("hfr_comm_split: color is ", color, "; it must be 0 or more, or HFR_SPLIT_NOCOLOR"));
    }
    HFR_ASSIGN_OR_RETURN(auto made, comm->split(color, key));
    if (made != nullptr) *child = hfr_comm::of(std::move(made));
    return Status();
  });
}

hfr_status_t hfr_comm_shrink(hfr_comm_t comm, const hfr_shrink_options_t* options,
                             hfr_comm_t* child) {
  if (child != nullptr) *child = nullptr;
  return on_made(comm, "hfr_comm_shrink", [&]() -> Status {
    if (child == nullptr) return invalid("hfr_comm_shrink: child is NULL");
    HFR_ASSIGN_OR_RETURN(hfr::ShrinkOptions read, comm->with_shape([&](const hfr::Shape& shape) {
      return hfr::read_shrink_options(options, shape);
    }));
    HFR_ASSIGN_OR_RETURN(auto made, comm->shrink(read));
    *child = hfr_comm::of(std::move(made));
    return Status();
  });
}

hfr_status_t hfr_comm_get_unique_id(hfr_comm_t comm, hfr_unique_id_t* id) {
  return on_comm(comm, "hfr_comm_get_unique_id", [&](hfr::Communicator& c) -> Status {
    if (id == nullptr) return invalid("hfr_comm_get_unique_id: id is NULL");
    HFR_ASSIGN_OR_RETURN(const hfr::UniqueId made, c.make_growth_id());
    hfr::write_unique_id(made, id->bytes);
    return Status();
  });
}

hfr_status_t hfr_comm_grow(hfr_comm_t comm, int num_ranks, hfr_comm_t* child) {
  if (child != nullptr) *child = nullptr;
  return on_comm(comm, "hfr_comm_grow", [&](hfr::Communicator& c) -> Status {
    if (child == nullptr) return invalid("hfr_comm_grow: child is NULL");
    if (num_ranks <= c.shape().num_ranks) {
      return invalid(cat("hfr_comm_grow: num_ranks is ", num_ranks, "; it must be more than the ",
                         c.shape().num_ranks, " that there are"));
    }
    HFR_ASSIGN_OR_RETURN(auto made, comm->grow(num_ranks));
    *child = hfr_comm::of(std::move(made));
    return Status();
  });
}

hfr_status_t hfr_comm_suspend(hfr_comm_t comm) {
  return on_comm(comm, "hfr_comm_suspend", [&](hfr::Communicator&) { return comm->suspend(); });
}

hfr_status_t hfr_comm_resume(hfr_comm_t comm) {
  return on_made(comm, "hfr_comm_resume", [&] { return comm->resume(); });
}

hfr_status_t hfr_comm_get_async_error(hfr_comm_t comm, hfr_status_t* status) {
  if (comm == nullptr || !comm->is_valid() || status == nullptr) {
    return guarded(nullptr, [&] {
      return invalid(cat("hfr_comm_get_async_error: ",
                         status == nullptr ? "status is NULL" : "comm is not a communicator"));
    });
  }
  return guarded(comm, [&] {
    *status = keep(comm, comm->async_error());
    return Status();
  });
}

hfr_status_t hfr_comm_dump(hfr_comm_t comm, const char* path) {
  return on_made(comm, "hfr_comm_dump", [&]() -> Status {
    if (path == nullptr || *path == '\0') return invalid("hfr_comm_dump: path is NULL or empty");
    return comm->dump(path);
  });
}

#define HFR_QUERY(name, expression)                                                        \
  hfr_status_t name(hfr_comm_t comm, int* value) {                                         \
    return on_made(comm, #name, [&]() -> Status {                                          \
      if (value == nullptr) return invalid(#name ": the pointer for the answer is NULL");  \
      *value = comm->with_shape([](const hfr::Shape& shape) { return shape.expression; }); \
      return Status();                                                                     \
    });                                                                                    \
  }

HFR_QUERY(hfr_comm_count, num_ranks)
HFR_QUERY(hfr_comm_rank, rank)
HFR_QUERY(hfr_comm_local_rank, local_rank)
HFR_QUERY(hfr_comm_local_count, num_local())
HFR_QUERY(hfr_comm_node, node)
HFR_QUERY(hfr_comm_node_count, num_nodes())

#undef HFR_QUERY

hfr_status_t hfr_comm_get_metrics(hfr_comm_t comm, hfr_comm_metrics_t* metrics) {
  return on_made(comm, "hfr_comm_get_metrics", [&]() -> Status {
    if (metrics == nullptr) return invalid("hfr_comm_get_metrics: metrics is NULL");
    return hfr::fill_metrics(comm->metrics(), metrics);
  });
}

hfr_status_t hfr_mem_alloc(hfr_comm_t comm, void** ptr, size_t bytes) {
  if (ptr != nullptr) *ptr = nullptr;
  return on_comm(comm, "hfr_mem_alloc", [&](hfr::Communicator& c) -> Status {
    if (ptr == nullptr) return invalid("hfr_mem_alloc: ptr is NULL");
    HFR_ASSIGN_OR_RETURN(*ptr, c.allocate(bytes));
    return Status();
  });
}

hfr_status_t hfr_mem_free(hfr_comm_t comm, void* ptr) {
  return on_comm(comm, "hfr_mem_free", [&](hfr::Communicator& c) -> Status {
    return ptr == nullptr ? Status() : c.free(ptr);
  });
}

hfr_status_t hfr_stream_create(hfr_stream_t* stream) {
  return guarded(nullptr, [&]() -> Status {
    if (stream == nullptr) return invalid("hfr_stream_create: stream is NULL");
    *stream = new hfr::HostStream();
    return Status();
  });
}

hfr_status_t hfr_stream_enqueue(hfr_stream_t stream, void (*function)(void*), void* argument) {
  return guarded(nullptr, [&]() -> Status {
    if (stream == nullptr) return invalid("hfr_stream_enqueue: stream is NULL");
    if (function == nullptr) return invalid("hfr_stream_enqueue: function is NULL");
    static_cast<hfr::HostStream*>(stream)->enqueue([=] {
      function(argument);
      return Status();
    });
    return Status();
  });
}

hfr_status_t hfr_stream_synchronize(hfr_stream_t stream) {
  return guarded(nullptr, [&]() -> Status {
    if (stream == nullptr) return invalid("hfr_stream_synchronize: stream is NULL");
    return static_cast<hfr::HostStream*>(stream)->synchronize();
  });
}

hfr_status_t hfr_stream_destroy(hfr_stream_t stream) {
  return guarded(nullptr, [&] {
    delete static_cast<hfr::HostStream*>(stream);
    return Status();
  });
}

hfr_status_t hfr_op_create_premul_sum(hfr_op_t* op, const void* scalar, hfr_dtype_t dtype,
                                      hfr_comm_t comm) {
  return on_made(comm, "hfr_op_create_premul_sum", [&]() -> Status {
    if (op == nullptr || scalar == nullptr) {
      return invalid(
          cat("hfr_op_create_premul_sum: ", op == nullptr ? "op" : "scalar", " is NULL"));
    }
    if (!is_dtype(dtype)) return no_dtype("hfr_op_create_premul_sum", dtype);
    hfr::PremulOp made;
    made.dtype = static_cast<hfr::DType>(dtype);
    std::memcpy(&made.scale, scalar, hfr::accumulator_size(made.dtype));
    const int handle = comm->premul_ops().create(made);
    if (handle < 0) {
      return invalid(cat("hfr_op_create_premul_sum: this communicator has ",
                         hfr::PremulOps::kMaxOps, " operations; destroy one with hfr_op_destroy"));
    }
    *op = static_cast<hfr_op_t>(handle);
    return Status();
  });
}

hfr_status_t hfr_op_destroy(hfr_op_t op, hfr_comm_t comm) {
  return on_made(comm, "hfr_op_destroy", [&]() -> Status {
    if (comm->premul_ops().destroy(static_cast<int>(op))) return Status();
    return invalid(cat("hfr_op_destroy: op ", static_cast<int>(op),
                       " is none that was created on this communicator"));
  });
}

hfr_status_t hfr_all_reduce(const void* sendbuf, void* recvbuf, size_t count, hfr_dtype_t dtype,
                            hfr_op_t op, hfr_comm_t comm, hfr_stream_t stream,
                            hfr_request_t* request) {
  return on_comm(comm, "hfr_all_reduce", [&](hfr::Communicator& c) -> Status {
    if (!is_dtype(dtype)) return no_dtype("hfr_all_reduce", dtype);
    hfr::OpDescriptor desc;
    desc.send = sendbuf;
    desc.recv = recvbuf;
    desc.count = count;
    desc.dtype = static_cast<hfr::DType>(dtype);
    HFR_RETURN_IF_ERROR(set_operation(comm, op, desc));
    HFR_RETURN_IF_ERROR(check_buffers(sendbuf, recvbuf, count, hfr::dtype_size(desc.dtype)));
    Status status = c.all_reduce(desc, stream, request);
    if (request != nullptr && status.ok()) *request += comm->first_request();
    return status;
  });
}

hfr_status_t hfr_wait(hfr_comm_t comm, hfr_request_t request) {
  return on_made(comm, "hfr_wait", [&]() -> Status {
    if (comm->is_past(request)) return Status();
    HFR_RETURN_IF_ERROR(comm->ready_status("hfr_wait"));
    return comm->communicator().wait(request - comm->first_request());
  });
}

hfr_status_t hfr_test(hfr_comm_t comm, hfr_request_t request, int* done) {
  return on_made(comm, "hfr_test", [&]() -> Status {
    if (done == nullptr) return invalid("hfr_test: done is NULL");
    bool finished = comm->is_past(request);
    Status status;
    if (!finished) {
      HFR_RETURN_IF_ERROR(comm->ready_status("hfr_test"));
      status = comm->communicator().test(request - comm->first_request(), &finished);
    }
    *done = finished ? 1 : 0;
    return status;
  });
}

}  // extern "C"
