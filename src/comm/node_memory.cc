#include "comm/node_memory.hpp"

#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "base/text.hpp"

namespace hfr {
namespace {

// A stranger at the door is given this long to prove itself.
constexpr uint64_t kPatienceNs = 2'000'000'000;
// The door says at the deadline who did not come. Who waits at the door longer than that knows that
// the door hangs.
constexpr uint64_t kDoorGraceNs = 500'000'000;

struct LocalAddress {
  sockaddr_un storage{};
  socklen_t length = 0;
};

LocalAddress abstract_address(const std::string& name) {
  LocalAddress address;
  address.storage.sun_family = AF_UNIX;
  std::memcpy(address.storage.sun_path + 1, name.data(), name.size());
  address.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  return address;
}

bool same_process(int fd) {
  ucred peer{};
  socklen_t size = sizeof(peer);
  return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.pid == getpid();
}

bool same_user(int fd) {
  ucred peer{};
  socklen_t size = sizeof(peer);
  return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == getuid();
}

// Where the other side's end may be the cause, it is that rank's failure: set-up then asks first
// whether somebody is known to be gone.
Status peer_error(const std::string& what, int error_number) {
  const Status status = system_error(what, error_number);
  switch (error_number) {
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE:
      return Status(Code::kRemoteError, status.message());
    default:
      return status;
  }
}

// What goes through the door: in one process the address of a shared_ptr, which the receiver copies
// before it answers; else two descriptors beside the byte.
Status send_descriptors(int fd, int staging, int heap) {
  std::byte mark{1};
  iovec part{&mark, 1};
  std::array<int, 2> fds = {staging, heap};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(fds))> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(fds));
  std::memcpy(CMSG_DATA(header), fds.data(), sizeof(fds));
  if (sendmsg(fd, &message, MSG_NOSIGNAL) != 1)
    return peer_error("handing shared memory over", errno);
  return Status();
}

Result<std::array<UniqueFd, 2>> receive_descriptors(int fd) {
  std::byte mark{0};
  iovec part{&mark, 1};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(2 * sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const ssize_t received = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
  if (received != 1) return peer_error("receiving shared memory", received == 0 ? EPIPE : errno);
  std::array<UniqueFd, 2> fds;
  size_t came = 0;
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header != nullptr && header->cmsg_type == SCM_RIGHTS)
    came = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
  // Where there is room for one of two that one came.
  for (size_t i = 0; i < came; ++i) {
    int received_fd = -1;
    std::memcpy(&received_fd, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
    fds[i].reset(received_fd);
  }
  if (came < fds.size()) {
    return Status(Code::kSystemError,
                  cat("receiving shared memory: ", came,
                      " of 2 descriptors came; is the limit on open files reached?"));
  }
  return fds;
}

enum class Offer : uint8_t { kAddress = 1, kDescriptors = 2 };

Status serve(int fd, const std::shared_ptr<NodeMemory>& memory, uint64_t deadline_ns) {
  const bool here = same_process(fd);
  std::array<std::byte, 9> offer{};
  offer[0] = static_cast<std::byte>(here ? Offer::kAddress : Offer::kDescriptors);
  const auto* address = &memory;
  std::memcpy(&offer[1], &address, sizeof(address));
  if (!here) std::memset(&offer[1], 0, sizeof(address));
  const std::string what = "handing shared memory over";
  HFR_RETURN_IF_ERROR(send_all(fd, offer, deadline_ns, what));
  if (!here) HFR_RETURN_IF_ERROR(send_descriptors(fd, memory->staging().fd(), memory->heap_fd()));
  std::byte thanks{};
  return recv_all(fd, {&thanks, 1}, deadline_ns, what);
}

}  // namespace

Result<const SharedMemory*> NodeMemory::heap() {
  std::lock_guard lock(mutex_);
  if (heap_.data() == nullptr) {
    UniqueFd copy(dup(heap_fd_.get()));
    if (!copy.valid()) return system_error("mapping the heap", errno);
    HFR_ASSIGN_OR_RETURN(heap_, SharedMemory::adopt(std::move(copy), heap_bytes_));
  }
  return static_cast<const SharedMemory*>(&heap_);
}

void NodeMemory::keep(std::shared_ptr<void> what) {
  std::lock_guard lock(mutex_);
  kept_.push_back(std::move(what));
}

Result<std::shared_ptr<void>> NodeMemory::once(const Maker& make) {
  std::lock_guard lock(mutex_);
  if (std::shared_ptr<void> there = companion_.lock()) return there;
  HFR_ASSIGN_OR_RETURN(std::shared_ptr<void> made, make());
  companion_ = made;
  return made;
}

