// In place of all other files here when infiniband/verbs.h was not there to build with.
#include "transport/verbs/transport.hpp"

namespace hfr {
namespace {

Status no_verbs() {
  return Status(Code::kUnsupported,
                "this build has no verbs: build it where libibverbs-dev (rdma-core-devel) is "
                "installed, or use HFREDUCE_TRANSPORT=tcp");
}

class NoVerbs : public Transport {
 public:
  TransportCapabilities capabilities() const override { return {"verbs", 0, 0}; }
  Result<std::vector<std::byte>> listen() override { return no_verbs(); }
  Status connect(std::span<const int>, std::span<const std::vector<std::byte>>, uint64_t) override {
    return no_verbs();
  }
  void set_landing(uint32_t, void*, size_t) override {}
  bool put(int, const void*, size_t, const PutTag&, Token) override { return false; }
  size_t poll(std::span<TransportEvent>) override { return 0; }
  void sleep(uint64_t) override {}
  void stop() override {}
  std::string peer_error(int) const override { return no_verbs().message(); }
};

}  // namespace

Result<std::vector<VerbsRail>> find_verbs_rails(const std::string&, const Logger&) {
  return no_verbs();
}

std::unique_ptr<Transport> make_verbs_transport(VerbsOptions) {
  return std::make_unique<NoVerbs>();
}

}  // namespace hfr
