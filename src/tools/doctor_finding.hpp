// One thing that `hfreduce doctor` looked at.
#pragma once

#include <string>

namespace hfr::tools {

struct Finding {
  // kNote: as it is, but it could be better. kSkipped: it could not be looked at; `text` says why.
  enum class Verdict { kOk, kNote, kWrong, kSkipped };
  std::string name;  // "memory", "adding", ...
  Verdict verdict = Verdict::kOk;
  std::string text;    // what was found
  std::string advice;  // what to do; empty where all is well
};

// "1.5 GB/s"
std::string gbytes(double bytes_per_s);

}  // namespace hfr::tools
