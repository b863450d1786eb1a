#include "comm/setup.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "comm/group_setup.hpp"
#include "comm/roster.hpp"
#include "comm/set_up_data.hpp"
#include "comm/sizing.hpp"
#include "comm/transport_setup.hpp"
#include "device/cuda/cuda_device.hpp"
#include "device/host/host_device.hpp"
#include "topo/placement.hpp"
#include "topo/worker_cpus.hpp"
#include "transport/loopback/transport.hpp"
#include "transport/tcp/transport.hpp"

namespace hfr {
namespace {

// Changes with what ranks tell each other and with how their shared memory is laid out.
constexpr int kProtocolVersion = 7;
constexpr uint64_t kOthersFirstNs = 300'000'000;
constexpr uint64_t kVerdictNs = 300'000'000;

// Which process a rank lives in, among those that can share memory.
std::string process_identity() {
  struct stat info {};
  uint64_t inode = stat("/proc/self/ns/pid", &info) == 0 ? info.st_ino : 0;
  return cat(getpid(), "@", inode);
}

// Set, too, once the others tell of a failure: who waits for a rank that died waits no longer.
class VerdictFlag : public CancelFlag {
 public:
  VerdictFlag(const CancelFlag* parent, Membership& membership)
      : CancelFlag(parent), membership_(membership) {}
  bool is_set() const override { return CancelFlag::is_set() || membership_.poll().has_value(); }

 private:
  Membership& membership_;
};

class SetUp {
 public:
  explicit SetUp(JoinSpec spec) : spec_(std::move(spec)) {
    // Only what goes through staging can be checked. A child has its parent's settings, and a new
    // rank beside it those of its environment: both come to the same.
    if (spec_.config.check != "off") spec_.config.direct = false;
    parts_.config = spec_.config;
    parts_.earlier = spec_.earlier;
    deadline_ns_ = spec_.deadline_ns;
    if (deadline_ns_ == 0) deadline_ns_ = monotonic_ns() + spec_.config.timeout_ms * 1'000'000;
  }

  Result<Parts> run() {
    CancelScope scope(spec_.cancel);
    HFR_ASSIGN_OR_RETURN(parts_.logger, open_log(spec_.config, spec_.rank));
    HFR_RETURN_IF_ERROR(open_trace());
    HFR_RETURN_IF_ERROR(join());
    Status status = build();
    if (status.ok()) return std::move(parts_);
    return explain(status);
  }

 private:
  Logger transport_logger() const { return parts_.logger.of(Subsystem::kTransport); }

  Status open_trace() {
    if (spec_.config.trace.empty()) return Status();
    const std::string path = expand_path(spec_.config.trace, spec_.rank);
    parts_.trace_file.reset(std::fopen(path.c_str(), "we"));
    if (parts_.trace_file != nullptr) return Status();
    return system_error(cat("HFREDUCE_TRACE=", path, " cannot be opened for writing"), errno);
  }

  Status join() {
    JoinRequest request;
    request.rank = spec_.rank;
    request.num_ranks = spec_.num_ranks;
    request.address = spec_.address;
    request.secret = spec_.secret;
    request.listener = std::move(spec_.listener);
    request.gathered = std::move(spec_.gathered);
    request.label = cat("pid ", getpid());
    request.settings = shared_settings(spec_.config);
    request.version = kProtocolVersion;
    request.deadline_ns = deadline_ns_;
    request.logger = parts_.logger.of(Subsystem::kRendezvous);
    if (!spec_.config.socket_ifname.empty()) {
      HFR_ASSIGN_OR_RETURN(request.bind_host, interface_address(spec_.config.socket_ifname));
    }
    HFR_ASSIGN_OR_RETURN(parts_.membership, Membership::join(std::move(request)));
    return Status();
  }

