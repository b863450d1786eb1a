/* HFReduce: allreduce through host memory, for GPUs that sit on PCIe and for CPU tensors.
 *
 * C99 interface. It names no CUDA type: a stream crosses it as void*.
 *
 * Terms. A *rank* is one participant with its own buffers; it may be a process or a thread. A
 * *communicator* (hfr_comm_t) is one rank's handle on a set of ranks. A *node* is the ranks that
 * can share host memory. Sizes are in bytes and counts in elements, unless a name says otherwise.
 *
 * Errors. Every function returns a status, never aborts the process and never prints except through
 * the logger (HFREDUCE_LOG_LEVEL). hfr_get_last_error() has the sentence behind the status. The
 * first failure of a communicator is sticky: all later operations on it return it. What is left in
 * the buffers of an operation that failed, and how to go on: docs/recovery.md.
 *
 * Threads. A communicator may be used from several threads, except that its operations must be
 * issued in the same order on all ranks; the caller provides that order. hfr_comm_abort() may be
 * called at any time from any thread while the communicator exists. Nothing may run beside or after
 * hfr_comm_destroy().
 */
#ifndef HFREDUCE_HFREDUCE_H_
#define HFREDUCE_HFREDUCE_H_

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define HFR_API __attribute__((visibility("default")))
#else
#define HFR_API
#endif

#define HFR_VERSION_MAJOR 0
#define HFR_VERSION_MINOR 1
#define HFR_VERSION_PATCH 0
/* One number that grows with every release: major * 10000 + minor * 100 + patch. */
#define HFR_VERSION (HFR_VERSION_MAJOR * 10000 + HFR_VERSION_MINOR * 100 + HFR_VERSION_PATCH)

/* A fixed width in C++ too, so that a value that is no member is an error code and not undefined.
 */
