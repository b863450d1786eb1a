// Put bandwidth and latency of one link through the Transport port, or of a bare socket, between
// two sides on this machine. compare.py runs it beside perftest and beside itself.
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "base/text.hpp"
#include "bootstrap/auth.hpp"
#include "options.hpp"
#include "socket_link.hpp"
#include "tools/link_measure.hpp"
#include "tools/port_link.hpp"
#include "transport/loopback/transport.hpp"
#include "transport/tcp/transport.hpp"
#include "transport/verbs/transport.hpp"

namespace hfr_bench {
namespace {

constexpr uint64_t kPatienceNs = 120'000'000'000;

struct Failed : std::runtime_error {
  using std::runtime_error::runtime_error;
};

void check(const hfr::Status& status) {
  if (!status.ok()) throw Failed(status.message());
}

template <typename T>
T take(hfr::Result<T> result) {
  check(result.status());
  return std::move(*result);
}

int must(int result, const char* call) {
  if (result < 0) throw Failed(hfr::system_error(call, errno).message());
  return result;
}

// One of the two sides. `to_peer` carries what both must know before their link is there.
struct Side {
  const Options& options;
  const hfr::Secret& secret;
  int number;
  int to_peer;
  uint64_t deadline_ns;
};

std::vector<std::byte> swap_bytes(const Side& side, const std::vector<std::byte>& mine) {
  check(hfr::send_frame(side.to_peer, mine, side.deadline_ns, "the other side"));
  return take(hfr::recv_frame(side.to_peer, 1 << 20, side.deadline_ns, "the other side"));
}

std::unique_ptr<hfr::Transport> make_transport(const Side& side, const hfr::Handshake& handshake) {
  const Options& options = side.options;
  if (options.link == "loopback") return hfr::make_loopback_transport(side.number);
  if (options.link == "tcp") {
    return hfr::make_tcp_transport(
        {.bind_host = options.host, .rank = side.number, .handshake = handshake, .logger = {}});
  }
  auto rails = take(hfr::find_verbs_rails(options.devices[side.number], {}));
  rails.resize(1);
  return hfr::make_verbs_transport({.bind_host = options.host,
                                    .rank = side.number,
                                    .handshake = handshake,
                                    .rails = std::move(rails),
                                    .gid_index = options.gid_index,
                                    .logger = {}});
}

std::unique_ptr<hfr::tools::PortLink> open_port(const Side& side, const hfr::Handshake& handshake) {
  const int peer = 1 - side.number;
  auto link =
      take(hfr::tools::PortLink::make(make_transport(side, handshake), peer, side.options.bytes));
  hfr::Transport& transport = link->transport();
  const std::vector<std::byte> theirs = swap_bytes(side, take(transport.listen()));
  check(transport.connect({&peer, 1}, {&theirs, 1}, side.deadline_ns));
  return link;
}

std::unique_ptr<SocketLink> open_socket(const Side& side) {
  hfr::UniqueFd socket;
  const std::string& host = side.options.host;
  if (side.number == 0) {
    hfr::UniqueFd listener = take(hfr::listen_tcp({host, 0}));
    const uint16_t port = take(hfr::local_address(listener.get())).port;
    swap_bytes(side, {static_cast<std::byte>(port & 0xff), static_cast<std::byte>(port >> 8)});
    socket = take(hfr::accept_tcp(listener.get(), side.deadline_ns));
  } else {
    const std::vector<std::byte> port = swap_bytes(side, {});
    if (port.size() != 2) throw Failed("the other side sent no port");
    const int number = std::to_integer<int>(port[0]) | std::to_integer<int>(port[1]) << 8;
    socket = take(hfr::connect_tcp({host, static_cast<uint16_t>(number)}, host, side.deadline_ns));
  }
  const int on = 1;
  must(setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), "setsockopt");
  return std::make_unique<SocketLink>(std::move(socket), side.options.bytes);
}

template <typename Link>
void measure(Link& link, const Side& side) {
  using namespace hfr::tools;
  const Options& options = side.options;
  double value = 0;
  bool ok = true;
  if (options.measure == "latency") {
    std::vector<double> times;
    ok = measure_latency(link, side.number, options.bytes, options.count, side.deadline_ns, times);
    std::sort(times.begin(), times.end());
    if (!times.empty()) value = times[times.size() / 2] / 1e3;
  } else {
    double elapsed_ns = 0;
    for (const int count : {std::max(1, options.count / 10), options.count}) {  // once to warm up
      ok = ok && measure_train(link, side.number, options.bytes, count, options.depth,
                               side.deadline_ns, elapsed_ns);
    }
    if (elapsed_ns > 0)
      value = static_cast<double>(options.bytes) * options.count / elapsed_ns * 1e3;
  }
  if (!ok) throw Failed(hfr::cat("the link failed or took too long: ", link.error()));
  if (side.number == 0) std::printf("%zu %d %.6f\n", options.bytes, options.count, value);
  // Nobody ends while the other still takes its last message.
  swap_bytes(side, {});
}

void run(const Side& side) {
  if (const int cpu = side.options.cpus[side.number]; cpu >= 0) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    must(sched_setaffinity(0, sizeof(set), &set), "sched_setaffinity, for --cpus");
  }
  if (side.options.link == "sockets") {
    measure(*open_socket(side), side);
    return;
  }
  const hfr::SecretHandshake handshake(side.secret, "bench/transport", side.number);
  measure(*open_port(side, handshake), side);
}

// 0, or 1 after a sentence.
int run_or_complain(const Side& side) {
  try {
    run(side);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: side %d: %s\n", side.number, error.what());
    shutdown(side.to_peer, SHUT_RDWR);  // the other side need not wait
    return 1;
  }
}

int run_both(const Options& options) {
  int ends[2];
  must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), "socketpair");
  const hfr::Secret secret = hfr::Secret::random();
  const uint64_t deadline_ns = hfr::monotonic_ns() + kPatienceNs;
  const Side mine{options, secret, 0, ends[0], deadline_ns};
  const Side other{options, secret, 1, ends[1], deadline_ns};
  if (options.link == "loopback") {
    int other_status = 0;
    std::thread thread([&] { other_status = run_or_complain(other); });
    const int status = run_or_complain(mine);
    thread.join();
    return std::max(status, other_status);
  }
  const pid_t child = must(fork(), "fork");
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(ends[0]);
    _exit(run_or_complain(other));
  }
  close(ends[1]);
  const int status = run_or_complain(mine);
  int child_status = 0;
  must(waitpid(child, &child_status, 0), "waitpid");
  return status != 0 || child_status != 0 ? 1 : 0;
}

}  // namespace
}  // namespace hfr_bench

int main(int argc, char** argv) {
  try {
    return hfr_bench::run_both(hfr_bench::parse_options(argc, argv));
  } catch (const std::invalid_argument& error) {
    std::fprintf(stderr, "error: %s\n%s", error.what(), hfr_bench::kUsage);
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}