  Status build() {
    HFR_ASSIGN_OR_RETURN(MemoryDoor door, MemoryDoor::open());
    HFR_RETURN_IF_ERROR(open_line());
    HFR_RETURN_IF_ERROR(learn_shape(door));
    HFR_RETURN_IF_ERROR(open_record());
    if (parts_.shape.any_on_device) HFR_RETURN_IF_ERROR(learn_gpus());
    parts_.staging = size_staging(parts_.shape, parts_.config);
    parts_.schedules = make_schedules(parts_.shape, parts_.config);
    show(WaitStage::kNodeMemory);
    HFR_RETURN_IF_ERROR(share_memory(door));
    show(WaitStage::kOpenDevice);
    HFR_RETURN_IF_ERROR(open_device());
    show(WaitStage::kConnect);
    if (parts_.shape.num_nodes() > 1) HFR_RETURN_IF_ERROR(connect_nodes());
    show(WaitStage::kFindings);
    HFR_RETURN_IF_ERROR(share_findings());
    show(WaitStage::kNothing);
    enter_line();
    open_metrics();
    tell_what_was_made();
    Found found;
    found.reached = parts_.peer_memory.available() || (parts_.one_process && parts_.config.direct);
    found.rdma = parts_.transport != nullptr && parts_.transport->capabilities().rdma;
    found.cache_bytes = last_level_cache_bytes();
    parts_.limits = size_limits(parts_.shape, parts_.staging, parts_.config, found);
    return Status();
  }

  // What inspect shows of a rank that does not come out of set-up.
  void show(WaitStage stage) {
    if (parts_.record == nullptr) return;
    const uint64_t now = monotonic_ns();
    write_wait(parts_.record->record().wait, 0, now, now, {-1, stage});
  }

  void tell_what_was_made() const {
    const Shape& shape = parts_.shape;
    const StagingShape& staging = parts_.staging;
    parts_.logger.log(
        LogLevel::kInfo, "rank ", shape.rank, " of ", shape.num_ranks, ", ", shape.local_rank,
        " of ", shape.num_local(), " on node ", shape.node, " of ", shape.num_nodes(),
        "; buffers on ", parts_.config.device, "; ",
        parts_.transport == nullptr ? "no transport" : parts_.transport->capabilities().name, "; ",
        staging.window, " lanes of ", bytes_text(staging.slot_bytes));
  }

  // Last, when all else has succeeded. A job goes on without its metrics.
  void open_metrics() {
    if (parts_.config.metrics.empty()) return;
    const Logger logger = parts_.logger.of(Subsystem::kMetrics);
    auto endpoint = MetricsEndpoint::join(parts_.config.metrics, roster_.process_idx(spec_.rank),
                                          parts_.shape.rank);
    if (endpoint.ok()) {
      parts_.metrics = std::move(*endpoint);
      logger.log(LogLevel::kInfo, "metrics at ", parts_.metrics->address());
    } else {
      logger.log(LogLevel::kWarn, "no metrics: HFREDUCE_METRICS=", parts_.config.metrics, ": ",
                 endpoint.status().message());
    }
  }

  Status open_line() {
    if (spec_.line) {
      parts_.line = std::move(*spec_.line);
      return Status();
    }
    parts_.line.secret = spec_.secret;
    parts_.line.self = spec_.rank;
    parts_.line.ancestors = std::move(spec_.ancestors);
    HFR_ASSIGN_OR_RETURN(parts_.line.point,
                         MeetingPoint::open(parts_.membership->local_host(), spec_.num_ranks));
    return Status();
  }

  // All members know all decisions up to this one's.
  void enter_line() {
    parts_.line.settle();
    if (!parts_.line.members.empty()) return;
    for (int rank = 0; rank < spec_.num_ranks; ++rank) {
      parts_.line.members.push_back(rank);
      parts_.line.addresses.push_back(roster_[rank].meeting_point);
    }
  }

