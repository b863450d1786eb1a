// Where records lie, who keeps them, and what readers take from their bytes.
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
#include <mutex>
#include <thread>

#include "base/record_file.hpp"
#include "base/record_reader.hpp"
#include "base/record_signal.hpp"
#include "base/text.hpp"

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

void call(hfr::record::File& file, uint64_t number, uint64_t signature) {
  file.calls[number % hfr::record::kNumCalls] = signature;
  file.progress.called = number + 1;
}

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

uint64_t start_of(pid_t pid) {
  std::ifstream stat_file(hfr::cat("/proc/", pid, "/stat"));
  std::string field;
  for (int i = 1; i <= 22; ++i) stat_file >> field;
  return std::stoull(field);
}

TEST(Process, IsRunningStoppedOrDead) {
  const pid_t child = fork();
  if (child == 0) {
    while (true) pause();
  }
  hfr::ProcessIdentity identity = hfr::this_process();
  identity.pid = child;
  identity.start = start_of(child);
  const hfr::ProcessIdentity here = hfr::this_process();
  EXPECT_EQ(hfr::look_at(identity, here), ProcessState::kRunning);
  kill(child, SIGSTOP);
  waitpid(child, nullptr, WUNTRACED);
  EXPECT_EQ(hfr::look_at(identity, here), ProcessState::kStopped);
  hfr::ProcessIdentity other = identity;
  other.start += 1;
  EXPECT_EQ(hfr::look_at(other, here), ProcessState::kDead) << "its number was given again";
  other = identity;
  other.boot_id = "another machine";
  EXPECT_EQ(hfr::look_at(other, here), ProcessState::kUnknown);
  kill(child, SIGKILL);
  siginfo_t info{};
  waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT);
  EXPECT_EQ(hfr::look_at(identity, here), ProcessState::kDead) << "a zombie";
  waitpid(child, nullptr, 0);
  EXPECT_EQ(hfr::look_at(identity, here), ProcessState::kDead);
}

// A process may vanish between any two looks at what the system says of it.
TEST(Process, MayVanishWhileItIsLookedAt) {
  const hfr::ProcessIdentity here = hfr::this_process();
  std::mutex mutex;
  hfr::ProcessIdentity latest = here;
  std::atomic<bool> stop{false};
  std::vector<std::thread> lookers;
  for (int i = 0; i < 3; ++i) {
    lookers.emplace_back([&] {
      while (!stop.load()) {
        std::unique_lock lock(mutex);
        const hfr::ProcessIdentity process = latest;
        lock.unlock();
        EXPECT_NO_THROW(hfr::look_at(process, here));
      }
    });
  }
  for (int i = 0; i < 300; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      while (true) pause();
    }
    {
      const std::lock_guard lock(mutex);
      latest.pid = child;
      latest.start = start_of(child);
    }
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
  }
  stop = true;
  for (std::thread& looker : lookers) looker.join();
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

std::vector<std::byte> bytes_of(const hfr::record::File& file) {
  const auto bytes = std::as_bytes(std::span(&file, 1));
  return {bytes.begin(), bytes.end()};
}

class ReadingBytes : public testing::Test {
 protected:
  ReadingBytes() : file_(std::make_unique<hfr::record::File>()) {
    auto& identity = file_->identity;
    identity.magic = hfr::record::kMagic;
    identity.version = hfr::record::kVersion;
    identity.num_ranks = 4;
    identity.num_nodes = identity.num_local = 1;
    identity.pid = 77;
  }
  hfr::Result<Record> read() const {
    const auto bytes = bytes_of(*file_);
    return hfr::read_record(bytes, bytes);
  }
  std::unique_ptr<hfr::record::File> file_;
};

TEST_F(ReadingBytes, OnlyWhatWasWholeInBothReadings) {
  for (uint64_t n = 0; n < 1000; ++n) call(*file_, n, 1000 + n);
  const auto before = bytes_of(*file_);
  auto record = hfr::read_record(before, before);
  ASSERT_TRUE(record.ok());
  EXPECT_EQ(record->first_call, 1000 - hfr::record::kNumCalls + 1);
  EXPECT_EQ(record->calls.front(), 1000 + record->first_call);
  EXPECT_EQ(record->calls.back(), 1999u);
  file_->progress.called = 1100;
  record = hfr::read_record(before, bytes_of(*file_));
  EXPECT_EQ(record->first_call, 1100 - hfr::record::kNumCalls + 1) << "the others were overwritten";
  EXPECT_EQ(record->calls.back(), 1999u);
  file_->progress.called = 5000;
  record = hfr::read_record(before, bytes_of(*file_));
  EXPECT_THAT(record->calls, IsEmpty());
}

