// Where records lie, and who keeps them.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/record_file.hpp"
#include "base/record_reader.hpp"
#include "base/record_signal.hpp"
#include "base/text.hpp"
#include "record_calls.hpp"

namespace hfr_tests {
namespace {

namespace fs = std::filesystem;
using hfr::ProcessState;
using hfr::Record;
using hfr::RecordFile;
using hfr::RecordOwner;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

// A folder of its own, and the environment that the default folders come from.
class Records : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/records-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(folder_))
      found.push_back(entry.path().filename().string());
    return found;
  }

  // One that a process left that has ended.
  std::string leave(const RecordOwner& owner, const std::function<void(RecordFile&)>& before_end) {
    const pid_t child = fork();
    if (child == 0) {
      auto file = RecordFile::create(folder_, owner);
      if (!file.ok()) _exit(1);
      before_end(*file);
      _exit(0);  // no destructor
    }
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    return hfr::cat(id(owner.communicator), "-", owner.rank, "-", child, hfr::kRecordSuffix);
  }
  static std::string id(uint64_t communicator) {
    char text[17];
    std::snprintf(text, sizeof(text), "%016llx", static_cast<unsigned long long>(communicator));
    return text;
  }

  hfr::Result<Record> read(const std::string& name) const {
    auto bytes = hfr::load_record(AT_FDCWD, folder_ + "/" + name);
    if (!bytes.ok()) return bytes.status();
    return hfr::read_record(bytes->bytes, bytes->front_after);
  }

  std::string folder_;
};

