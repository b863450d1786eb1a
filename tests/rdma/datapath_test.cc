// The verbs datapath makes no system call of its own and allocates nothing: rdma_steady under
// strace.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>

namespace hfr_tests {
namespace {

std::string folder_of_this_program() {
  char path[4096];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof(path));
  std::string text(path, length > 0 ? static_cast<size_t>(length) : 0);
  return text.substr(0, text.rfind('/'));
}

int run(const std::string& command) { return std::system(command.c_str()); }

TEST(RdmaDatapath, NoAllocation) {
  const std::string said = "/dev/shm/hfreduce_steady_said";
  ASSERT_EQ(run(folder_of_this_program() + "/rdma_steady > " + said), 0);
  std::ifstream file(said);
  std::string word;
  uint64_t allocations = 0, puts = 0;
  ASSERT_TRUE(file >> word >> allocations >> word >> puts);
  EXPECT_GT(puts, 0u);
  EXPECT_EQ(allocations, 0u) << "in " << puts << " puts";
}

// Soft-RoCE has no doorbell that a process could write to: its provider rings by a write to the
// device's file, once for each post. Hardware's providers store to a mapped page instead. That
// write alone may show here; a look at the clock would, as an emulated machine answers it by a
// system call.
TEST(RdmaDatapath, NoSystemCallButTheProvidersDoorbell) {
  if (run("command -v strace > /dev/null") != 0) GTEST_SKIP() << "there is no strace";
  const std::string trace = "/dev/shm/hfreduce_steady_trace";
  ASSERT_EQ(run("strace -f -y -qq -o " + trace + " " + folder_of_this_program() +
                "/rdma_steady > /dev/null"),
            0);
  std::ifstream file(trace);
  bool begun = false, ended = false;
  uint64_t doorbells = 0;
  std::string others;
  for (std::string line; std::getline(file, line) && !ended;) {
    const bool doorbell = line.find("</dev/infiniband/uverbs") != std::string::npos &&
                          line.find("write(") != std::string::npos;
    if (line.find("\"steady ends\"") != std::string::npos) {
      ended = true;
    } else if (line.find("\"steady begins\"") != std::string::npos) {
      begun = true;
    } else if (begun && doorbell) {
      ++doorbells;
    } else if (begun && others.size() < 2'000) {
      others += line + "\n";
    }
  }
  ASSERT_TRUE(begun && ended) << "the trace lacks its marks";
  EXPECT_EQ(others, "");
  EXPECT_GT(doorbells, 0u) << "the trace shows no work";
}

}  // namespace
}  // namespace hfr_tests