Result<MemoryDoor> MemoryDoor::open() {
  std::array<unsigned char, 16> random{};
  if (getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size())) {
    return system_error("getrandom", errno);
  }
  std::string name = "hfreduce-";
  for (unsigned char byte : random) {
    name += "0123456789abcdef"[byte >> 4];
    name += "0123456789abcdef"[byte & 15];
  }
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return system_error("local socket", errno);
  LocalAddress address = abstract_address(name);
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&address.storage), address.length) != 0 ||
      listen(fd.get(), 4096) != 0) {
    return system_error("listening on a local socket", errno);
  }
  return MemoryDoor(std::move(fd), std::move(name));
}

Result<std::shared_ptr<NodeMemory>> make_node_memory(size_t staging_bytes, size_t heap_bytes) {
  HFR_ASSIGN_OR_RETURN(SharedMemory staging,
                       SharedMemory::create("hfreduce-staging", staging_bytes));
  UniqueFd heap_fd(memfd_create("hfreduce-heap", MFD_CLOEXEC));
  if (!heap_fd.valid()) return system_error("memfd_create", errno);
  if (ftruncate(heap_fd.get(), static_cast<off_t>(heap_bytes)) != 0) {
    return system_error(cat("sizing the heap to ", bytes_text(heap_bytes)), errno);
  }
  return std::make_shared<NodeMemory>(std::move(staging), std::move(heap_fd), heap_bytes);
}

Status MemoryDoor::hand_out(const std::shared_ptr<NodeMemory>& memory, std::set<int> ranks,
                            const Handshake& handshake, uint64_t deadline_ns) {
  while (!ranks.empty()) {
    auto missing = [&](const Status& why) {
      std::string names;
      for (int rank : ranks) names += cat(names.empty() ? "rank " : ", rank ", rank);
      return Status(why.code(),
                    cat(names, " did not fetch the node's shared memory: ", why.message()));
    };
    auto peer = accept_tcp(listener_.get(), deadline_ns);
    if (!peer.ok()) return missing(peer.status());
    if (!same_user(peer->get())) continue;
    uint64_t patience = std::min(deadline_ns, monotonic_ns() + kPatienceNs);
    auto rank = handshake.run(peer->get(), Handshake::Side::kAccepting, patience);
    if (!rank.ok() || ranks.count(*rank) == 0) continue;
    Status served = serve(peer->get(), memory, deadline_ns);
    if (!served.ok()) return missing(served);
    ranks.erase(*rank);
  }
  return Status();
}

Result<std::shared_ptr<NodeMemory>> fetch_node_memory(const std::string& name, int door_rank,
                                                      size_t staging_bytes, size_t heap_bytes,
                                                      const Handshake& handshake,
                                                      uint64_t deadline_ns) {
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return system_error("local socket", errno);
  LocalAddress address = abstract_address(name);
  if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address.storage), address.length) != 0) {
    return peer_error(
        cat("cannot reach the node's shared memory at rank ", door_rank,
            ", which has ended, or is elsewhere (ranks with one HFREDUCE_HOSTID must be on one "
            "machine and in one network namespace)"),
        errno);
  }
  deadline_ns += kDoorGraceNs;
  auto rank = handshake.run(fd.get(), Handshake::Side::kConnecting, deadline_ns);
  const std::string what = cat("receiving the node's shared memory from rank ", door_rank);
  if (!rank.ok()) return Status(rank.status().code(), cat(what, ": ", rank.status().message()));
  std::array<std::byte, 9> offer{};
  HFR_RETURN_IF_ERROR(recv_all(fd.get(), offer, deadline_ns, what));
  std::shared_ptr<NodeMemory> memory;
  if (offer[0] == static_cast<std::byte>(Offer::kAddress) && same_process(fd.get())) {
    const std::shared_ptr<NodeMemory>* theirs = nullptr;
    std::memcpy(&theirs, &offer[1], sizeof(theirs));
    memory = *theirs;
  } else {
    HFR_ASSIGN_OR_RETURN(auto fds, receive_descriptors(fd.get()));
    HFR_ASSIGN_OR_RETURN(SharedMemory staging,
                         SharedMemory::adopt(std::move(fds[0]), staging_bytes));
    memory = std::make_shared<NodeMemory>(std::move(staging), std::move(fds[1]), heap_bytes);
  }
  std::byte thanks{1};
  HFR_RETURN_IF_ERROR(send_all(fd.get(), {&thanks, 1}, deadline_ns, what));
  return memory;
}

}  // namespace hfr