  Status learn_shape(const MemoryDoor& door) {
    RankInfo mine;
    mine.machine = machine_id();
    mine.node_name =
        parts_.config.host_id.empty() ? mine.machine : cat("id:", parts_.config.host_id);
    mine.process = process_identity();
    mine.door = door.name();
    mine.memory = PeerMemory::this_process();
    mine.cpus = affinity_list();
    mine.device = parts_.config.device;
    mine.quota = quota_cpus();
    HFR_ASSIGN_OR_RETURN(rails_, look_for_rails(parts_.config, transport_logger()));
    mine.no_rails = rails_.why_none;
    mine.meeting_point = parts_.line.point->address;
    HFR_ASSIGN_OR_RETURN(auto blobs, parts_.membership->all_gather(encode(mine), deadline_ns_,
                                                                   "learning who shares a node"));
    std::vector<std::string> names;
    communicator_id_ = id_from(blobs);
    for (int rank = 0; rank < spec_.num_ranks; ++rank) {
      HFR_ASSIGN_OR_RETURN(RankInfo info, decode_rank_info(blobs[static_cast<size_t>(rank)], rank));
      names.push_back(info.node_name);
      roster_.add(std::move(info));
    }
    parts_.shape = make_shape(spec_.rank, names);
    parts_.shape.any_on_device = roster_.any_on_device();
    parts_.shape.all_on_device = roster_.all_on_device();
    const auto& local = parts_.shape.nodes[static_cast<size_t>(parts_.shape.node)];
    parts_.one_process = roster_.is_one_process(local);
    parts_.shape.crowded = !roster_.has_cpu(local[0]);
    parts_.wait = wait_policy();
    return Status();
  }

  // Whether any two ranks share a GPU: how chunks and lanes are sized depends on it.
  Status learn_gpus() {
    show(WaitStage::kOpenDevice);
    std::string mine;
    if (parts_.config.device == "cuda") {
      parts_.cuda_context = spec_.cuda_context;
      parts_.cuda_ordinal = spec_.cuda_ordinal < 0 ? parts_.shape.local_rank : spec_.cuda_ordinal;
      HFR_ASSIGN_OR_RETURN(mine, cuda_identity(parts_.cuda_context, parts_.cuda_ordinal));
      mine = gpu_identity(mine, roster_[spec_.rank]);
    }
    HFR_ASSIGN_OR_RETURN(auto gpus,
                         parts_.membership->all_gather(std::as_bytes(std::span(mine)), deadline_ns_,
                                                       "learning who shares a GPU"));
    std::vector<std::string> names;
    for (const auto& gpu : gpus)
      names.emplace_back(reinterpret_cast<const char*>(gpu.data()), gpu.size());
    parts_.shape.own_gpus = have_own_gpus(std::move(names));
    return Status();
  }

  // The same on all ranks, and different for each communicator: each has doors and meeting points
  // of its own.
  uint64_t id_from(const std::vector<std::vector<std::byte>>& blobs) const {
    std::string purpose = "hfreduce record ";
    for (const auto& blob : blobs)
      purpose.append(reinterpret_cast<const char*>(blob.data()), blob.size());
    uint64_t id = 0;
    std::memcpy(&id, spec_.secret.derive(purpose).bytes().data(), sizeof(id));
    return id;
  }

  Status open_record() {
    const Config& config = parts_.config;
    if (config.recorder_dir == "off") return Status();
    const Shape& shape = parts_.shape;
    auto file = RecordFile::create(config.recorder_dir, {.communicator = communicator_id_,
                                                         .rank = shape.rank,
                                                         .num_ranks = shape.num_ranks,
                                                         .node = shape.node,
                                                         .num_nodes = shape.num_nodes(),
                                                         .local_rank = shape.local_rank,
                                                         .num_local = shape.num_local()});
    if (!file.ok()) {
      return Status(file.status().code(), cat("HFREDUCE_RECORDER_DIR=", config.recorder_dir, ": ",
                                              file.status().message()));
    }
    parts_.record = std::make_unique<RecordFile>(std::move(*file));
    parts_.membership->record_ends(parts_.record->record().ends);
    if (parts_.record->folder().empty()) {
      parts_.logger.log(LogLevel::kInfo,
                        "no folder for the rank's record; hfreduce inspect will not find it");
      return Status();
    }
    const auto signal = signal_number(config.recorder_signal);
    if (signal) {
      HFR_ASSIGN_OR_RETURN(parts_.dump_on_signal, DumpOnSignal::install(*signal, *parts_.record));
    }
    if (shape.local_rank != 0) return Status();
    sweep_records(parts_.record->folder());
    sweep_records(cat(parts_.record->folder(), "/", kDumpFolder));
    return Status();
  }

