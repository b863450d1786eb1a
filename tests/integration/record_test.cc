// hfr_comm_dump, and what a communicator leaves behind.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "cluster.hpp"
#include "hfreduce/hfreduce.hpp"

namespace hfr_tests {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

// The environment of the communicators that a test makes.
class Record : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/record-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    setenv("HFREDUCE_RECORDER_DIR", (folder_ + "/records").c_str(), 1);
  }
  void TearDown() override {
    unsetenv("HFREDUCE_RECORDER_DIR");
    fs::remove_all(folder_);
  }
  size_t num_files() const {
    const fs::directory_iterator files(folder_ + "/records");
    return static_cast<size_t>(std::distance(begin(files), end(files)));
  }

  std::string folder_;
};

TEST_F(Record, IsDumpedAndGoesWithTheCommunicator) {
  run_cluster({.ranks_per_node = {2}}, [&](int, hfr_comm_t comm) {
    std::vector<float> data(10, 1.0f);
    ASSERT_EQ(hfr_all_reduce(data.data(), data.data(), data.size(), HFR_FLOAT32, HFR_SUM, comm,
                             nullptr, nullptr),
              HFR_SUCCESS);
    EXPECT_EQ(hfr_comm_dump(comm, (folder_ + "/dump.%r").c_str()), HFR_SUCCESS)
        << hfr_get_last_error(comm);
    EXPECT_EQ(num_files(), 2u);
    EXPECT_EQ(hfr_comm_dump(comm, nullptr), HFR_INVALID_ARGUMENT);
    EXPECT_EQ(hfr_comm_dump(comm, ""), HFR_INVALID_ARGUMENT);
    EXPECT_EQ(hfr_comm_dump(comm, (folder_ + "/no/such").c_str()), HFR_SYSTEM_ERROR);
    EXPECT_THAT(hfr_get_last_error(comm), HasSubstr("/no/such"));
  });
  EXPECT_EQ(num_files(), 0u);
  for (const char* rank : {"0", "1"}) EXPECT_EQ(fs::file_size(folder_ + "/dump." + rank), 65'536u);
}

TEST_F(Record, OfAFailedCommunicatorStays) {
  run_cluster({.ranks_per_node = {2}}, [&](int rank, hfr_comm_t comm) {
    std::vector<float> data(10, 1.0f);
    EXPECT_EQ(hfr_all_reduce(data.data(), data.data(), rank == 0 ? 10 : 9, HFR_FLOAT32, HFR_SUM,
                             comm, nullptr, nullptr),
              HFR_MISMATCH);
    EXPECT_EQ(hfr_comm_dump(comm, (folder_ + "/dump.%r").c_str()), HFR_SUCCESS);
  });
  EXPECT_EQ(num_files(), 2u);
}

TEST_F(Record, OffIsASentence) {
  setenv("HFREDUCE_RECORDER_DIR", "off", 1);
  auto comms = hfreduce::Communicator::all(1);
  std::vector<float> data(10, 1.0f);
  comms[0].all_reduce(data);
  try {
    comms[0].dump(folder_ + "/dump");
    ADD_FAILURE() << "it did not throw";
  } catch (const hfreduce::Error& error) {
    EXPECT_EQ(error.status(), HFR_INVALID_USAGE);
    EXPECT_THAT(error.what(), HasSubstr("HFREDUCE_RECORDER_DIR is off"));
  }
  EXPECT_FALSE(fs::exists(folder_ + "/dump"));
}

TEST_F(Record, AFolderThatCannotBeFailsTheSetUp) {
  std::ofstream(folder_ + "/file") << "x";
  setenv("HFREDUCE_RECORDER_DIR", (folder_ + "/file/below").c_str(), 1);
  hfr_comm_t comm = nullptr;
  EXPECT_EQ(hfr_comm_init_all(&comm, 1, nullptr), HFR_SYSTEM_ERROR);
  EXPECT_THAT(hfr_get_last_error(nullptr),
              testing::AllOf(HasSubstr("HFREDUCE_RECORDER_DIR="), HasSubstr("/file/below")));
}

TEST_F(Record, FromCppIsTheSameFile) {
  auto comms = hfreduce::Communicator::all(1);
  comms[0].dump(folder_ + "/dump-%r");
  EXPECT_EQ(fs::file_size(folder_ + "/dump-0"), 65'536u);
}

}  // namespace
}  // namespace hfr_tests