TEST_F(Records, AreTheUsersAloneAndGoWithTheirOwner) {
  {
    auto file = RecordFile::create(folder_, {.communicator = 0xabc, .rank = 3, .num_ranks = 8});
    ASSERT_TRUE(file.ok()) << file.status().message();
    const std::string name = hfr::cat("0000000000000abc-3-", getpid(), ".record");
    EXPECT_THAT(names(), ElementsAre(name));
    struct stat info {};
    ASSERT_EQ(stat((folder_ + "/" + name).c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0600u);
    EXPECT_EQ(info.st_size, static_cast<off_t>(hfr::record::kFileBytes));
    EXPECT_GE(info.st_blocks * 512, info.st_size) << "space is taken at once";
    const auto record = read(name);
    ASSERT_TRUE(record.ok()) << record.status().message();
    EXPECT_EQ(record->owner.rank, 3);
    EXPECT_EQ(record->owner.num_ranks, 8);
    EXPECT_EQ(record->process.pid, getpid());
    EXPECT_EQ(hfr::look_at(record->process, hfr::this_process()), ProcessState::kRunning);
    // The same name again: somebody else's file is never taken over.
    EXPECT_FALSE(
        RecordFile::create(folder_, {.communicator = 0xabc, .rank = 3, .num_ranks = 8}).ok());
    EXPECT_THAT(names(), ElementsAre(name));
  }
  EXPECT_THAT(names(), IsEmpty());
  {
    auto file = RecordFile::create(folder_, {});
    ASSERT_TRUE(file.ok());
    file->keep();
  }
  EXPECT_EQ(names().size(), 1u);
}

TEST_F(Records, AFolderThatCannotBeIsASentence) {
  std::ofstream(folder_ + "/file") << "x";
  const auto file = RecordFile::create(folder_ + "/file/below", {});
  ASSERT_FALSE(file.ok());
  EXPECT_THAT(file.status().message(), HasSubstr("/file/below"));
}

// Links and folders that others may write to are passed over, for the next one.
TEST_F(Records, DefaultFoldersAreTheUsersOwn) {
  setenv("XDG_RUNTIME_DIR", folder_.c_str(), 1);
  const std::string own = folder_ + "/hfreduce";
  {
    auto file = RecordFile::create("", {});
    ASSERT_TRUE(file.ok());
    EXPECT_EQ(file->folder(), own);
    struct stat info {};
    ASSERT_EQ(stat(own.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0700u);
  }
  chmod(own.c_str(), 0770);
  EXPECT_NE(RecordFile::create("", {})->folder(), own);
  fs::remove(own);
  fs::create_directory(folder_ + "/elsewhere");
  fs::create_directory_symlink(folder_ + "/elsewhere", own);
  EXPECT_NE(RecordFile::create("", {})->folder(), own);
  EXPECT_TRUE(fs::is_empty(folder_ + "/elsewhere"));
  unsetenv("XDG_RUNTIME_DIR");
}

// Whether this process now has mounts of its own, as which user it may be.
bool has_own_mounts() {
  const uid_t user = geteuid();
  const gid_t group = getegid();
  if (user == 0) return unshare(CLONE_NEWNS) == 0;
  if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
  std::ofstream("/proc/self/setgroups") << "deny";
  std::ofstream("/proc/self/uid_map") << user << ' ' << user << " 1";
  std::ofstream("/proc/self/gid_map") << group << ' ' << group << " 1";
  return geteuid() == user && getegid() == group;
}

// Containers have a small one, and others need it.
TEST_F(Records, ASmallSharedMemoryFolderIsLeftAlone) {
  const pid_t child = fork();
  if (child == 0) {
    if (!has_own_mounts() || mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=64k") != 0) {
      _exit(2);
    }
    unsetenv("XDG_RUNTIME_DIR");
    setenv("TMPDIR", folder_.c_str(), 1);
    auto file = RecordFile::create("", {});
    _exit(file.ok() && file->folder() == hfr::cat(folder_, "/hfreduce-", geteuid()) ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (WEXITSTATUS(status) == 2) GTEST_SKIP() << "no file system can be mounted here";
  EXPECT_EQ(status, 0);
}

// A limit on file sizes stands in for a full file system: the file cannot have its space.
TEST_F(Records, WithoutSpaceThereIsAnErrorOrMemory) {
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{4096, 4096};
    setrlimit(RLIMIT_FSIZE, &limit);
    const auto named = RecordFile::create(folder_, {});
    const auto by_default = RecordFile::create("", {});
    const bool right = !named.ok() && by_default.ok() && by_default->folder().empty();
    if (right) call(by_default->record(), 0, 1);
    _exit(right ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_THAT(names(), IsEmpty());
}

TEST_F(Records, SweepingKeepsWhatIsOfInterest) {
  auto nothing = [](RecordFile&) {};
  auto in_operation = [](RecordFile& file) { call(file.record(), 0, 1); };
  auto in_failure = [](RecordFile& file) { file.record().ending.state = 1; };
  auto completed = [](RecordFile& file) {
    call(file.record(), 0, 1);
    file.record().progress.completed = 1;
  };
  leave({.communicator = 1}, nothing);
  leave({.communicator = 1}, completed);
  const std::string open = leave({.communicator = 2}, in_operation);
  const std::string setting_up = leave({.communicator = 6}, [](RecordFile& file) {
    file.record().wait.seq = 2;
    file.record().wait.rank_and_stage = static_cast<uint64_t>(hfr::WaitStage::kConnect);
  });
  const std::string failed = leave({.communicator = 3, .rank = 0, .num_ranks = 2}, in_failure);
  const std::string beside = leave({.communicator = 3, .rank = 1, .num_ranks = 2}, completed);
  const std::string old = leave({.communicator = 4}, in_failure);
  const timespec long_ago[2] = {{1'000'000, 0}, {1'000'000, 0}};
  ASSERT_EQ(utimensat(AT_FDCWD, (folder_ + "/" + old).c_str(), long_ago, 0), 0);
  auto living = RecordFile::create(folder_, {.communicator = 5});
  ASSERT_TRUE(living.ok());
  std::ofstream(folder_ + "/garbage.record") << "anything";
  hfr::sweep_records(folder_);
  EXPECT_THAT(names(), UnorderedElementsAre(open, setting_up, failed, beside, living->name(),
                                            "garbage.record"));
}

TEST_F(Records, SweepingKeepsTheLatest) {
  const std::string first =
      leave({.communicator = 1}, [](RecordFile& file) { file.record().ending.state = 1; });
  for (int i = 0; i < 300; ++i) {
    fs::copy(folder_ + "/" + first, hfr::cat(folder_, "/copy", i, ".record"));
    const timespec when[2] = {{time(nullptr), 0}, {time(nullptr) - 1000 + i, 0}};
    utimensat(AT_FDCWD, hfr::cat(folder_, "/copy", i, ".record").c_str(), when, 0);
  }
  hfr::sweep_records(folder_);
  EXPECT_EQ(names().size(), 256u);
  EXPECT_TRUE(fs::exists(folder_ + "/copy299.record"));
  EXPECT_FALSE(fs::exists(folder_ + "/copy0.record"));
}

// What a reader takes while the file is written, again and again, is what was written.
TEST_F(Records, AreReadWhileTheyAreWritten) {
  auto file = RecordFile::create(folder_, {.communicator = 7});
  ASSERT_TRUE(file.ok());
  std::atomic<bool> stop{false};
  auto signature = [](uint64_t number) { return (uint64_t{1} << 63) | (number * 2'654'435'761); };
  std::thread writer([&] {
    for (uint64_t n = 0; !stop.load(); ++n) {
      std::atomic_thread_fence(std::memory_order_release);
      file->record().calls[n % hfr::record::kNumCalls].store(signature(n),
                                                             std::memory_order_relaxed);
      file->record().progress.called.store(n + 1, std::memory_order_release);
    }
  });
  uint64_t seen = 0;
  for (int i = 0; i < 500 || seen == 0; ++i) {
    const auto record = read(file->name());
    ASSERT_TRUE(record.ok());
    for (size_t k = 0; k < record->calls.size(); ++k) {
      ASSERT_EQ(record->calls[k], signature(record->first_call + k));
      ++seen;
    }
  }
  stop = true;
  writer.join();
}

std::atomic<int> g_earlier_calls{0};
void count_call(int) { g_earlier_calls.fetch_add(1); }

class OnSignal : public Records {};

TEST_F(OnSignal, EveryRecordIsCopiedAndTheEarlierHandlerRuns) {
  struct sigaction earlier {};
  earlier.sa_handler = count_call;
  struct sigaction original {};
  ASSERT_EQ(sigaction(SIGUSR1, &earlier, &original), 0);
  g_earlier_calls = 0;
  auto one = RecordFile::create(folder_, {.communicator = 1, .rank = 0, .num_ranks = 2});
  auto two = RecordFile::create(folder_, {.communicator = 1, .rank = 1, .num_ranks = 2});
  ASSERT_TRUE(one.ok() && two.ok());
  {
    auto first = hfr::DumpOnSignal::install(SIGUSR1, *one);
    auto second = hfr::DumpOnSignal::install(SIGUSR1, *two);
    ASSERT_TRUE(first.ok() && second.ok());
    call(one->record(), 0, 123);
    raise(SIGUSR1);
    EXPECT_EQ(g_earlier_calls, 1);
    auto copy = read(hfr::cat(hfr::kDumpFolder, "/", one->name()));
    ASSERT_TRUE(copy.ok()) << copy.status().message();
    EXPECT_THAT(copy->calls, ElementsAre(123));
    EXPECT_GT(copy->copied_ns, 0u);
    EXPECT_EQ(copy->state_when_copied, ProcessState::kRunning);
    EXPECT_TRUE(read(hfr::cat(hfr::kDumpFolder, "/", two->name())).ok());
    // The next one overwrites.
    call(one->record(), 1, 456);
    raise(SIGUSR1);
    EXPECT_THAT(read(hfr::cat(hfr::kDumpFolder, "/", one->name()))->calls, ElementsAre(123, 456));
  }
  raise(SIGUSR1);
  EXPECT_EQ(g_earlier_calls, 3) << "the earlier handler is back";
  EXPECT_THAT(read(hfr::cat(hfr::kDumpFolder, "/", one->name()))->calls, ElementsAre(123, 456));
  sigaction(SIGUSR1, &original, nullptr);
}

TEST_F(OnSignal, WithoutAnEarlierHandlerTheSignalHasNoOtherEffect) {
  auto file = RecordFile::create(folder_, {.communicator = 1});
  ASSERT_TRUE(file.ok());
  auto dump = hfr::DumpOnSignal::install(SIGUSR2, *file);
  ASSERT_TRUE(dump.ok());
  raise(SIGUSR2);
  EXPECT_TRUE(read(hfr::cat(hfr::kDumpFolder, "/", file->name())).ok());
}

// Records come and go while signals arrive.
TEST_F(OnSignal, OwnersMayGoAtAnyTime) {
  auto stays = RecordFile::create(folder_, {.communicator = 1});
  auto dump = hfr::DumpOnSignal::install(SIGUSR2, *stays);
  ASSERT_TRUE(dump.ok());
  std::atomic<bool> stop{false};
  std::thread sender([&] {
    while (!stop.load()) kill(getpid(), SIGUSR2);
  });
  for (uint64_t i = 0; i < 200; ++i) {
    auto file = RecordFile::create(folder_, {.communicator = 2 + i});
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(hfr::DumpOnSignal::install(SIGUSR2, *file).ok());
  }
  stop = true;
  sender.join();
}

}  // namespace
}  // namespace hfr_tests