#ifdef __cplusplus
#define HFR_ENUM_INT : int
extern "C" {
#else
#define HFR_ENUM_INT
#endif

/* Values are never renumbered. */
typedef enum hfr_status HFR_ENUM_INT {
  HFR_SUCCESS = 0,
  HFR_INVALID_ARGUMENT = 1, /* an argument is wrong in itself; nothing was started */
  HFR_INVALID_USAGE = 2,    /* a call at the wrong time: after abort, in the wrong order */
  HFR_SYSTEM_ERROR = 3,     /* the operating system refused something */
  HFR_OUT_OF_MEMORY = 4,
  HFR_TIMEOUT = 5,      /* a deadline passed; the sentence names the rank, node and stage */
  HFR_REMOTE_ERROR = 6, /* another rank died or disconnected */
  HFR_ABORTED = 7,      /* this or another rank called hfr_comm_abort */
  HFR_MISMATCH = 8,     /* ranks disagree: count, type, operation, version or configuration */
  HFR_IN_PROGRESS = 9,  /* not an error: a non-blocking call has not finished */
  HFR_UNSUPPORTED = 10, /* valid, but not in this build or on this machine */
  HFR_INTERNAL_ERROR = 11,
  HFR_CORRUPTED = 12 /* bytes changed on their way (HFREDUCE_CHECK); the sentence says where */
} hfr_status_t;

/* Element types. fp8 types follow the OCP 8-bit floating point specification. */
typedef enum hfr_dtype HFR_ENUM_INT {
  HFR_INT8 = 0,
  HFR_UINT8 = 1,
  HFR_INT16 = 2,
  HFR_UINT16 = 3,
  HFR_INT32 = 4,
  HFR_UINT32 = 5,
  HFR_INT64 = 6,
  HFR_UINT64 = 7,
  HFR_FLOAT16 = 8,
  HFR_BFLOAT16 = 9,
  HFR_FLOAT32 = 10,
  HFR_FLOAT64 = 11,
  HFR_FLOAT8_E4M3 = 12,
  HFR_FLOAT8_E5M2 = 13
} hfr_dtype_t;
#define HFR_NUM_DTYPES 14

/* Reductions. AVG is the sum divided by the number of ranks; for integers the quotient is truncated
 * towards zero. Integers wrap. MIN and MAX of floats return NaN when any input is NaN. 16- and
 * 8-bit floats accumulate in FP32 inside a node and round once, to nearest even. */
typedef enum hfr_op HFR_ENUM_INT {
  HFR_SUM = 0,
  HFR_PROD = 1,
  HFR_MIN = 2,
  HFR_MAX = 3,
  HFR_AVG = 4
} hfr_op_t;
#define HFR_NUM_OPS 5

/* Where a rank's buffers are. The ranks of a communicator may differ. */
typedef enum hfr_device HFR_ENUM_INT {
  HFR_DEVICE_DEFAULT = 0, /* what HFREDUCE_DEVICE says, or else host memory */
  HFR_DEVICE_HOST = 1,
  HFR_DEVICE_CUDA = 2 /* memory of one GPU, moved by its copy engines; kernels in groups alone */
} hfr_device_t;

/* One rank's handle on a set of ranks. */
typedef struct hfr_comm* hfr_comm_t;

/* An ordered queue of work. For host memory: made by hfr_stream_create. For CUDA: a CUstream or
 * cudaStream_t of the rank's GPU; default ones by handle (CU_STREAM_LEGACY, CU_STREAM_PER_THREAD).
 * NULL: host order, that is, the buffers are ready when the call is made. */
typedef void* hfr_stream_t;

/* Names one started operation of one communicator. A plain value: nothing to free. */
typedef uint64_t hfr_request_t;

#define HFR_UNIQUE_ID_BYTES 128
/* Where ranks meet, and the secret that lets them in: whoever holds it can join, so hand it out
 * over a channel that you trust. */
typedef struct hfr_unique_id {
  char bytes[HFR_UNIQUE_ID_BYTES];
} hfr_unique_id_t;

/* Options of one communicator. Start from HFR_COMM_OPTIONS_INIT. The struct only ever grows: `size`
 * tells the library which fields the caller knows. Zero or NULL means: take the environment's
 * value, or else the default (docs/configuration.md). */
typedef struct hfr_comm_options {
  size_t size;         /* sizeof(hfr_comm_options_t) */
  int non_blocking;    /* 1: init returns HFR_IN_PROGRESS; poll hfr_comm_get_async_error */
  uint32_t timeout_ms; /* deadline of every operation and of set-up (HFREDUCE_TIMEOUT_MS) */
  size_t chunk_bytes;  /* largest chunk, a multiple of 4096 (HFREDUCE_CHUNK_BYTES) */
  uint32_t window;     /* lanes: chunks in flight (HFREDUCE_WINDOW) */
  const char* host_id; /* splits a machine into nodes (HFREDUCE_HOSTID) */
  hfr_device_t device; /* where this rank's buffers are (HFREDUCE_DEVICE) */
  uint32_t reserved;   /* not read: padding, which older callers may leave with anything in it */
  /* Over verbs: the communicator's own lane of the network. 0: HFREDUCE_IB_SL, HFREDUCE_IB_TC. */
  uint32_t service_level; /* 1 to 15 */
  uint32_t traffic_class; /* 1 to 255 */
} hfr_comm_options_t;
#define HFR_COMM_OPTIONS_INIT \
  { sizeof(hfr_comm_options_t), 0, 0, 0, 0, NULL, HFR_DEVICE_DEFAULT, 0, 0, 0 }

/* Options of hfr_comm_shrink. Start from HFR_SHRINK_OPTIONS_INIT; grows as hfr_comm_options_t does.
 */
typedef struct hfr_shrink_options {
  size_t size;         /* sizeof(hfr_shrink_options_t) */
  uint32_t timeout_ms; /* deadline of the call; 0: the communicator's */
  /* Ranks of the communicator that are known to be dead, or shall not go on. The caller's word is
   * trusted: all survivors pass the same. */
  int num_excluded;
  const int* excluded;
} hfr_shrink_options_t;
#define HFR_SHRINK_OPTIONS_INIT \
  { sizeof(hfr_shrink_options_t), 0, 0, NULL }

/* ---- version and errors ---------------------------------------------------------------------- */

/* The library's HFR_VERSION. Any thread. */
HFR_API hfr_status_t hfr_get_version(int* version);

/* A short constant text for a status, "success" for HFR_SUCCESS. Never NULL. */
HFR_API const char* hfr_status_string(hfr_status_t status);

/* The sentence behind the last failure of `comm`, or, with NULL, of this thread's last failed call
 * that had no communicator. Empty when there was none, never NULL; valid until this thread calls
 * again. */
HFR_API const char* hfr_get_last_error(hfr_comm_t comm);

/* Bytes of one element, or 0 for a value that is no type. */
HFR_API size_t hfr_dtype_size(hfr_dtype_t dtype);

/* ---- communicators --------------------------------------------------------------------------- */

/* Makes an id for one communicator and opens its rendezvous in this process, on the interface that
 * HFREDUCE_SOCKET_IFNAME names (default: the first one up that is not loopback, else loopback). A
 * rank of the communicator must be initialised in this process: it takes the rendezvous over. */
HFR_API hfr_status_t hfr_get_unique_id(hfr_unique_id_t* id);

/* On CUDA (HFR_DEVICE_CUDA), hfr_comm_init_rank and hfr_comm_init_env take the device of the
 * calling thread's current context, which must outlive the communicator; without one, the primary
 * context of the device whose number is the local rank, mod the number of devices. Several ranks
 * may use one GPU, as threads or as processes. */

/* Joins as `rank` of `num_ranks`. Collective: returns when all ranks have joined and agree, or with
 * an error on all. `options` may be NULL. With options->non_blocking it returns HFR_IN_PROGRESS at
 * once and *comm is usable once hfr_comm_get_async_error reports HFR_SUCCESS. On failure *comm is
 * NULL, except after a non-blocking start, where hfr_comm_abort or hfr_comm_destroy must still be
 * called. */
HFR_API hfr_status_t hfr_comm_init_rank(hfr_comm_t* comm, int num_ranks, const hfr_unique_id_t* id,
                                        int rank, const hfr_comm_options_t* options);

/* As above, with rank, size and meeting place from the environment: RANK and WORLD_SIZE (torchrun,
 * `hfreduce run`), Open MPI, MPICH/PMI or Slurm variables; HFREDUCE_RENDEZVOUS=host:port, where
 * rank 0 listens, and HFREDUCE_SECRET. */
HFR_API hfr_status_t hfr_comm_init_env(hfr_comm_t* comm, const hfr_comm_options_t* options);

/* Makes `num_ranks` ranks in this process, comms[0..num_ranks). Blocking. To operate on several of
 * them from one thread, start each with a request and then wait. On CUDA rank r uses the primary
 * context of device r mod the number of devices. */
HFR_API hfr_status_t hfr_comm_init_all(hfr_comm_t* comms, int num_ranks,
                                       const hfr_comm_options_t* options);

/* Collective: completes this rank's operations, then waits until every rank has come here, so that
 * all may destroy. No operation may follow. */
HFR_API hfr_status_t hfr_comm_finalize(hfr_comm_t comm);

/* Frees the communicator; NULL is allowed. Local: waits only for this rank's own started
 * operations, at most until their deadline. On CUDA also for streams that have not come to them (a
 * deadline), for graphs that are being destroyed (1 s), and in a group of GPUs until the others
 * have taken what this rank carried. HFR_INVALID_USAGE, and the communicator stays, while a CUDA
 * graph has operations of it. */
HFR_API hfr_status_t hfr_comm_destroy(hfr_comm_t comm);

/* Fails every operation of the communicator on all ranks with HFR_ABORTED, now. The communicator
 * must still be destroyed. Any thread. */
HFR_API hfr_status_t hfr_comm_abort(hfr_comm_t comm);

#define HFR_SPLIT_NOCOLOR (-1)
/* Collective over a communicator that has not failed: ranks with the same color (0 or more) form
 * one, ordered by key, then by rank in `comm`. With HFR_SPLIT_NOCOLOR a rank takes part and *child
 * is NULL. The child has the options of `comm`, which stays usable beside it; started operations
 * are completed first. Returns when all ranks of the child are there. Completing, meeting and the
 * child's set-up each end at a deadline of `comm`, so it blocks for three of them at most. No other
 * call on `comm` may run beside it but queries and hfr_comm_abort, which ends it. Errors:
 * HFR_INVALID_ARGUMENT (nothing was started), those of hfr_comm_init_rank when the child cannot be
 * made, and those of an operation, after which `comm` has failed. */
HFR_API hfr_status_t hfr_comm_split(hfr_comm_t comm, int color, int key, hfr_comm_t* child);

/* Makes a communicator of the ranks of `comm` that are left, without the help of those that are
 * not; any may be gone. Called by all survivors. All operations of `comm` fail, on all ranks, if
 * they have not; `comm` must still be destroyed. All who return HFR_SUCCESS have the same members,
 * in the order of their ranks in `comm`, and the options of `comm`. No two children of one
 * communicator exist beside each other: when ranks are silent, neither dead for certain nor in this
 * call, the others go on only if they are more than half of those not excluded (or half, with the
 * lowest of them), and after half of the deadline. `options` may be NULL. Blocks until its deadline
 * and 2 s at most. No other call on `comm` may run beside it but queries and hfr_comm_abort, which
 * ends it with HFR_ABORTED; ranks that are threads call from a thread each. A rank that calls when
 * all others have ended gets a child of itself alone: ask hfr_comm_count. Errors:
 * HFR_INVALID_ARGUMENT, HFR_INVALID_USAGE (finalized, shrunk before, or this rank was excluded by
 * another), HFR_TIMEOUT (too few came) and HFR_REMOTE_ERROR (another rank died, or the others went
 * on without this one): the call may be repeated. docs/recovery.md says more. */
HFR_API hfr_status_t hfr_comm_shrink(hfr_comm_t comm, const hfr_shrink_options_t* options,
                                     hfr_comm_t* child);

/* Makes an id for ranks that are to join the ranks of `comm` by hfr_comm_grow, and opens its
 * rendezvous in this process. One member calls it, before all grow, and hands the id to the new
 * ranks over a channel that you trust. An id is good for one growth; a member's earlier one is void
 * once it makes another. Local; not beside split, shrink, grow and suspend. */
HFR_API hfr_status_t hfr_comm_get_unique_id(hfr_comm_t comm, hfr_unique_id_t* id);

/* Makes a communicator of `num_ranks` ranks: those of `comm`, as they are numbered there, and
 * further ones, which call hfr_comm_init_rank with the id, num_ranks and their rank from the size
 * of `comm` on. Collective over a communicator that has not failed; its started operations are
 * completed first. The child has the options of `comm`; the new ranks bring their own, which must
 * agree. `comm` stays usable beside it, also when the child cannot be made: a new rank that does
 * not come is HFR_TIMEOUT, and named. All members that live return HFR_SUCCESS, or none does, also
 * when a rank dies meanwhile: who has the child goes on with it and shrinks it when it fails, who
 * has an error goes on with `comm` or shrinks that. Deadlines, threads and abort as in
 * hfr_comm_split, and 3 s more. Errors:
 * HFR_INVALID_ARGUMENT (nothing was started); HFR_INVALID_USAGE (no member made an id) and
 * HFR_MISMATCH (two did, or num_ranks differ) on all; those of hfr_comm_init_rank; those of an
 * operation, after which `comm` has failed. docs/recovery.md says more. */
HFR_API hfr_status_t hfr_comm_grow(hfr_comm_t comm, int num_ranks, hfr_comm_t* child);

/* Lets go of what `comm` holds: threads, sockets, shared, pinned and device memory; it keeps one
 * listening socket, and one more for each communicator that it came out of by split or grow (8 at
 * most). Collective over a communicator that has not failed; started operations are completed
 * first, so no stream may wait for something that comes after the call. Until hfr_comm_resume only
 * that, shrink, destroy, abort, queries, metrics and pre-multiplied sums are allowed, and waiting
 * for earlier requests, which are complete; all else is HFR_INVALID_USAGE.
 * Blocks for two deadlines of `comm` at most, one to complete, one to meet; where something was
 * captured for three, and 1 s. Errors: HFR_INVALID_USAGE on all ranks, and nothing has changed,
 * while a rank has memory of hfr_mem_alloc, CUDA graphs with operations of `comm`, or, once
 * something was captured, operations in a stream that does not come to them within a deadline;
 * those of an operation, after which `comm` has failed.
 * docs/suspend.md says more. */
HFR_API hfr_status_t hfr_comm_suspend(hfr_comm_t comm);

/* Takes a suspended communicator up again: the same ranks, settings, requests, metrics and
 * pre-multiplied sums, in the same processes. Collective. All ranks must come: waiting for them
 * ends at the deadline of the first that called, setting up at another one. Errors leave it
 * suspended, and the call may be repeated: HFR_REMOTE_ERROR (a rank has ended, or shrinks),
 * HFR_TIMEOUT (a rank did not come), those of hfr_comm_init_rank, HFR_ABORTED (for good). The ranks
 * that are left may call hfr_comm_shrink on it instead.
 *
 * Beside suspend and resume no other call on `comm` may run but queries, hfr_comm_get_metrics,
 * hfr_comm_get_async_error and hfr_comm_abort. Ranks that are threads call from a thread each. */
HFR_API hfr_status_t hfr_comm_resume(hfr_comm_t comm);

/* HFR_IN_PROGRESS while a non-blocking init runs, else the sticky status. Any thread. Does not
 * wait, except when an operation is failing: it may then take 2 s to ask the other ranks why. */
HFR_API hfr_status_t hfr_comm_get_async_error(hfr_comm_t comm, hfr_status_t* status);

/* Copies the record of what this rank did last to the file `path`, anew, for `hfreduce inspect`;
 * "%r" in it stands for the rank. Any thread, never blocks on the communicator. Errors:
 * HFR_INVALID_ARGUMENT, HFR_SYSTEM_ERROR (the file cannot be written), HFR_INVALID_USAGE
 * (HFREDUCE_RECORDER_DIR is off). docs/diagnosis.md says more. */
HFR_API hfr_status_t hfr_comm_dump(hfr_comm_t comm, const char* path);

/* Queries: never block, any thread. Nodes are numbered by their lowest rank. */
HFR_API hfr_status_t hfr_comm_count(hfr_comm_t comm, int* num_ranks);
HFR_API hfr_status_t hfr_comm_rank(hfr_comm_t comm, int* rank);
HFR_API hfr_status_t hfr_comm_local_rank(hfr_comm_t comm, int* local_rank);
HFR_API hfr_status_t hfr_comm_local_count(hfr_comm_t comm, int* num_local_ranks);
HFR_API hfr_status_t hfr_comm_node(hfr_comm_t comm, int* node);
HFR_API hfr_status_t hfr_comm_node_count(hfr_comm_t comm, int* num_nodes);

/* Buckets of times: bucket i counts those up to 4096 * 4^i nanoseconds that are in no earlier one,
 * the last one all others. */
#define HFR_TIME_BUCKETS 12

/* Of one stage of the chunks' way, or of one kind of wait. */
typedef struct hfr_stage_metrics {
  uint64_t count;   /* chunks that went through it; waits */
  uint64_t bytes;   /* theirs; of waits 0 */
  uint64_t timed;   /* those whose time was taken: from 16 KiB on, copies, direct_add from 64 KiB */
  uint64_t time_ns; /* of the timed ones together, in nanoseconds */
  uint64_t buckets[HFR_TIME_BUCKETS]; /* the timed ones, by time */
} hfr_stage_metrics_t;

/* What one rank of a communicator has done since it was made, also before it was suspended. Start
 * from HFR_COMM_METRICS_INIT. The struct only ever grows, at its end: `size` says which fields the
 * caller knows. docs/metrics.md says which stages a chunk goes through. */
typedef struct hfr_comm_metrics {
  size_t size; /* sizeof(hfr_comm_metrics_t), set by the caller */
  /* Operations. `bytes` of `operation` are of one buffer of each one that was started; `count` is
   * how many are complete; timed are those of 256 KiB or more, from announcement to completion. */
  uint64_t operations_started;
  uint64_t operations_flat; /* by the path that they took (docs/architecture.md) */
  uint64_t operations_direct;
  uint64_t operations_lanes;
  hfr_stage_metrics_t operation;
  /* This rank's copies into staging and out of it. On CUDA they are not timed. */
  hfr_stage_metrics_t copy_in;
  hfr_stage_metrics_t copy_out;
  /* Of the lanes that this rank owns. */
  hfr_stage_metrics_t add;
  hfr_stage_metrics_t direct_add; /* blocks of this rank's slices on the direct path */
  hfr_stage_metrics_t send;       /* to other nodes, until the source may be used again */
  hfr_stage_metrics_t receive;    /* from other nodes; not timed */
  hfr_stage_metrics_t wait_input; /* for a local rank's copy into staging */
  hfr_stage_metrics_t wait_slot;  /* for a local rank's copy out of staging, of an earlier chunk */
  hfr_stage_metrics_t wait_partial_sum; /* for another node */
  hfr_stage_metrics_t wait_final_value; /* for another node */
  uint64_t puts_refused; /* the transport's queue was full, and the put was tried again */
  uint64_t sleeps;       /* of a thread that waited, as nothing had moved for milliseconds */
  uint64_t links_broken; /* connections to other nodes that broke */
  uint64_t links_mended; /* of them, those that were made anew */
  hfr_status_t failure;  /* HFR_SUCCESS while the communicator has not failed */
} hfr_comm_metrics_t;
#define HFR_STAGE_METRICS_INIT \
  {                            \
    0, 0, 0, 0, { 0 }          \
  }
#define HFR_COMM_METRICS_INIT                                                               \
  {                                                                                         \
    sizeof(hfr_comm_metrics_t), 0, 0, 0, 0, HFR_STAGE_METRICS_INIT, HFR_STAGE_METRICS_INIT, \
        HFR_STAGE_METRICS_INIT, HFR_STAGE_METRICS_INIT, HFR_STAGE_METRICS_INIT,             \
        HFR_STAGE_METRICS_INIT, HFR_STAGE_METRICS_INIT, HFR_STAGE_METRICS_INIT,             \
        HFR_STAGE_METRICS_INIT, HFR_STAGE_METRICS_INIT, HFR_STAGE_METRICS_INIT, 0, 0, 0, 0, \
        HFR_SUCCESS                                                                         \
  }

/* Fills *metrics, whose `size` the caller has set, with no more than so many bytes. Never blocks,
 * any thread, also of a communicator that has failed. The numbers are read one after the other
 * while the rank goes on. Errors: HFR_INVALID_ARGUMENT, HFR_INVALID_USAGE while it is being made.
 */
HFR_API hfr_status_t hfr_comm_get_metrics(hfr_comm_t comm, hfr_comm_metrics_t* metrics);

/* ---- memory ---------------------------------------------------------------------------------- */

/* Allocates `bytes` of host memory that the ranks of this node read and write in place, so that an
 * operation on it needs no copies. Aligned to 4096 bytes, zeroed. Local, any thread. Freed by
 * hfr_mem_free or with the communicator. On CUDA: memory of this rank's GPU instead. Where nodes
 * are joined by verbs and this rank is alone on its node the memory is registered with the NIC, and
 * so locked, as far as the limit of locked memory (ulimit -l) allows. */
HFR_API hfr_status_t hfr_mem_alloc(hfr_comm_t comm, void** ptr, size_t bytes);
/* NULL is allowed. No started operation may use the memory. Needed before hfr_comm_suspend. */
HFR_API hfr_status_t hfr_mem_free(hfr_comm_t comm, void* ptr);

/* ---- host streams ---------------------------------------------------------------------------- */

/* A queue whose entries run one after the other on a thread of its own. */
HFR_API hfr_status_t hfr_stream_create(hfr_stream_t* stream);
/* Runs function(argument) when all earlier entries have finished. */
HFR_API hfr_status_t hfr_stream_enqueue(hfr_stream_t stream, void (*function)(void*),
                                        void* argument);
/* Waits until every entry has finished; returns the first failure of an operation since the last
 * such call. */
HFR_API hfr_status_t hfr_stream_synchronize(hfr_stream_t stream);
/* Waits for the entries, then frees the queue; NULL is allowed. */
HFR_API hfr_status_t hfr_stream_destroy(hfr_stream_t stream);

/* ---- operations ------------------------------------------------------------------------------ */

/* Makes an operation of `comm`: the sum of what each rank sends, multiplied first by the rank's own
 * *scalar. The scalar is a float for dtypes of floats up to 32 bits, else of type dtype, and is
 * read now; host memory. Product and sum round separately, in FP32 for 16- and 8-bit floats. The
 * ranks' scalars may differ, and so may the values of *op, but all ranks pass such an operation to
 * the same call. For this dtype only. A communicator has up to 64 at a time. Local, any thread,
 * never blocks. Errors: HFR_INVALID_ARGUMENT. */
HFR_API hfr_status_t hfr_op_create_premul_sum(hfr_op_t* op, const void* scalar, hfr_dtype_t dtype,
                                              hfr_comm_t comm);
/* Operations that were started with it go on. The communicator's end destroys what is left. */
HFR_API hfr_status_t hfr_op_destroy(hfr_op_t op, hfr_comm_t comm);

/* recvbuf[i] = op over all ranks of sendbuf[i], for i in [0, count). Every rank gets the same bits,
 * and so does every run with the same inputs and topology.
 *
 * sendbuf and recvbuf hold `count` elements, aligned to the element's size; they are the same
 * address (in place) or do not overlap. All ranks pass the same count, dtype and op. A count of 0
 * is valid and synchronises the ranks; the buffers may then be NULL.
 *
 * Order. stream NULL: the input is ready now. stream not NULL: it is ready when the stream's
 * earlier entries have finished, and later entries run after the operation; the call returns at
 * once. When the operation fails, later entries run too, on buffers of any content: ask
 * hfr_comm_get_async_error.
 *
 * On CUDA the buffers are memory of this rank's GPU (not managed memory). A stream that is being
 * captured puts the operation into the graph; request is NULL then, and in all later calls with a
 * stream. All ranks capture the same and run graphs and calls in one order, which streams fix
 * (docs/cuda.md says what else). Ranks make calls with streams in the same order over all
 * communicators. Where a rank shares its GPU with another rank of its process, such a call returns
 * when those ranks have called too, so each rank needs a thread of its own. In few cases it returns
 * when the operation is complete (docs/cuda.md).
 *
 * Completion. stream and request both NULL: the call returns when the operation is complete.
 * Otherwise it returns at once; *request (when not NULL) is for hfr_wait and hfr_test. Buffers must
 * stay valid and untouched until completion. Operations without a stream may overlap each other; of
 * more than 256 that are open a further call first waits for the oldest.
 *
 * Errors before anything is started, after which the communicator goes on: HFR_INVALID_ARGUMENT,
 * HFR_INVALID_USAGE, HFR_UNSUPPORTED (it cannot be captured). Errors of the operation, after which
 * the communicator has failed, and later calls return the same: HFR_MISMATCH, HFR_TIMEOUT,
 * HFR_REMOTE_ERROR, HFR_ABORTED, HFR_CORRUPTED. HFR_OUT_OF_MEMORY and HFR_SYSTEM_ERROR are either:
 * hfr_comm_get_async_error tells. */
HFR_API hfr_status_t hfr_all_reduce(const void* sendbuf, void* recvbuf, size_t count,
                                    hfr_dtype_t dtype, hfr_op_t op, hfr_comm_t comm,
                                    hfr_stream_t stream, hfr_request_t* request);

/* Waits for a request of `comm`; returns the operation's status. Waiting again is allowed. */
HFR_API hfr_status_t hfr_wait(hfr_comm_t comm, hfr_request_t request);
/* Sets *done to 1 when the request has completed or failed, else 0; makes progress. Waits
 * no more than hfr_comm_get_async_error. */
HFR_API hfr_status_t hfr_test(hfr_comm_t comm, hfr_request_t request, int* done);

#ifdef __cplusplus
}
#endif

#endif /* HFREDUCE_HFREDUCE_H_ */
