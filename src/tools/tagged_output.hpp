// TaggedOutput: what several ranks write, line by line, each line marked with its rank.
//
// Never blocks: a slow reader of standard output slows the ranks down, not the supervisor.
#pragma once

#include <poll.h>

#include <string>
#include <vector>

#include "base/net.hpp"

namespace hfr::tools {

class TaggedOutput {
 public:
  // Lines go to the descriptors `out` and `err`, which stay the caller's.
  TaggedOutput(int out, int err) : sinks_{{out, "", false}, {err, "", false}} {}

  // Takes over the read end of a rank's standard output (sink 0) or standard error (sink 1).
  void add(UniqueFd source, int rank, int sink);

  // Appends what to poll for; then handle() takes the same entries back.
  void append(std::vector<pollfd>& entries) const;
  void handle(const pollfd* entries, size_t num_entries);

  // The ranks are gone: reads what is left in the pipes and ends unfinished lines.
  void finish();
  // Nothing is left to write.
  bool empty() const;

 private:
  struct Sink {
    int fd;
    std::string pending;
    bool broken;  // its reader is gone
  };
  struct Source {
    UniqueFd fd;
    std::string prefix;
    size_t sink;
    std::string line;  // not ended yet
  };

  bool may_read(const Source& source) const;
  void read_some(Source& source);
  void write_some(Sink& sink);
  void end_line(Source& source);

  std::vector<Sink> sinks_;
  std::vector<Source> sources_;
};

}  // namespace hfr::tools
