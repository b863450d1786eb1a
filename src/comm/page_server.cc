#include "comm/page_server.hpp"

#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "base/text.hpp"
#include "base/thread.hpp"

namespace hfr {
namespace {

constexpr int kNoDescriptorsMs = 100;  // until accepting is tried again

std::string answer(const char* status, const std::string& body, bool with_body) {
  return cat("HTTP/1.0 ", status,
             "\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: ",
             body.size(), "\r\nConnection: close\r\n\r\n", with_body ? body : std::string());
}

class Client {
 public:
  explicit Client(UniqueFd fd)
      : fd_(std::move(fd)), until_ns_(monotonic_ns() + PageServer::kPatienceNs) {}

  pollfd awaited() const {
    return {fd_.get(), static_cast<short>(answer_.empty() ? POLLIN : POLLOUT), 0};
  }
  uint64_t until_ns() const { return until_ns_; }

  // False: the client is done, or gone.
  bool move_on(const std::function<std::string()>& page) {
    if (answer_.empty() && !read(page)) return false;
    if (answer_.empty()) return true;
    while (sent_ < answer_.size()) {
      const ssize_t n = send(fd_.get(), answer_.data() + sent_, answer_.size() - sent_,
                             MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n < 0) return errno == EAGAIN || errno == EINTR;
      sent_ += static_cast<size_t>(n);
    }
    // Closing on unread bytes would reset the connection, and the answer with it.
    shutdown(fd_.get(), SHUT_WR);
    drain();
    return false;
  }

 private:
  bool read(const std::function<std::string()>& page) {
    char bytes[1024];
    while (answer_.empty()) {
      const ssize_t n = recv(fd_.get(), bytes, sizeof(bytes), MSG_DONTWAIT);
      if (n < 0) return errno == EAGAIN || errno == EINTR;
      if (n == 0) return false;
      request_.append(bytes, static_cast<size_t>(n));
      respond(page);
    }
    return true;
  }

  void respond(const std::function<std::string()>& page) {
    switch (read_page_request(request_)) {
      case PageRequest::kUnfinished:
        if (request_.size() >= PageServer::kMaxRequestBytes)
          answer_ =
              answer("431 Request Header Fields Too Large", "the request is too long\n", true);
        break;
      case PageRequest::kGet:
        answer_ = answer("200 OK", page(), true);
        break;
      case PageRequest::kHead:
        answer_ = answer("200 OK", page(), false);
        break;
      case PageRequest::kOtherPath:
        answer_ = answer("404 Not Found", "the page is /metrics\n", true);
        break;
      case PageRequest::kOtherMethod:
        answer_ = answer("405 Method Not Allowed", "the page is read with GET\n", true);
        break;
      case PageRequest::kMalformed:
        answer_ = answer("400 Bad Request", "this is no HTTP request\n", true);
        break;
    }
  }

  void drain() {
    char bytes[4096];
    for (int i = 0; i < 4; ++i) {
      if (recv(fd_.get(), bytes, sizeof(bytes), MSG_DONTWAIT) <= 0) return;
    }
  }

  UniqueFd fd_;
  uint64_t until_ns_;
  std::string request_;
  std::string answer_;
  size_t sent_ = 0;
};

}  // namespace

PageRequest read_page_request(std::string_view bytes) {
  const size_t end = bytes.find('\n');
  std::string_view line = bytes.substr(0, end);
  if (line.ends_with('\r')) line.remove_suffix(1);
  const bool printable =
      std::all_of(line.begin(), line.end(), [](char c) { return c >= ' ' && c <= '~'; });
  if (!printable) return PageRequest::kMalformed;
  if (end == std::string_view::npos) return PageRequest::kUnfinished;
  const size_t after_method = line.find(' ');
  const size_t before_version = line.rfind(' ');
  if (after_method == std::string_view::npos || before_version == after_method ||
      line.substr(before_version + 1).substr(0, 5) != "HTTP/") {
    return PageRequest::kMalformed;
  }
  // Headers say nothing that matters here, but the client has to be heard out.
  if (bytes.find("\n\r\n") == std::string_view::npos &&
      bytes.find("\n\n") == std::string_view::npos)
    return PageRequest::kUnfinished;
  const std::string_view method = line.substr(0, after_method);
  std::string_view path = line.substr(after_method + 1, before_version - after_method - 1);
  path = path.substr(0, path.find('?'));
  if (method != "GET" && method != "HEAD") return PageRequest::kOtherMethod;
  if (path != "/metrics" && path != "/") return PageRequest::kOtherPath;
  return method == "GET" ? PageRequest::kGet : PageRequest::kHead;
}

Result<std::unique_ptr<PageServer>> PageServer::start(UniqueFd listener,
                                                      std::function<std::string()> page) {
  UniqueFd stop(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!stop.valid()) return system_error("eventfd", errno);
  std::unique_ptr<PageServer> server(
      new PageServer(std::move(listener), std::move(stop), std::move(page)));
  HFR_ASSIGN_OR_RETURN(server->thread_,
                       start_thread("for metrics", [raw = server.get()] { raw->run(); }));
  return server;
}

PageServer::PageServer(UniqueFd listener, UniqueFd stop, std::function<std::string()> page)
    : listener_(std::move(listener)), stop_(std::move(stop)), page_(std::move(page)) {}

PageServer::~PageServer() {
  if (!thread_.joinable()) return;
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(stop_.get(), &one, sizeof(one));
  thread_.join();
}

void PageServer::run() {
  while (true) {
    try {
      return serve();
    } catch (const std::exception&) {
      // Out of memory: all clients are dropped, and those that come again may find more of it.
    }
  }
}

void PageServer::serve() {
  std::vector<Client> clients;
  std::vector<pollfd> entries;
  uint64_t accept_from_ns = 0;
  while (true) {
    uint64_t now = monotonic_ns();
    const bool accepts = clients.size() < kMaxClients && now >= accept_from_ns;
    entries.assign(1, {stop_.get(), POLLIN, 0});
    entries.push_back({accepts ? listener_.get() : -1, POLLIN, 0});
    uint64_t next_ns = accept_from_ns > now ? accept_from_ns : UINT64_MAX;
    for (const Client& client : clients) {
      entries.push_back(client.awaited());
      next_ns = std::min(next_ns, client.until_ns());
    }
    const uint64_t wait_ms = next_ns > now ? (next_ns - now) / 1'000'000 + 1 : 0;
    poll_all(entries, next_ns == UINT64_MAX ? -1 : static_cast<int>(wait_ms));
    if (entries[0].revents != 0) return;
    now = monotonic_ns();
    for (size_t i = clients.size(); i-- > 0;) {
      const bool stays = entries[2 + i].revents == 0 || clients[i].move_on(page_);
      if (!stays || now >= clients[i].until_ns())
        clients.erase(clients.begin() + static_cast<ptrdiff_t>(i));
    }
    if (entries[1].revents == 0) continue;
    UniqueFd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (fd.valid()) {
      clients.emplace_back(std::move(fd));
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      accept_from_ns = now + uint64_t{kNoDescriptorsMs} * 1'000'000;
    }
  }
}

}  // namespace hfr
