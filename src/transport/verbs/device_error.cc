#include "transport/verbs/device_error.hpp"

#include <cerrno>

#include "base/text.hpp"

namespace hfr::verbs {
namespace {

const char* hint(int error) {
  switch (error) {
    case ENOMEM:
    case EAGAIN:
      return "raise the limit of locked memory, ulimit -l; if it is unlimited the device has no "
             "room for more, and a lower HFREDUCE_IB_QPS makes fewer connections";
    case EINVAL:
      return "the device or its driver refuses the values: compare with the limits that "
             "ibv_devinfo "
             "-v shows, or leave the device out with HFREDUCE_IB_HCA";
    case EPERM:
    case EACCES:
      return "this user may not use the device: see owner and mode of /dev/infiniband/uverbs*";
    case EMFILE:
      return "raise the limit of open files, ulimit -n";
    case ETIMEDOUT:
    case EHOSTUNREACH:
    case ENETUNREACH:
      return "the network interface has no route to the other side's address, or no neighbour "
             "answers: see ip route and ip neigh";
    default:
      return "see the kernel's log; HFREDUCE_IB_HCA can leave the device out";
  }
}

}  // namespace

Status device_error(const std::string& what, const VerbsRail& rail, int error) {
  const Status status = system_error(cat(rail.text(), ": ", what), error);
  return Status(status.code(), cat(status.message(), " (", hint(error), ")"));
}

}  // namespace hfr::verbs
