#include "tools/tagged_output.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/text.hpp"

namespace hfr::tools {
namespace {

constexpr size_t kMostPending = size_t{1} << 20;
constexpr size_t kLongestLine = size_t{64} << 10;
constexpr size_t kReadBytes = size_t{16} << 10;
// A pipe that is ready for writing takes this much without blocking (PIPE_BUF).
constexpr size_t kWriteBytes = 4096;

}  // namespace

void TaggedOutput::add(UniqueFd source, int rank, int sink) {
  fcntl(source.get(), F_SETFL, fcntl(source.get(), F_GETFL) | O_NONBLOCK);
  sources_.push_back({std::move(source), cat("[", rank, "] "), static_cast<size_t>(sink), ""});
}

bool TaggedOutput::may_read(const Source& source) const {
  return source.fd.valid() && sinks_[source.sink].pending.size() < kMostPending;
}

void TaggedOutput::append(std::vector<pollfd>& entries) const {
  for (const Source& source : sources_) {
    if (may_read(source)) entries.push_back({source.fd.get(), POLLIN, 0});
  }
  for (const Sink& sink : sinks_) {
    if (!sink.pending.empty()) entries.push_back({sink.fd, POLLOUT, 0});
  }
}

void TaggedOutput::handle(const pollfd* entries, size_t num_entries) {
  for (size_t i = 0; i < num_entries; ++i) {
    if (entries[i].revents == 0) continue;
    if ((entries[i].events & POLLIN) != 0) {
      auto found = std::find_if(sources_.begin(), sources_.end(),
                                [&](const Source& s) { return s.fd.get() == entries[i].fd; });
      if (found != sources_.end()) read_some(*found);
    } else {
      auto found = std::find_if(sinks_.begin(), sinks_.end(),
                                [&](const Sink& s) { return s.fd == entries[i].fd; });
      if (found != sinks_.end()) write_some(*found);
    }
  }
}

void TaggedOutput::read_some(Source& source) {
  char bytes[kReadBytes];
  ssize_t got = read(source.fd.get(), bytes, sizeof(bytes));
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) {
    if (!source.line.empty()) end_line(source);
    source.fd.reset();
    return;
  }
  for (ssize_t i = 0; i < got; ++i) {
    if (bytes[i] != '\n') source.line += bytes[i];
    if (bytes[i] == '\n' || source.line.size() >= kLongestLine) end_line(source);
  }
}

void TaggedOutput::end_line(Source& source) {
  Sink& sink = sinks_[source.sink];
  if (!sink.broken) sink.pending += source.prefix + source.line + "\n";
  source.line.clear();
}

void TaggedOutput::write_some(Sink& sink) {
  ssize_t written = write(sink.fd, sink.pending.data(), std::min(sink.pending.size(), kWriteBytes));
  if (written >= 0) {
    sink.pending.erase(0, static_cast<size_t>(written));
  } else if (errno != EAGAIN && errno != EINTR) {
    // Closing the pipes lets the ranks learn of it, as they would without tags.
    sink.pending.clear();
    sink.broken = true;
    for (Source& source : sources_) {
      if (&sinks_[source.sink] == &sink) source.fd.reset();
    }
  }
}

void TaggedOutput::finish() {
  for (Source& source : sources_) {
    // No writer is left, so reading ends at the end of file.
    while (source.fd.valid()) {
      pollfd entry{source.fd.get(), POLLIN, 0};
      if (poll(&entry, 1, 0) <= 0) break;
      read_some(source);
    }
    if (!source.line.empty()) end_line(source);
    source.fd.reset();
  }
}

bool TaggedOutput::empty() const {
  return std::all_of(sinks_.begin(), sinks_.end(),
                     [](const Sink& sink) { return sink.pending.empty(); });
}

}  // namespace hfr::tools