  // With a core for each rank a waiter may spin; else the core belongs to somebody who works.
  WaitPolicy wait_policy() const {
    WaitPolicy policy;
    if (parts_.config.spin_us > 0) {
      policy.spin_ns = parts_.config.spin_us * 1000;
    } else if (!roster_.has_cpu(spec_.rank)) {
      policy.spin_ns = 0;
    }
    // A GPU's stream that comes to an operation wakes nobody.
    if (parts_.config.device == "cuda") policy.longest_sleep_ns = Waiter::kShortestSleepNs;
    return policy;
  }

  Status share_memory(MemoryDoor& door) {
    const Shape& shape = parts_.shape;
    size_t staging_bytes = Staging::bytes_needed(parts_.staging);
    parts_.heap_bytes = parts_.config.heap_bytes;
    if (parts_.heap_bytes == 0) parts_.heap_bytes = machine_memory_bytes();
    parts_.heap_bytes = round_up(parts_.heap_bytes, kHugePageBytes);
    size_t heap_bytes = parts_.heap_bytes * static_cast<size_t>(shape.num_local());
    const Handshake& handshake = parts_.membership->handshake();
    VerdictFlag flag(spec_.cancel, *parts_.membership);
    CancelScope scope(&flag);
    if (shape.local_rank == 0) {
      HFR_ASSIGN_OR_RETURN(parts_.memory, make_node_memory(staging_bytes, heap_bytes));
      const SharedMemory& staging = parts_.memory->staging();
      // Before anybody pins it: pages that are pinned stay where they are, and small.
      if (parts_.config.bind == "auto") interleave_memory(staging.data(), staging.size());
      if (parts_.config.huge_pages == "auto") staging.collapse(0, staging.size());
      const auto& local = shape.nodes[static_cast<size_t>(shape.node)];
      return door.hand_out(parts_.memory, {local.begin() + 1, local.end()}, handshake,
                           deadline_ns_);
    }
    int first = shape.nodes[static_cast<size_t>(shape.node)][0];
    HFR_ASSIGN_OR_RETURN(parts_.memory, fetch_node_memory(roster_[first].door, first, staging_bytes,
                                                          heap_bytes, handshake, deadline_ns_));
    return Status();
  }

  Status open_device() {
    if (parts_.config.device == "host") {
      parts_.device = std::make_unique<HostDevice>();
      return Status();
    }
    CudaOptions options;
    options.context = parts_.cuda_context;
    options.ordinal = parts_.cuda_ordinal;
    options.memory_operations = parts_.config.cuda_memops;
    options.patience_ns = parts_.config.timeout_ms * 1'000'000;
    options.staging = parts_.memory->staging().data();
    options.mapping = parts_.memory;
    options.staging_bytes = parts_.memory->staging().size();
    options.bounce_bytes = parts_.staging.flat_bytes;
    options.gdr_copy_bytes = parts_.config.gdr_copy_bytes;
    if (parts_.config.check != "off") options.gdr_copy_bytes = 0;  // there are no small messages
    options.once_per_mapping = [this](const NodeMemory::Maker& make) {
      return parts_.memory->once(make);
    };
    HFR_ASSIGN_OR_RETURN(CudaDeviceInfo opened, open_cuda_device(options));
    parts_.device = std::move(opened.device);
    group_side_ = opened.group_side;
    findings_.group = {{opened.identity, opened.reaches}, group_side_ != nullptr};
    parts_.logger.of(Subsystem::kDevice)
        .log(LogLevel::kInfo, "GPU ", opened.identity, ", ordered by ",
             opened.memory_operations ? "stream memory operations" : "events",
             "; small messages are copied ", opened.small_messages);
    share_cpus();
    return Status();
  }

