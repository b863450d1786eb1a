// A shared library that is loaded when the program runs, so that building needs none of it.
#ifndef HFREDUCE_BENCH_ALLREDUCE_LATE_LIBRARY_HPP_
#define HFREDUCE_BENCH_ALLREDUCE_LATE_LIBRARY_HPP_

#include <dlfcn.h>

#include <string>
#include <vector>

#include "options.hpp"

namespace hfr_bench {

class LateLibrary {
 public:
  // The first of `names` that loads. Unsupported when none does: then `what` is left out.
  LateLibrary(const std::string& what, const std::vector<const char*>& names) {
    std::string why;
    for (const char* name : names) {
      // Never closed: CUDA's libraries do not survive that.
      handle_ = dlopen(name, RTLD_NOW | RTLD_LOCAL);
      if (handle_ != nullptr) return;
      why += std::string(why.empty() ? "" : "; ") + dlerror();
    }
    throw Unsupported("no " + what + " is installed, or its folder is not in LD_LIBRARY_PATH (" +
                      why + ")");
  }

  template <typename Function>
  void load(Function*& function, const char* name) const {
    function = reinterpret_cast<Function*>(dlsym(handle_, name));
    if (function == nullptr) throw Unsupported(std::string("the library has no ") + name);
  }

 private:
  void* handle_ = nullptr;
};

}  // namespace hfr_bench

#endif  // HFREDUCE_BENCH_ALLREDUCE_LATE_LIBRARY_HPP_
