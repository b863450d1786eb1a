// What readers take from a record's bytes.
#include "base/record_reader.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/text.hpp"
#include "record_calls.hpp"

namespace hfr_tests {
namespace {

using hfr::Record;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

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

}  // namespace
}  // namespace hfr_tests