  // The machine's CUDA ranks divide its CPUs; each also has a thread that drives its copies.
  void share_cpus() {
    const Roster::CpuShare share = roster_.cpu_share(spec_.rank);
    WorkerRequest request;
    request.num_shares = share.num_shares;
    request.share_idx = share.share_idx;
    const int granted = usable_cpus() / request.num_shares - 1;
    request.max_threads = static_cast<int>(parts_.config.add_threads);
    if (request.max_threads == 0) {
      request.max_threads =
          std::clamp(granted, 1, most_add_threads(parts_.shape, request.num_shares));
    }
    parts_.add_cpus = worker_cpus(request);
    parts_.add_cpus.resize(static_cast<size_t>(request.max_threads), parts_.add_cpus.back());
    if (parts_.config.bind != "auto") {
      for (std::vector<int>& cpus : parts_.add_cpus) cpus.clear();
    }
  }

  // Private buffers are reached when that works between all ranks of the node, ranks learn with
  // whom they share a GPU, and which GPUs form groups.
  Status share_findings() {
    HFR_RETURN_IF_ERROR(try_peer_memory());
    findings_.mates_key = GpuMates::new_key();
    if (spec_.before_last_stage) spec_.before_last_stage();
    HFR_ASSIGN_OR_RETURN(auto blobs, parts_.membership->all_gather(encode(findings_), deadline_ns_,
                                                                   "sharing what was found"));
    std::vector<uint64_t> mates_keys;
    std::vector<GroupFinding> group_findings;
    std::vector<std::string> gpus;
    std::vector<bool> same_process;
    for (int rank = 0; rank < spec_.num_ranks; ++rank) {
      HFR_ASSIGN_OR_RETURN(Findings theirs,
                           decode_findings(blobs[static_cast<size_t>(rank)], rank));
      const bool local = parts_.shape.node_of_rank[static_cast<size_t>(rank)] == parts_.shape.node;
      if (local && !theirs.reaches_peers) parts_.peer_memory = PeerMemory();
      theirs.group.gpu.process = roster_.first_of_process(rank);
      gpus.push_back(theirs.group.gpu.gpu);
      group_findings.push_back(std::move(theirs.group));
      same_process.push_back(roster_.share_process(rank, spec_.rank));
      mates_keys.push_back(theirs.mates_key);
    }
    const GpuCompany company = find_gpu_company(roster_, parts_.shape, gpus);
    if (company.mates.size() > 1) {
      parts_.mate_idx = company.mate_idx;
      const uint64_t key = mates_keys[static_cast<size_t>(company.mates[0])];
      parts_.mates = GpuMates::join(key, company.mates.size());
    } else {
      // Mates' team hands copies over (device/cuda/copy_team.hpp), whoever else is there.
      parts_.gpu_sharers = company.sharers;
    }
    HFR_ASSIGN_OR_RETURN(auto planned, plan_gpu_groups(parts_.shape, parts_.config.gpu_group,
                                                       group_findings, spec_.is_child));
    return join_gpu_groups(planned, group_side_, same_process, deadline_ns_, parts_);
  }

  Status try_peer_memory() {
    const Shape& shape = parts_.shape;
    const auto& local = shape.nodes[static_cast<size_t>(shape.node)];
    // Another PID namespace makes the number another process'.
    auto space = [](const RankInfo& info) { return info.process.substr(info.process.find('@')); };
    const RankInfo& me = roster_[spec_.rank];
    std::vector<PeerMemory::Process> processes;
    // Between nodes and beside GPUs operations travel the lanes, whatever could be reached.
    bool works = parts_.config.direct && !parts_.one_process && local.size() > 1 &&
                 shape.num_nodes() == 1 && !shape.any_on_device;
    for (int rank : local) {
      const RankInfo& peer = roster_[rank];
      processes.push_back(peer.memory);
      works = works && space(peer) == space(me);
    }
    if (works) parts_.peer_memory = PeerMemory(std::move(processes), peer_block_bytes(shape));
    works = works && parts_.peer_memory.available();
    for (int r = 0; r < shape.num_local() && works; ++r) works = parts_.peer_memory.try_out(r);
    findings_.reaches_peers = works;
    return Status();
  }