TEST_F(ReadingBytes, AWaitThatWasBeingWrittenOrIsOverIsNone) {
  auto& wait = file_->wait;
  call(*file_, 0, 1);
  wait.seq = 2;
  wait.since_ns = 5;
  wait.looked_ns = 9;
  wait.rank_and_stage = uint64_t{3 + 1} << 8 | 1;
  auto record = read();
  ASSERT_TRUE(record->wait);
  EXPECT_EQ(record->wait->wait.rank, 3);
  EXPECT_EQ(record->wait->wait.stage, hfr::WaitStage::kStarting);
  const auto before = bytes_of(*file_);
  wait.seq = 4;
  EXPECT_FALSE(hfr::read_record(before, bytes_of(*file_))->wait) << "it changed meanwhile";
  wait.seq = 3;
  EXPECT_FALSE(read()->wait) << "being written";
  wait.seq = 4;
  file_->progress.completed = 1;
  EXPECT_FALSE(read()->wait) << "the operation has completed";
  file_->progress.completed = 0;
  wait.rank_and_stage = uint64_t{4 + 1} << 8 | 1;
  EXPECT_FALSE(read()->wait) << "no such rank";
  wait.rank_and_stage = hfr::kNumWaitStages;
  EXPECT_FALSE(read()->wait) << "no such stage";
}

TEST_F(ReadingBytes, EndsAreReadUpToWhatCannotBe) {
  auto& ends = file_->ends;
  EXPECT_FALSE(read()->hosts_rendezvous);
  ends.watched = 1;
  ends.num = UINT64_MAX;  // of 32 places
  for (size_t i = 0; i < hfr::record::kMostEnds; ++i) {
    ends.list[i].rank_plus_one = 4 - i % 4;
    ends.list[i].at_ns = 100 + i;
  }
  auto record = read();
  EXPECT_TRUE(record->hosts_rendezvous);
  ASSERT_EQ(record->ends.size(), hfr::record::kMostEnds);
  EXPECT_EQ(record->ends[1].rank, 2);
  EXPECT_EQ(record->ends[1].at_ns, 101u);
  ends.list[7].at_ns = 105;
  EXPECT_EQ(read()->ends.size(), 7u) << "time runs forward";
  ends.list[5].rank_plus_one = 5;
  EXPECT_EQ(read()->ends.size(), 5u) << "no such rank";
  ends.num = 3;
  EXPECT_EQ(read()->ends.size(), 3u);
}

TEST_F(ReadingBytes, WhatCannotBeIsRefused) {
  EXPECT_TRUE(read().ok());
  file_->identity.version = 2;
  EXPECT_THAT(read().status().message(), HasSubstr("version 2"));
  file_->identity.version = 1;
  file_->identity.rank = 4;
  EXPECT_FALSE(read().ok());
  file_->identity.rank = 0;
  file_->identity.num_ranks = 1 << 30;
  EXPECT_FALSE(read().ok());
  file_->identity.num_ranks = 4;
  file_->progress.called = UINT64_MAX;
  EXPECT_FALSE(read().ok());
  file_->progress.called = 0;
  const auto bytes = bytes_of(*file_);
  EXPECT_FALSE(hfr::read_record(std::span(bytes).first(4095), bytes).ok());
  EXPECT_FALSE(hfr::read_record(bytes, std::span(bytes).first(4095)).ok());
  EXPECT_TRUE(hfr::read_record(std::span(bytes).first(4096), bytes).ok()) << "a front alone";
}

TEST_F(ReadingBytes, TextsAreCutOffAndShownAsATerminalTakesThem) {
  auto& ending = file_->ending;
  ending.state = 1;
  ending.code = 5;
  ending.rank = 9;
  std::memset(ending.text, 'x', sizeof(ending.text));
  std::memcpy(ending.text, "\x1b[31m\xff", 6);
  const auto record = read();
  ASSERT_TRUE(record->failure);
  EXPECT_EQ(record->failure->rank, -1) << "no such rank";
  EXPECT_EQ(record->failure->status.code(), hfr::Code::kTimeout);
  EXPECT_EQ(record->failure->status.message().size(), sizeof(ending.text));
  EXPECT_EQ(record->failure->status.message().substr(0, 7), "?[31m?x");
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
