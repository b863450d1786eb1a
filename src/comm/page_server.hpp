// PageServer: one page of text for whoever connects and asks with an HTTP GET. A thread of its own,
// which sleeps while nobody does.
//
// Clients are strangers: slow ones are dropped, malformed requests are answered with an error, and
// no number of clients takes more than kMaxClients descriptors.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "base/net.hpp"
#include "base/private_fd.hpp"
#include "base/status.hpp"

namespace hfr {

// What the bytes that a client has sent so far ask for.
enum class PageRequest { kUnfinished, kGet, kHead, kOtherPath, kOtherMethod, kMalformed };
PageRequest read_page_request(std::string_view bytes);

class PageServer {
 public:
  static constexpr size_t kMaxClients = 16;
  static constexpr size_t kMaxRequestBytes = 4096;
  static constexpr uint64_t kPatienceNs = 2'000'000'000;

  // `listener` listens and does not block. `page` is called on the server's thread.
  static Result<std::unique_ptr<PageServer>> start(UniqueFd listener,
                                                   std::function<std::string()> page);
  // Drops all clients.
  ~PageServer();
  PageServer(const PageServer&) = delete;
  PageServer& operator=(const PageServer&) = delete;

 private:
  PageServer(UniqueFd listener, UniqueFd stop, std::function<std::string()> page);
  void run();
  void serve();  // until stop_

  PrivateFd listener_;
  UniqueFd stop_;  // readable: the thread ends
  std::function<std::string()> page_;
  std::thread thread_;
};

}  // namespace hfr