  Result<std::unique_ptr<Transport>> make_transport() const {
    TransportFacts facts;
    facts.same_process = roster_.is_one_process();
    for (int rank = 0; rank < spec_.num_ranks; ++rank)
      facts.no_rails.push_back(roster_[rank].no_rails);
    HFR_ASSIGN_OR_RETURN(
        TransportChoice choice,
        choose_transport(parts_.config.transport, facts, parts_.shape, transport_logger()));
    if (choice == TransportChoice::kLoopback) return make_loopback_transport(spec_.rank);
    if (choice == TransportChoice::kVerbs) {
      VerbsOptions options{.bind_host = parts_.membership->local_host(),
                           .rank = spec_.rank,
                           .handshake = parts_.membership->handshake(),
                           .rails = {},
                           .logger = transport_logger()};
      set_verbs_options(parts_.config, rails_.rails, parts_.shape.local_rank, options);
      return make_verbs_transport(std::move(options));
    }
    TcpOptions options{.bind_host = parts_.membership->local_host(),
                       .rank = spec_.rank,
                       .handshake = parts_.membership->handshake(),
                       .congestion = parts_.config.tcp_congestion,
                       .connections = static_cast<int>(parts_.config.tcp_connections),
                       .logger = transport_logger()};
    return make_tcp_transport(std::move(options));
  }

  Status connect_nodes() {
    HFR_ASSIGN_OR_RETURN(parts_.transport, make_transport());
    const SharedMemory& staging = parts_.memory->staging();
    HFR_RETURN_IF_ERROR(parts_.transport->register_memory(staging.data(), staging.size()));
    HFR_ASSIGN_OR_RETURN(std::vector<std::byte> address, parts_.transport->listen());
    HFR_ASSIGN_OR_RETURN(
        auto addresses,
        parts_.membership->all_gather(address, deadline_ns_, "exchanging transport addresses"));
    std::vector<int> peers = peer_ranks(parts_.shape, parts_.schedules, parts_.staging.window);
    std::vector<std::vector<std::byte>> theirs;
    for (int peer : peers) theirs.push_back(addresses[static_cast<size_t>(peer)]);
    VerdictFlag flag(spec_.cancel, *parts_.membership);
    CancelScope scope(&flag);
    return parts_.transport->connect(peers, theirs, deadline_ns_);
  }

  // A rank that fails tells the others why; one that fails because another did says what that one
  // said. Who only saw a connection close gives the others time to say why it did.
  Status explain(const Status& status) {
    const uint64_t patience = status.code() == Code::kRemoteError ? kOthersFirstNs : 0;
    if (auto failure = await_verdict(patience)) return failure->status;
    parts_.membership->report(
        Status(status.code(), cat("set-up failed on rank ", spec_.rank, ": ", status.message())),
        spec_.rank);
    if (auto failure = await_verdict(kVerdictNs)) return failure->status;
    return status;
  }

  std::optional<Failure> await_verdict(uint64_t duration_ns) {
    const uint64_t until = monotonic_ns() + duration_ns;
    Waiter waiter(WaitPolicy{.spin_ns = 0, .sleep_after_ns = 0});
    while (true) {
      if (auto failure = parts_.membership->poll()) return failure;
      if (monotonic_ns() >= until) return std::nullopt;
      waiter.pause();
    }
  }

  JoinSpec spec_;
  Parts parts_;
  Roster roster_;
  RailFinding rails_;
  Findings findings_;
  CudaGroupSide* group_side_ = nullptr;  // a part of parts_.device
  uint64_t deadline_ns_ = 0;
  uint64_t communicator_id_ = 0;
};

}  // namespace

Result<Logger> open_log(const Config& config, int rank) {
  const std::string prefix = cat("rank ", rank);
  const LogLevels levels = log_levels(config);
  if (config.log_file.empty()) return Logger(levels, prefix);
  return Logger::to_file(levels, expand_path(config.log_file, rank), prefix);
}

Result<Parts> set_up(JoinSpec spec) { return SetUp(std::move(spec)).run(); }

void* current_gpu_context() { return current_cuda_context(); }

}  // namespace hfr
