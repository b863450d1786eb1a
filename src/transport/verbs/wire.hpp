// What verbs peers write into each other's memory and tell each other over the control connection.
// Numbers are little endian. The picture of a ring is in docs/transports.md.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "base/shared_memory.hpp"
#include "transport/verbs/gid.hpp"
#include "transport/verbs/transport.hpp"

namespace hfr::verbs {

static_assert(std::endian::native == std::endian::little, "numbers are sent as they lie in memory");

constexpr uint64_t kRingSlots = 128;
constexpr size_t kSlotBytes = 256;

enum class MessageKind : uint16_t {
  kSmall = 1,  // a put; the payload lies before the header
  kLarge = 2,  // a put; the payload went to the landing's home, with an immediate
};

struct Header {
  uint32_t landing = 0;
  uint32_t order = 0;  // among all puts to this peer, over all its connections
  uint64_t bytes = 0;
  uint64_t chunk = 0;
  uint64_t signature = 0;
  MessageKind kind = MessageKind::kSmall;
  uint16_t home_idx = 0;  // HomeCard::idx, of a large put
  uint32_t checksum = 0;  // PutTag's
  uint64_t number = 0;    // of the message on its connection, from 1; last, and so visible last
};
static_assert(sizeof(Header) == 48 && std::is_trivially_copyable_v<Header>);
static_assert(offsetof(Header, number) == sizeof(Header) - sizeof(uint64_t));

constexpr size_t kMaxSmallBytes = kSlotBytes - sizeof(Header);

// A place in a peer's memory that its owner lets us write.
struct HomeCard {
  uint64_t address = 0;
  uint64_t bytes = 0;
  std::array<uint32_t, kMaxVerbsRails> keys{};  // by the owner's rail
  uint64_t idx = 0;                             // among the landing's homes
};

// Letters, one of each kind at a time, beside the rings: they must not wait behind messages that
// wait for other connections. The count is last, and so visible last.
struct Ask {
  uint32_t landing = 0;
  uint32_t reserved = 0;
  uint64_t bytes = 0;  // of the put that waits
  uint64_t count = 0;  // of asks on this connection
};
struct Tell {
  HomeCard home;
  uint64_t count = 0;  // the ask's
};

// A message as it lies in its slot: at the end, payload before header, as one piece.
class Slot {
 public:
  explicit Slot(std::byte* memory) : memory_(memory) {}

  // Begins where a payload of `bytes` does.
  std::byte* payload(size_t bytes) const {
    return memory_ + kSlotBytes - sizeof(Header) - round_up(bytes, 8);
  }
  // How far from the slot's beginning that is.
  static size_t offset(size_t bytes) { return kSlotBytes - sizeof(Header) - round_up(bytes, 8); }
  static size_t message_bytes(size_t payload) { return sizeof(Header) + round_up(payload, 8); }

  void write(const Header& header, uint64_t number) const {
    std::byte* at = memory_ + kSlotBytes - sizeof(Header);
    std::memcpy(at, &header, offsetof(Header, number));
    std::memcpy(at + offsetof(Header, number), &number, sizeof(number));
  }
  // True when message `number` is there, all of it.
  bool has(uint64_t number) const {
    auto* last = reinterpret_cast<uint64_t*>(memory_ + kSlotBytes - sizeof(uint64_t));
    return std::atomic_ref<uint64_t>(*last).load(std::memory_order_acquire) == number;
  }
  Header header() const {
    Header header;
    std::memcpy(&header, memory_ + kSlotBytes - sizeof(Header), sizeof(header));
    return header;
  }

 private:
  std::byte* memory_;
};

// The memory of one end of a connection.
//   | ring: what the peer sends | ring: what I send, a copy | credit | ask | tell | mine of each |
struct BlockLayout {
  static constexpr size_t kRingBytes = kRingSlots * kSlotBytes;
  static constexpr size_t kIn = 0;
  static constexpr size_t kOut = kRingBytes;
  static constexpr size_t kCredit = 2 * kRingBytes;  // how many of my messages the peer consumed
  static constexpr size_t kAsk = kCredit + 128;
  static constexpr size_t kTell = kAsk + 128;
  static constexpr size_t kMine = kTell + 128;  // what I write into the peer's credit, ask, tell
  static constexpr size_t kBytes = kMine + 3 * 128;
  static size_t mine(size_t theirs) { return theirs - kCredit + kMine; }
};
static_assert(sizeof(Ask) <= 128 && sizeof(Tell) <= 128);

// ---- over the control connection, in this order ----

constexpr size_t kMaxGids = 16;

struct RailCard {
  std::array<char, 64> device{};  // zero-terminated
  int32_t port = 0;
  uint16_t lid = 0;
  uint16_t mtu = 0;  // active; bytes
  uint16_t num_gids = 0;
  uint16_t reserved = 0;
  std::array<Gid, kMaxGids> gids;
};

struct PeerCard {
  static constexpr uint32_t kMagic = 0x56524648;  // "HFRV"
  static constexpr uint16_t kVersion = 3;
  uint32_t magic = kMagic;
  uint16_t version = kVersion;
  uint16_t num_rails = 0;
  uint16_t queue_pairs = 0;  // 0: as many as rails that both sides have
  uint8_t service_level = 0;
  uint8_t traffic_class = 0;
  uint16_t mtu = 0;  // asked for; 0: the smaller active one
  uint16_t reserved = 0;
  std::array<RailCard, kMaxVerbsRails> rails;
};
static_assert(std::is_trivially_copyable_v<PeerCard>);

enum class LinkWord : uint32_t {
  kOpened = 0,   // here is my queue pair for this epoch
  kJoined = 1,   // it is joined to yours: you may send
  kGivenUp = 2,  // at set-up: I have no queue pair for this epoch; later: I could not mend the
                 // connection, and leave
};

// One end of a connection in one epoch. Sent at set-up, whenever it is made anew, and in the end.
struct LinkCard {
  uint32_t connection_idx = 0;
  uint32_t epoch = 0;
  uint32_t queue_pair = 0;
  uint32_t first_packet = 0;
  uint64_t block = 0;  // address of the block (BlockLayout)
  uint32_t block_key = 0;
  LinkWord word = LinkWord::kOpened;
  uint16_t lid = 0;  // the port's, as it is now
  uint16_t reserved[3] = {};
  uint64_t received = 0;      // all messages up to this one are here
  uint64_t acknowledged = 0;  // all messages up to this one were acknowledged to me
  uint64_t consumed = 0;
};
static_assert(std::is_trivially_copyable_v<LinkCard>);

// At set-up: whether a side's queue pair is joined to the other's.
struct Verdict {
  std::array<char, 256> why_not{};  // zero-terminated; empty when it is
};

}  // namespace hfr::verbs
