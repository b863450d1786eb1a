// One rank of a chaos trial (docs/chaos.md): joins, sums in a loop until the driver has seen
// enough, shrinks and goes on where it is allowed to, and says on one line of standard output how
// it ended. The public C interface only. Every sum is checked, element by element, against what the
// members of that moment gave.
//
// usage: chaos_rank NAME=VALUE...   with rank and number of ranks from RANK and WORLD_SIZE
//   page=FILE      the job's page (below), which all ranks and the driver map
//   seed=N         of the steps: the same on all ranks
//   timeout_ms=N   deadline of set-up, operations and shrinks
//   max_bytes=N    of one buffer
//   recover=1      after a failure: shrink and go on
//   lives=N        communicators made one after the other
//   by_id=1        ranks meet by an id that travels through the page, not by HFREDUCE_RENDEZVOUS
//   non_blocking=1, split=1 (now and then), heap=1 (buffers of hfr_mem_alloc; 2: those of
//                  odd ranks)
//   limit=RESOURCE:ROOM:STEPS   nofile or as: this process' limit is set so that ROOM descriptors
//                  or bytes more fit in, after so many steps (0: before it joins)
//   spoil=KIND     misbehave, so that the driver can be tested
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <new>
#include <string>
#include <vector>

#include "elements.hpp"
#include "hfreduce/hfreduce.h"
#include "page.hpp"
#include "process.hpp"

namespace hfr_tests {
namespace {

constexpr size_t kMostInFlight = 4;
constexpr size_t kGuardBytes = 4096;
constexpr std::byte kGuard{0xa5};
constexpr int kMostShrinks = 6;

// SplitMix64: the steps are drawn from it, alike on all ranks and all machines.
class Draw {
 public:
  explicit Draw(uint64_t seed) : state_(seed) {}
  uint64_t below(uint64_t limit) {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return (z ^ (z >> 31)) % limit;
  }

 private:
  uint64_t state_;
};

class Arguments {
 public:
  Arguments(int argc, char** argv) {
    for (int i = 1; i < argc; ++i) {
      const std::string argument = argv[i];
      const size_t equals = argument.find('=');
      if (equals == std::string::npos) continue;
      values_[argument.substr(0, equals)] = argument.substr(equals + 1);
    }
  }
  std::string text(const char* name) const {
    const auto found = values_.find(name);
    return found == values_.end() ? "" : found->second;
  }
  uint64_t number(const char* name) const { return std::strtoull(text(name).c_str(), nullptr, 10); }
  bool flag(const char* name) const { return number(name) != 0; }

