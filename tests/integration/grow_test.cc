// Growing: new ranks join those of a communicator. Ranks are threads, but where a member is killed
// in a growth; a killed process is replaced in recovery_train_test.cc.
#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <barrier>
#include <chrono>
#include <cstdio>
#include <functional>
#include <hfreduce/hfreduce.hpp>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "cluster.hpp"

namespace hfr_tests {
namespace {

void note_send();

}  // namespace
}  // namespace hfr_tests

// In place of the C library's, in this program.
extern "C" ssize_t send(int fd, const void* data, size_t bytes, int flags) {
  // Not the system call: the thread sanitizer has a send() that knows what it orders.
  static const auto next = reinterpret_cast<decltype(&send)>(dlsym(RTLD_NEXT, "send"));
  hfr_tests::note_send();
  return next(fd, data, bytes, flags);
}

namespace hfr_tests {
namespace {

using testing::HasSubstr;

void expect_sum(hfr_comm_t comm, double mine, double want) {
  std::vector<double> data(50'000, mine);
  for (const size_t count : {size_t{1}, data.size()}) {
    std::fill(data.begin(), data.end(), mine);
    EXPECT_EQ(hfr_all_reduce(data.data(), data.data(), count, HFR_FLOAT64, HFR_SUM, comm, nullptr,
                             nullptr),
              HFR_SUCCESS)
        << hfr_get_last_error(comm);
    EXPECT_EQ(std::count(data.begin(), data.begin() + static_cast<std::ptrdiff_t>(count), want),
              static_cast<std::ptrdiff_t>(count));
  }
}

void end(hfr_comm_t comm) {
  EXPECT_EQ(hfr_comm_finalize(comm), HFR_SUCCESS) << hfr_get_last_error(comm);
  EXPECT_EQ(hfr_comm_destroy(comm), HFR_SUCCESS);
}

// A rank that joins with `id`, on a thread of its own.
std::thread new_rank(const hfr_unique_id_t& id, int num_ranks, int rank,
                     const std::function<void(hfr_comm_t)>& body) {
  return std::thread([=] {
    hfr_comm_options_t options = HFR_COMM_OPTIONS_INIT;
    options.host_id = "new";
    options.timeout_ms = 60'000;
    hfr_comm_t comm = nullptr;
    ASSERT_EQ(hfr_comm_init_rank(&comm, num_ranks, &id, rank, &options), HFR_SUCCESS)
        << hfr_get_last_error(nullptr);
    body(comm);
  });
}

// Whoever makes the id.
TEST(Grow, MembersFirstThenTheNew) {
  for (const int host : {0, 2}) {
    run_cluster({.ranks_per_node = {2, 1}}, [&](int rank, hfr_comm_t comm) {
      std::vector<std::thread> threads;
      if (rank == host) {
        hfr_unique_id_t id;
        for (int made = 0; made < 2; ++made) {  // the first one is void
          ASSERT_EQ(hfr_comm_get_unique_id(comm, &id), HFR_SUCCESS) << hfr_get_last_error(comm);
        }
        for (const int joining : {3, 4}) {
          threads.push_back(new_rank(id, 5, joining, [joining](hfr_comm_t child) {
            int at = -1;
            EXPECT_EQ(hfr_comm_rank(child, &at), HFR_SUCCESS);
            EXPECT_EQ(at, joining);
            expect_sum(child, joining, 10);
            end(child);
          }));
        }
      }
      hfr_comm_t child = nullptr;
      ASSERT_EQ(hfr_comm_grow(comm, 5, &child), HFR_SUCCESS) << hfr_get_last_error(comm);
      int at = -1;
      EXPECT_EQ(hfr_comm_rank(child, &at), HFR_SUCCESS);
      EXPECT_EQ(at, rank);
      expect_sum(child, rank, 10);
      expect_sum(comm, rank, 3);
      end(child);
      for (std::thread& thread : threads) thread.join();
    });
  }
}

// From one rank on, each time by one, who then is a member like the others.
TEST(Grow, AgainAndAgain) {
  constexpr int kMost = 4;
  const auto grow_up = [](auto& self, hfr_comm_t comm, int size) -> void {
    int rank = -1;
    EXPECT_EQ(hfr_comm_rank(comm, &rank), HFR_SUCCESS);
    expect_sum(comm, 1, size);
    if (size == kMost) return end(comm);
    std::thread joining;
    if (rank == size - 1) {
      hfr_unique_id_t id;
      ASSERT_EQ(hfr_comm_get_unique_id(comm, &id), HFR_SUCCESS) << hfr_get_last_error(comm);
      joining = new_rank(id, size + 1, size,
                         [&self, size](hfr_comm_t child) { self(self, child, size + 1); });
    }
    hfr_comm_t child = nullptr;
    ASSERT_EQ(hfr_comm_grow(comm, size + 1, &child), HFR_SUCCESS) << hfr_get_last_error(comm);
    end(comm);
    self(self, child, size + 1);
    if (joining.joinable()) joining.join();
  };
  hfr_comm_t comm = nullptr;
  ASSERT_EQ(hfr_comm_init_all(&comm, 1, nullptr), HFR_SUCCESS);
  grow_up(grow_up, comm, 1);
}

// What a survivor does: shrink, and fill the place up again. Then the new rank shrinks, too.
TEST(Grow, AfterAShrinkAndShrunkAgain) {
  std::barrier all_summed(4);
  run_cluster({.ranks_per_node = {2, 2}}, [&](int rank, hfr_comm_t comm) {
    if (rank == 1) return hfr_comm_abort(comm), void();
    hfr_shrink_options_t options = HFR_SHRINK_OPTIONS_INIT;
    const int excluded = 1;
    options.excluded = &excluded;
    options.num_excluded = 1;
    hfr_comm_t three = nullptr;
    ASSERT_EQ(hfr_comm_shrink(comm, &options, &three), HFR_SUCCESS) << hfr_get_last_error(comm);
    const auto go_on = [&](hfr_comm_t four) {
      expect_sum(four, 1, 4);
      EXPECT_EQ(hfr_comm_suspend(four), HFR_SUCCESS) << hfr_get_last_error(four);
      EXPECT_EQ(hfr_comm_resume(four), HFR_SUCCESS) << hfr_get_last_error(four);
      expect_sum(four, 1, 4);
      all_summed.arrive_and_wait();  // the first one that shrinks fails what is open
      hfr_comm_t last = nullptr;
      ASSERT_EQ(hfr_comm_shrink(four, nullptr, &last), HFR_SUCCESS) << hfr_get_last_error(four);
      EXPECT_EQ(hfr_comm_destroy(four), HFR_SUCCESS);
      expect_sum(last, 1, 4);
      end(last);
    };
    std::thread joining;
    if (rank == 3) {
      hfr_unique_id_t id;
      ASSERT_EQ(hfr_comm_get_unique_id(three, &id), HFR_SUCCESS) << hfr_get_last_error(three);
      joining = new_rank(id, 4, 3, go_on);
    }
    hfr_comm_t four = nullptr;
    ASSERT_EQ(hfr_comm_grow(three, 4, &four), HFR_SUCCESS) << hfr_get_last_error(three);
    EXPECT_EQ(hfr_comm_destroy(three), HFR_SUCCESS);
    go_on(four);
    if (joining.joinable()) joining.join();
  });
}

TEST(Grow, ANewRankThatDoesNotComeIsNamedAndTheParentGoesOn) {
  run_cluster({.ranks_per_node = {2}, .timeout_ms = 5'000}, [](int rank, hfr_comm_t comm) {
    hfr_unique_id_t id;
    if (rank == 1) {
      ASSERT_EQ(hfr_comm_get_unique_id(comm, &id), HFR_SUCCESS);
    }
    hfr_comm_t child = nullptr;
    EXPECT_EQ(hfr_comm_grow(comm, 3, &child), HFR_TIMEOUT);
    EXPECT_EQ(child, nullptr);
    EXPECT_THAT(hfr_get_last_error(comm), HasSubstr("rank 2 did not join"));
    expect_sum(comm, rank, 1);
    if (rank != 1) return;
    // Nobody is there any more.
    hfr_comm_options_t options = HFR_COMM_OPTIONS_INIT;
    options.timeout_ms = 200;
    EXPECT_EQ(hfr_comm_init_rank(&child, 3, &id, 2, &options), HFR_TIMEOUT);
  });
}

hfr_comm_t join_as_process(const hfr_unique_id_t& id, int rank) {
  hfr_comm_options_t options = HFR_COMM_OPTIONS_INIT;
  options.timeout_ms = 20'000;
  hfr_comm_t comm = nullptr;
  EXPECT_EQ(hfr_comm_init_rank(&comm, 3, &id, rank, &options), HFR_SUCCESS)
      << hfr_get_last_error(nullptr);
  return comm;
}

// No new rank comes, so rank 2 is killed before the growth can end: between its call and the
// deadline. The others have an error by then, and shrink.
void grow_without_rank_2(hfr_comm_t comm) {
  hfr_comm_t grown = nullptr;
  EXPECT_NE(hfr_comm_grow(comm, 4, &grown), HFR_SUCCESS);
  EXPECT_EQ(grown, nullptr);
  EXPECT_THAT(hfr_get_last_error(comm), testing::AnyOf(HasSubstr("rank 2"), HasSubstr("ranks 2")));
  hfr_shrink_options_t options = HFR_SHRINK_OPTIONS_INIT;
  options.timeout_ms = 60'000;
  hfr_comm_t two = nullptr;
  ASSERT_EQ(hfr_comm_shrink(comm, &options, &two), HFR_SUCCESS) << hfr_get_last_error(comm);
  hfr_comm_destroy(comm);
  expect_sum(two, 1, 2);
  end(two);
}

TEST(Grow, AMemberThatIsKilledMeanwhileIsNoHang) {
  for (const int after_ms : {0, 10}) {
    hfr_unique_id_t id;
    ASSERT_EQ(hfr_get_unique_id(&id), HFR_SUCCESS);
    std::array<int, 2> calls{};
    ASSERT_EQ(pipe(calls.data()), 0);
    std::array<pid_t, 2> members{};
    for (const int rank : {1, 2}) {
      pid_t& member = members[static_cast<size_t>(rank) - 1];
      member = fork();
      if (member != 0) continue;
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      hfr_comm_t comm = join_as_process(id, rank);
      if (rank == 1) {
        grow_without_rank_2(comm);
        _exit(testing::Test::HasFailure() ? 1 : 0);
      }
      hfr_comm_t grown = nullptr;
      [[maybe_unused]] const ssize_t told = write(calls[1], "", 1);
      hfr_comm_grow(comm, 4, &grown);
      while (true) pause();
    }
    std::thread killer([&] {
      char byte = 0;
      EXPECT_EQ(read(calls[0], &byte, 1), 1);
      std::this_thread::sleep_for(std::chrono::milliseconds(after_ms));
      kill(members[1], SIGKILL);
    });
    hfr_comm_t comm = join_as_process(id, 0);
    hfr_unique_id_t growth;
    EXPECT_EQ(hfr_comm_get_unique_id(comm, &growth), HFR_SUCCESS) << hfr_get_last_error(comm);
    grow_without_rank_2(comm);
    killer.join();
    int status = -1;
    waitpid(members[0], &status, 0);
    EXPECT_EQ(status, 0);
    waitpid(members[1], nullptr, 0);
    close(calls[0]);
    close(calls[1]);
  }
}

// ---- a member dies in the middle of a growth, wherever: before each of the messages that it sends

constexpr int kMembers = 3;
std::atomic<int> g_sends_left{-1};  // then this process dies; below 0: it does not

void note_send() {
  if (g_sends_left >= 0 && g_sends_left-- == 0) kill(getpid(), SIGKILL);
}

// What the processes of one growth tell the test.
struct GrowthPage {
  hfr_unique_id_t id, growth_id;
  std::atomic<bool> id_made{false}, growth_made{false};
  std::atomic<int> num_ready{0};
  std::atomic<bool> victim_came_through{false};
  struct Member {
    std::atomic<bool> has_child{false};
    std::atomic<int> count{0};  // of the communicator that it goes on with, whose sum was right
    char error[512] = "";       // of the growth
  } members[kMembers + 1];
};

hfr_comm_t join_growth_test(const hfr_unique_id_t& id, int num_ranks, int rank) {
  hfr_comm_options_t options = HFR_COMM_OPTIONS_INIT;
  options.timeout_ms = 60'000;
  hfr_comm_t comm = nullptr;
  return hfr_comm_init_rank(&comm, num_ranks, &id, rank, &options) == HFR_SUCCESS ? comm : nullptr;
}

// After the failure that comes: shrinks what it has, and sums with who is left.
void go_on_after(hfr_comm_t comm, GrowthPage::Member& mine) {
  double one = 1, sum = 0;
  const auto all_reduce = [&] {
    return hfr_all_reduce(&one, &sum, 1, HFR_FLOAT64, HFR_SUM, comm, nullptr, nullptr);
  };
  EXPECT_NE(all_reduce(), HFR_SUCCESS);
  hfr_comm_t left = nullptr;
  ASSERT_EQ(hfr_comm_shrink(comm, nullptr, &left), HFR_SUCCESS) << hfr_get_last_error(comm);
  EXPECT_EQ(hfr_comm_destroy(comm), HFR_SUCCESS);
  comm = left;
  int count = 0;
  ASSERT_EQ(all_reduce(), HFR_SUCCESS) << hfr_get_last_error(comm);
  EXPECT_EQ(hfr_comm_count(comm, &count), HFR_SUCCESS);
  EXPECT_EQ(sum, count);
  mine.count = count;
  EXPECT_EQ(hfr_comm_destroy(comm), HFR_SUCCESS);
}

void be_member(GrowthPage& page, int rank, int host, int victim, int num_sends) {
  while (!page.id_made) std::this_thread::yield();
  hfr_comm_t comm = join_growth_test(page.id, kMembers, rank);
  ASSERT_NE(comm, nullptr);
  expect_sum(comm, rank, 3);
  ++page.num_ready;
  while (page.num_ready < kMembers) std::this_thread::yield();
  if (rank == host) {
    ASSERT_EQ(hfr_comm_get_unique_id(comm, &page.growth_id), HFR_SUCCESS);
    page.growth_made = true;
  }
  if (rank == victim) g_sends_left = num_sends;
  hfr_comm_t child = nullptr;
  const hfr_status_t status = hfr_comm_grow(comm, kMembers + 1, &child);
  if (rank == victim) {
    page.victim_came_through = true;
    kill(getpid(), SIGKILL);
  }
  GrowthPage::Member& mine = page.members[rank];
  mine.has_child = status == HFR_SUCCESS;
  if (status == HFR_SUCCESS) {
    EXPECT_EQ(hfr_comm_destroy(comm), HFR_SUCCESS);
    comm = child;
  } else {
    snprintf(mine.error, sizeof(mine.error), "%s", hfr_get_last_error(comm));
  }
  go_on_after(comm, mine);
}

void be_new_rank(GrowthPage& page) {
  while (!page.growth_made) std::this_thread::yield();
  hfr_comm_t comm = join_growth_test(page.growth_id, kMembers + 1, kMembers);
  if (comm != nullptr) go_on_after(comm, page.members[kMembers]);
}

// Rank `victim` dies before it sends for the `num_sends`th time. False: it came through the growth.
bool grow_while_one_dies(int host, int victim, int num_sends) {
  void* memory =
      mmap(nullptr, sizeof(GrowthPage), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  GrowthPage& page = *new (memory) GrowthPage();
  std::vector<pid_t> pids;
  for (int rank = 0; rank <= kMembers; ++rank) {
    const pid_t pid = fork();
    if (pid == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (rank == 0) {
        if (hfr_get_unique_id(&page.id) != HFR_SUCCESS) _exit(1);
        page.id_made = true;
      }
      if (rank < kMembers) be_member(page, rank, host, victim, num_sends);
      if (rank == kMembers) be_new_rank(page);
      _exit(testing::Test::HasFailure() ? 1 : 0);
    }
    pids.push_back(pid);
  }
  std::vector<const GrowthPage::Member*> survivors;
  for (int rank = 0; rank < kMembers; ++rank) {
    int status = -1;
    waitpid(pids[static_cast<size_t>(rank)], &status, 0);
    if (rank == victim) continue;
    EXPECT_EQ(status, 0) << "rank " << rank;
    survivors.push_back(&page.members[rank]);
  }
  // It may still wait for a rendezvous that is gone.
  kill(pids[kMembers], SIGKILL);
  waitpid(pids[kMembers], nullptr, 0);
  for (const GrowthPage::Member* member : survivors) {
    if (!member->has_child) {
      EXPECT_THAT(std::string(member->error), HasSubstr("rank " + std::to_string(victim)));
    }
  }
  EXPECT_EQ(survivors[0]->has_child, survivors[1]->has_child)
      << survivors[0]->error << survivors[1]->error;
  EXPECT_EQ(survivors[0]->count, survivors[1]->count);
  const bool died = !page.victim_came_through;
  munmap(memory, sizeof(GrowthPage));
  return died;
}

TEST(Grow, WhoeverDiesWheneverTheOthersAgree) {
  for (const int host : {0, 1}) {
    for (int victim = 0; victim < kMembers; ++victim) {
      // Rank 2 is neither host nor witness: a part of its messages will do.
      const int stride = victim == 2 ? 4 : 1;
      for (int num_sends = 0; grow_while_one_dies(host, victim, num_sends); num_sends += stride) {
        if (HasFailure()) {
          FAIL() << "host " << host << ", victim " << victim << ", send " << num_sends;
        }
      }
    }
  }
}

TEST(Grow, MembersThatDisagreeAllHearOfItAndTheParentGoesOn) {
  run_cluster({.ranks_per_node = {1, 2}}, [](int rank, hfr_comm_t comm) {
    hfr_comm_t child = nullptr;
    EXPECT_EQ(hfr_comm_grow(comm, 4, &child), HFR_INVALID_USAGE);
    EXPECT_THAT(hfr_get_last_error(comm), HasSubstr("no rank has called hfr_comm_get_unique_id"));
    hfr_unique_id_t id;
    if (rank != 1) {
      ASSERT_EQ(hfr_comm_get_unique_id(comm, &id), HFR_SUCCESS);
    }
    EXPECT_EQ(hfr_comm_grow(comm, 4, &child), HFR_MISMATCH);
    EXPECT_THAT(hfr_get_last_error(comm), HasSubstr("ranks 0 and 2 have both called"));
    if (rank == 0) {
      ASSERT_EQ(hfr_comm_get_unique_id(comm, &id), HFR_SUCCESS);
    }
    EXPECT_EQ(hfr_comm_grow(comm, rank == 1 ? 5 : 4, &child), HFR_MISMATCH);
    EXPECT_THAT(hfr_get_last_error(comm), HasSubstr("rank 1 passed 5"));
    EXPECT_EQ(hfr_comm_grow(comm, 4, &child), HFR_INVALID_USAGE);  // that id is used up
    EXPECT_EQ(child, nullptr);
    expect_sum(comm, rank, 3);
  });
}

// A new rank with other settings than theirs.
TEST(Grow, SettingsMustAgree) {
  run_cluster({.ranks_per_node = {2}, .window = 4}, [](int rank, hfr_comm_t comm) {
    std::thread joining;
    if (rank == 0) {
      hfr_unique_id_t id;
      ASSERT_EQ(hfr_comm_get_unique_id(comm, &id), HFR_SUCCESS);
      joining = std::thread([id] {
        hfr_comm_options_t options = HFR_COMM_OPTIONS_INIT;
        options.window = 8;
        options.timeout_ms = 60'000;
        hfr_comm_t none = nullptr;
        EXPECT_EQ(hfr_comm_init_rank(&none, 3, &id, 2, &options), HFR_MISMATCH);
        EXPECT_THAT(hfr_get_last_error(nullptr), HasSubstr("window"));
      });
    }
    hfr_comm_t child = nullptr;
    EXPECT_EQ(hfr_comm_grow(comm, 3, &child), HFR_MISMATCH);
    EXPECT_THAT(hfr_get_last_error(comm), HasSubstr("window"));
    expect_sum(comm, rank, 1);
    if (joining.joinable()) joining.join();
  });
}

// Checksums imply other settings, which the members then have.
TEST(Grow, WithChecksums) {
  setenv("HFREDUCE_CHECK", "crc", 1);
  run_cluster({.ranks_per_node = {2}}, [](int rank, hfr_comm_t comm) {
    std::thread joining;
    if (rank == 0) {
      hfr_unique_id_t id;
      ASSERT_EQ(hfr_comm_get_unique_id(comm, &id), HFR_SUCCESS);
      joining = new_rank(id, 3, 2, [](hfr_comm_t child) {
        expect_sum(child, 2, 3);
        end(child);
      });
    }
    hfr_comm_t child = nullptr;
    EXPECT_EQ(hfr_comm_grow(comm, 3, &child), HFR_SUCCESS) << hfr_get_last_error(comm);
    if (child != nullptr) {
      expect_sum(child, rank, 3);
      end(child);
    }
    if (joining.joinable()) joining.join();
  });
  unsetenv("HFREDUCE_CHECK");
}

TEST(Grow, BadInputStartsNothing) {
  run_cluster({.ranks_per_node = {2}}, [](int rank, hfr_comm_t comm) {
    hfr_comm_t child = nullptr;
    hfr_unique_id_t id;
    EXPECT_EQ(hfr_comm_get_unique_id(comm, nullptr), HFR_INVALID_ARGUMENT);
    EXPECT_EQ(hfr_comm_get_unique_id(nullptr, &id), HFR_INVALID_ARGUMENT);
    EXPECT_EQ(hfr_comm_grow(comm, 3, nullptr), HFR_INVALID_ARGUMENT);
    EXPECT_EQ(hfr_comm_grow(comm, 2, &child), HFR_INVALID_ARGUMENT);
    EXPECT_THAT(hfr_get_last_error(comm), HasSubstr("num_ranks is 2"));
    expect_sum(comm, rank, 1);
    ASSERT_EQ(hfr_comm_suspend(comm), HFR_SUCCESS);
    EXPECT_EQ(hfr_comm_get_unique_id(comm, &id), HFR_INVALID_USAGE);
    EXPECT_EQ(hfr_comm_grow(comm, 3, &child), HFR_INVALID_USAGE);
    ASSERT_EQ(hfr_comm_resume(comm), HFR_SUCCESS) << hfr_get_last_error(comm);
    expect_sum(comm, rank, 1);
  });
}

TEST(Grow, InCpp) {
  hfreduce::Communicator first = std::move(hfreduce::Communicator::all(1)[0]);
  const hfr_unique_id_t id = first.make_unique_id();
  std::thread joining([&] {
    hfreduce::Communicator second(2, id, 1);
    std::vector<double> data = {1};
    second.all_reduce(data);
    EXPECT_EQ(data[0], 2);
    second.finalize();
  });
  hfreduce::Communicator both = first.grow(2);
  std::vector<double> data = {1};
  both.all_reduce(data);
  EXPECT_EQ(data[0], 2);
  both.finalize();
  joining.join();
}

}  // namespace
}  // namespace hfr_tests