 private:
  std::map<std::string, std::string> values_;
};

// What a step's operations are. All ranks draw the same.
struct Step {
  enum class Way { kBlocking, kWait, kTest, kStream };
  Type type;
  hfr_op_t op;
  size_t count;
  size_t in_flight;
  bool in_place;
  Way way;
  bool split;
};

class Rank {
 public:
  explicit Rank(const Arguments& arguments)
      : seed_(arguments.number("seed")),
        timeout_ms_(static_cast<uint32_t>(arguments.number("timeout_ms"))),
        max_bytes_(arguments.number("max_bytes")),
        may_recover_(arguments.flag("recover")),
        lives_(std::max<int>(1, static_cast<int>(arguments.number("lives")))),
        by_id_(arguments.flag("by_id")),
        non_blocking_(arguments.flag("non_blocking")),
        may_split_(arguments.flag("split")),
        spoil_(arguments.text("spoil")),
        rank_(std::atoi(std::getenv("RANK"))),
        num_ranks_(std::atoi(std::getenv("WORLD_SIZE"))),
        on_heap_(arguments.number("heap") == 1 ||
                 (arguments.number("heap") == 2 && rank_ % 2 == 1)) {
    const int fd = open(arguments.text("page").c_str(), O_RDWR | O_CLOEXEC);
    void* memory = mmap(nullptr, sizeof(Page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd < 0 || memory == MAP_FAILED) give_up("no page");
    close(fd);
    page_ = static_cast<Page*>(memory);
    mine_ = &page_->ranks[rank_];
    // All that the rank itself needs it has before its limits are lowered.
    for (Buffer* buffer : {&send_, &recv_}) {
      buffer->own = static_cast<std::byte*>(
          std::aligned_alloc(kGuardBytes, buffer_bytes() + 2 * kGuardBytes));
      if (buffer->own == nullptr) give_up("no memory for buffers");
      std::memset(buffer->own, static_cast<int>(kGuard), buffer_bytes() + 2 * kGuardBytes);
      buffer->data = buffer->own + kGuardBytes;
    }
    touch_stack();
    if (!limit_.read(arguments.text("limit"))) give_up("limit cannot be read");
    if (hfr_stream_create(&stream_) != HFR_SUCCESS) give_up("no stream");
    before_ = open_descriptors();
  }

  // A stack that cannot grow under a limit ends the process: it has grown before.
  static void touch_stack() {
    volatile std::byte pages[1 << 20];
    for (size_t i = 0; i < sizeof(pages); i += 4096) pages[i] = std::byte{0};
  }

  // Without the library's doing.
  [[noreturn]] static void give_up(const char* why) {
    char line[256];
    const int length =
        std::snprintf(line, sizeof(line), "{\"outcome\": \"unable\", \"sentence\": \"%s\"}\n", why);
    [[maybe_unused]] const ssize_t written =
        write(STDOUT_FILENO, line, static_cast<size_t>(length));
    _exit(3);
  }

  int run() {
    for (life_ = 0; life_ < lives_ && !ended_; ++life_) live();
    phase(Phase::kEnding);
    limit_.restore();
    const std::string left = what_is_left();
    phase(Phase::kDone);
    report(left);
    return 0;
  }

 private:
  struct Buffer {
    std::byte* own = nullptr;   // with guards around it
    std::byte* data = nullptr;  // own, or the communicator's
  };

  // ---- time, and what the driver sees of it

  void phase(Phase phase) { mine_->phase = static_cast<uint64_t>(phase); }

  // Calls the library. `promise_ms` is when the call has to be back.
  template <typename Function>
  auto call(uint64_t promise_ms, Function&& function) {
    const uint64_t begin = now_ns();
    mine_->promise_ms = promise_ms;
    mine_->since_ns = begin;
    auto result = function();
    mine_->since_ns = 0;
    const auto took_ms = static_cast<int64_t>((now_ns() - begin) / 1'000'000);
    latest_ms_ = std::max(latest_ms_, took_ms - static_cast<int64_t>(promise_ms));
    return result;
  }
  uint64_t promise(uint64_t grace_ms) const { return timeout_ms_ + grace_ms; }

  // ---- a life: from set-up to tear-down

  void live() {
    mine_->life = static_cast<uint64_t>(life_);
    limit_.lower_when_due(mine_->steps);
    if (spoil_ == "crash") std::abort();
    if (spoil_ == "mute") {
      fail(HFR_SYSTEM_ERROR, "set-up", "");
      ended_ = true;
      return;
    }
    phase(Phase::kJoining);
    if (!join()) {
      ended_ = true;
      return;
    }
    members_.clear();
    for (int rank = 0; rank < num_ranks_; ++rank) members_.push_back(rank);
    begin_communicator();
    phase(Phase::kTraining);
    last_ = false;
    bool well = take_memory();
    while (well && !last_) {
      limit_.lower_when_due(mine_->steps);
      well = sum_step() || (may_recover_ && !ended_ && recover());
    }
    phase(Phase::kEnding);
    if (well) {
      check(call(promise(2'000), [&] { return hfr_comm_finalize(comm_); }), "finalize");
    }
    leave();
    // Another life takes all ranks.
    ended_ = failure_ != HFR_SUCCESS || static_cast<int>(members_.size()) < num_ranks_;
  }

  void leave() {
    if (comm_ == nullptr) return;
    const hfr_status_t status = call(promise(3'000), [&] { return hfr_comm_destroy(comm_); });
    comm_ = nullptr;
    if (status != HFR_SUCCESS) fail(status, "destroy", hfr_get_last_error(nullptr));
  }

  bool join() {
    hfr_comm_options_t options = HFR_COMM_OPTIONS_INIT;
    options.timeout_ms = timeout_ms_;
    options.non_blocking = non_blocking_ ? 1 : 0;
    hfr_unique_id_t id{};
    const bool by_id = by_id_ || life_ > 0;
    if (by_id && !exchange_id(id)) return false;
    hfr_status_t status = call(promise(1'000), [&] {
      hfr_status_t result = by_id ? hfr_comm_init_rank(&comm_, num_ranks_, &id, rank_, &options)
                                  : hfr_comm_init_env(&comm_, &options);
      while (result == HFR_IN_PROGRESS) {
        sleep_us(200);
        if (hfr_comm_get_async_error(comm_, &result) != HFR_SUCCESS) break;
      }
      return result;
    });
    if (status == HFR_SUCCESS) return true;
    fail(status, "set-up", hfr_get_last_error(comm_));
    leave();
    return false;
  }

  bool exchange_id(hfr_unique_id_t& id) {
    Page::Id& place = page_->ids[life_];
    if (rank_ == 0) {
      const hfr_status_t status = hfr_get_unique_id(&id);
      if (status != HFR_SUCCESS) {
        fail(status, "get_unique_id", hfr_get_last_error(nullptr));
        place.made = 2;
        return false;
      }
      place.id = id;
      place.made = 1;
      return true;
    }
    // Rank 0 may be dead; the others of this job then have nothing to join.
    const uint64_t until = now_ns() + timeout_ms_ * uint64_t{1'000'000};
    while (place.made == 0 && now_ns() < until) sleep_us(200);
    if (place.made != 1) {
      fail(HFR_REMOTE_ERROR, "exchange of the id", "rank 0 gave no id");
      return false;
    }
    id = place.id;
    return true;
  }

  // Memory of the communicator, for its life. A rank that gets none calls everything off.
  bool take_memory() {
    send_.data = send_.own + kGuardBytes;
    recv_.data = recv_.own + kGuardBytes;
    if (!on_heap_) return true;
    for (Buffer* buffer : {&send_, &recv_}) {
      void* memory = nullptr;
      const hfr_status_t status = call(
          promise(0), [&] { return hfr_mem_alloc(comm_, &memory, buffer_bytes() + kGuardBytes); });
      if (status != HFR_SUCCESS) {
        fail(status, "mem_alloc", hfr_get_last_error(comm_));
        call(promise(0), [&] { return hfr_comm_abort(comm_); });
        return false;
      }
      buffer->data = static_cast<std::byte*>(memory);
      std::memset(buffer->data + buffer_bytes(), static_cast<int>(kGuard), kGuardBytes);
    }
    return true;
  }

  // ---- steps

  size_t slot_bytes() const { return max_bytes_ / kMostInFlight & ~size_t{63}; }
  size_t buffer_bytes() const { return slot_bytes() * kMostInFlight; }

  Step draw_step() const {
    Draw draw(seed_ ^ step_ * 0x9e3779b97f4a7c15);
    Step step{};
    step.type = kTypes[draw.below(std::size(kTypes))];
    step.op = draw.below(4) == 0 ? HFR_MAX : HFR_SUM;
    step.way = static_cast<Step::Way>(draw.below(4));
    step.in_flight = step.way == Step::Way::kBlocking ? 1 : 1 + draw.below(kMostInFlight);
    step.in_place = draw.below(2) == 0;
    const size_t most = slot_bytes() / step.type.bytes;
    step.count = 2 + (draw.below(2) == 0 ? draw.below(300) : draw.below(most - 2));
    step.count = std::min(step.count, most);
    step.split = may_split_ && draw.below(8) == 0;
    return step;
  }

  // False: it failed. Wrong sums end the process.
  bool sum_step() {
    const Step step = draw_step();
    if (!sum(step, comm_, members_, &last_)) return false;
    ++step_;
    ++mine_->steps;
    until_ns_ = now_ns();
    if (spoil_ == "hang" && rank_ == 0 && mine_->steps == 3) {
      call(0, [] { return pause(); });
    }
    return last_ || !step.split || split_step(step);
  }

  bool sum(const Step& step, hfr_comm_t comm, const std::vector<int>& members, bool* last) {
    Values given, wanted;
    for (size_t j = 0; j < step.in_flight; ++j) {
      std::byte* sent = at(send_, j, step);
      std::byte* result = step.in_place ? sent : at(recv_, j, step);
      for (size_t v = 0; v < 8; ++v) given[v] = bits_of(step.type, input(rank_, step_, j, v));
      by_width(step.type.bytes, [&](auto element) {
        using Element = decltype(element);
        fill<Element>(sent, step.count, given);
        const Element wish = static_cast<Element>(
            bits_of(step.type, page_->header.stop != 0 && mine_->steps >= 3 ? 1 : 0));
        std::memcpy(sent, &wish, sizeof(wish));
        if (!step.in_place) std::memset(result, 0xee, step.count * sizeof(Element));
      });
    }
    if (!operate(step, comm)) return false;
    for (size_t j = 0; j < step.in_flight; ++j) {
      std::byte* result = at(step.in_place ? send_ : recv_, j, step);
      for (size_t v = 0; v < 8; ++v) {
        int value = 0;
        for (int rank : members) {
          const int theirs = input(rank, step_, j, v);
          value = step.op == HFR_SUM ? value + theirs : std::max(value, theirs);
        }
        wanted[v] = bits_of(step.type, value);
        given[v] = bits_of(step.type, input(rank_, step_, j, v));
      }
      if (spoil_ == "sum" && rank_ == 0 && mine_->steps == 2)
        result[step.count * step.type.bytes - 1] ^= std::byte{1};
      by_width(step.type.bytes, [&](auto element) {
        using Element = decltype(element);
        size_t wrong = first_wrong<Element>(result, step.count, wanted);
        if (wrong < step.count) end_wrong(step, "the result", wrong, members);
        if (!step.in_place) {
          wrong = first_wrong<Element>(at(send_, j, step), step.count, given);
          if (wrong < step.count) end_wrong(step, "the input afterwards", wrong, members);
        }
        Element wish{};
        std::memcpy(&wish, result, sizeof(wish));
        if (last != nullptr && wish != 0) *last = true;
      });
    }
    for (const Buffer* buffer : {&send_, &recv_}) {
      const std::byte* end = buffer->data + buffer_bytes();
      if (std::any_of(end, end + kGuardBytes, [](std::byte b) { return b != kGuard; }))
        end_wrong(step, "what lies behind the buffer", 0, members);
    }
    return true;
  }

  // At the end of its slot, so that a byte too many is seen.
  std::byte* at(const Buffer& buffer, size_t operation, const Step& step) const {
    return buffer.data + (operation + 1) * slot_bytes() - step.count * step.type.bytes;
  }

  bool operate(const Step& step, hfr_comm_t comm) {
    hfr_request_t requests[kMostInFlight] = {};
    const bool by_request = step.way == Step::Way::kWait || step.way == Step::Way::kTest;
    hfr_status_t status = HFR_SUCCESS;
    for (size_t j = 0; j < step.in_flight && status == HFR_SUCCESS; ++j) {
      const std::byte* sent = at(send_, j, step);
      std::byte* result = at(step.in_place ? send_ : recv_, j, step);
      status = call(promise(2'000), [&] {
        return hfr_all_reduce(sent, result, step.count, step.type.dtype, step.op, comm,
                              step.way == Step::Way::kStream ? stream_ : nullptr,
                              by_request ? &requests[j] : nullptr);
      });
    }
    // The stream's operations have the buffers until it is through, however they end.
    if (step.way == Step::Way::kStream) {
      const hfr_status_t ended =
          call(promise(2'000), [&] { return hfr_stream_synchronize(stream_); });
      if (status == HFR_SUCCESS) status = ended;
    }
    for (size_t j = 0; j < step.in_flight && by_request && status == HFR_SUCCESS; ++j) {
      status = call(promise(2'000), [&] {
        if (step.way == Step::Way::kWait) return hfr_wait(comm, requests[j]);
        int done = 0;
        hfr_status_t looked = HFR_SUCCESS;
        while (done == 0 && looked == HFR_SUCCESS) {
          looked = hfr_test(comm, requests[j], &done);
          if (done == 0) sleep_us(50);
        }
        return looked == HFR_SUCCESS ? hfr_wait(comm, requests[j]) : looked;
      });
    }
    return check(status, "all_reduce", comm);
  }

  // Halves by turns; each sums once, and is gone again.
  bool split_step(const Step& step) {
    const auto place = std::find(members_.begin(), members_.end(), rank_) - members_.begin();
    std::vector<int> half;
    for (size_t i = 0; i < members_.size(); ++i)
      if (i % 2 == static_cast<size_t>(place) % 2) half.push_back(members_[i]);
    hfr_comm_t child = nullptr;
    const hfr_status_t status = call(3 * uint64_t{timeout_ms_} + 2'000, [&] {
      return hfr_comm_split(comm_, static_cast<int>(place % 2), 0, &child);
    });
    if (!check(status, "split")) return false;
    Step small = step;
    small.count = std::min<size_t>(step.count, 1'000);
    const bool well = sum(small, child, half, nullptr) &&
                      check(call(promise(2'000), [&] { return hfr_comm_finalize(child); }),
                            "finalize of a split", child);
    call(promise(3'000), [&] { return hfr_comm_destroy(child); });
    return well;
  }

  // ---- after a failure

  // Shrinks until survivors have agreed who they are and where they go on.
  bool recover() {
    phase(Phase::kShrinking);
    for (int attempt = 0; attempt < kMostShrinks; ++attempt) {
      hfr_comm_t child = nullptr;
      const hfr_status_t status =
          call(promise(2'000), [&] { return hfr_comm_shrink(comm_, nullptr, &child); });
      if (status == HFR_REMOTE_ERROR) {  // somebody died meanwhile
        fail(status, "shrink", hfr_get_last_error(comm_));
        continue;
      }
      if (!check(status, "shrink")) return false;
      leave();
      comm_ = child;
      ++shrinks_;
      begin_communicator();
      if (!take_memory()) return false;
      if (!agree()) {
        if (ended_) return false;
        continue;
      }
      phase(Phase::kTraining);
      forgive();
      return true;
    }
    return false;
  }

  bool agree() {
    const auto reduce = [&](uint64_t in, uint64_t* out, hfr_op_t op) {
      const hfr_status_t status = call(promise(2'000), [&] {
        return hfr_all_reduce(&in, out, 1, HFR_UINT64, op, comm_, nullptr, nullptr);
      });
      return check(status, "all_reduce after a shrink");
    };
    uint64_t members = 0, step = 0;
    int count = 0;
    if (!reduce(uint64_t{1} << rank_, &members, HFR_SUM) || !reduce(step_, &step, HFR_MIN))
      return false;
    members_.clear();
    for (int rank = 0; rank < num_ranks_; ++rank)
      if ((members >> rank & 1) != 0) members_.push_back(rank);
    hfr_comm_count(comm_, &count);
    if (members >> num_ranks_ != 0 || count != static_cast<int>(members_.size()))
      end_wrong(Step{}, "the members' sum", members, members_);
    if (step + 1 < step_) end_wrong(Step{}, "the step that another rank is at", step, members_);
    step_ = step;
    return true;
  }

  void begin_communicator() { since_ns_ = now_ns(); }

  // ---- how it ends

  bool check(hfr_status_t status, const char* where, hfr_comm_t comm = nullptr) {
    if (status == HFR_SUCCESS) return true;
    fail(status, where, hfr_get_last_error(comm != nullptr ? comm : comm_));
    return false;
  }
  // The first failure since the last recovery is kept, and the last one.
  void fail(hfr_status_t status, const char* where, const char* sentence) {
    if (sentence[0] == '\0' && nameless_[0] == '\0')
      std::snprintf(nameless_, sizeof(nameless_), "%s (%d)", where, static_cast<int>(status));
    std::snprintf(then_, sizeof(then_), "%s (%d): %s", where, static_cast<int>(status), sentence);
    if (failure_ != HFR_SUCCESS) return;
    ++failures_;
    failure_ = status;
    std::snprintf(where_, sizeof(where_), "%s", where);
    std::snprintf(sentence_, sizeof(sentence_), "%s", sentence);
  }
  void forgive() {
    failure_ = HFR_SUCCESS;
    where_[0] = sentence_[0] = then_[0] = '\0';
  }

  [[noreturn]] void end_wrong(const Step& step, const char* what, size_t element,
                              const std::vector<int>& members) {
    std::string who;
    for (int rank : members) who += (who.empty() ? "" : ",") + std::to_string(rank);
    std::snprintf(sentence_, sizeof(sentence_),
                  "step %llu: %s is wrong at %zu of %zu elements of type %d, op %d, way %d, %zu in "
                  "flight, in place %d, members %s",
                  static_cast<unsigned long long>(step_), what, element, step.count,
                  static_cast<int>(step.type.dtype), static_cast<int>(step.op),
                  static_cast<int>(step.way), step.in_flight, step.in_place ? 1 : 0, who.c_str());
    wrong_ = true;
    report("");
    _exit(1);
  }

  // Looked at after all communicators and streams are gone.
  std::string what_is_left() {
    if (spoil_ == "descriptor") [[maybe_unused]]
      const int leaked = dup(0);
    if (spoil_ == "process" && fork() == 0) {
      while (true) pause();
    }
    hfr_stream_destroy(stream_);
    std::string left;
    for (const Descriptor& now : open_descriptors()) {
      const bool known = std::any_of(before_.begin(), before_.end(), [&](const Descriptor& then) {
        return then.fd == now.fd && then.target == now.target;
      });
      if (!known) left += "descriptor of " + now.target + "; ";
    }
    // A thread that was joined may be listed for a moment more.
    const uint64_t until = now_ns() + 10'000'000'000;
    while (count_threads() > 1 && now_ns() < until) sleep_us(1'000);
    if (count_threads() > 1) left += std::to_string(count_threads() - 1) + " threads; ";
    if (maps_shared_memory()) left += "a mapping of shared memory; ";
    return left;
  }

  static std::string quoted(const std::string& text) {
    std::string result = "\"";
    for (char c : text) {
      if (c == '"' || c == '\\') result += '\\';
      result += static_cast<unsigned char>(c) < 32 ? ' ' : c;
    }
    return result + "\"";
  }

  void report(const std::string& left) const {
    const char* outcome = wrong_ ? "wrong" : failure_ == HFR_SUCCESS ? "right" : "error";
    uint64_t members = 0;
    for (int rank : members_) members |= uint64_t{1} << rank;
    std::printf(
        "{\"outcome\": \"%s\", \"status\": %d, \"where\": %s, \"sentence\": %s, \"then\": %s, "
        "\"nameless\": %s, \"steps\": %llu, "
        "\"failures\": %d, \"shrinks\": %d, \"members\": %llu, \"since_ns\": %llu, \"until_ns\": "
        "%llu, \"latest_ms\": %lld, \"limited\": %s, \"left\": %s}\n",
        outcome, static_cast<int>(failure_), quoted(where_).c_str(), quoted(sentence_).c_str(),
        quoted(then_).c_str(), quoted(nameless_).c_str(),
        static_cast<unsigned long long>(mine_->steps.load()), failures_, shrinks_,
        static_cast<unsigned long long>(members), static_cast<unsigned long long>(since_ns_),
        static_cast<unsigned long long>(until_ns_), static_cast<long long>(latest_ms_),
        limit_.was_lowered() ? "true" : "false", quoted(left).c_str());
    std::fflush(stdout);
  }

  const uint64_t seed_;
  const uint32_t timeout_ms_;
  const size_t max_bytes_;
  const bool may_recover_;
  const int lives_;
  const bool by_id_;
  const bool non_blocking_;
  const bool may_split_;
  const std::string spoil_;
  const int rank_;
  const int num_ranks_;
  const bool on_heap_;
  Page* page_ = nullptr;
  Page::Rank* mine_ = nullptr;
  Buffer send_, recv_;
  hfr_stream_t stream_ = nullptr;
  std::vector<Descriptor> before_;

  Limit limit_;

  int life_ = 0;
  hfr_comm_t comm_ = nullptr;
  std::vector<int> members_;
  uint64_t step_ = 0;
  bool last_ = false;   // all ranks have agreed to end
  bool ended_ = false;  // no further life

  hfr_status_t failure_ = HFR_SUCCESS;
  bool wrong_ = false;
  char where_[64] = "";
  char sentence_[2048] = "";
  char then_[2048] = "";
  char nameless_[80] = "";  // where a failure had no sentence
  int failures_ = 0;
  int shrinks_ = 0;
  uint64_t since_ns_ = 0;              // the last communicator was made
  uint64_t until_ns_ = 0;              // its last sum
  int64_t latest_ms_ = INT64_MIN / 2;  // how far past its promise a call came back; below 0: before
};

}  // namespace
}  // namespace hfr_tests

int main(int argc, char** argv) {
  try {
    return hfr_tests::Rank(hfr_tests::Arguments(argc, argv)).run();
  } catch (const std::bad_alloc&) {  // this program's own, under a limit
    hfr_tests::Rank::give_up("no memory");
  }
}
