// Unique ids, and what launchers tell of ranks.
#include "bootstrap/launch_env.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bootstrap/unique_id.hpp"

namespace hfr {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(UniqueId, RoundTripAndDamage) {
  UniqueId id;
  id.address = {"192.168.1.20", 4321};
  id.secret = Secret::random();
  auto bytes = encode_unique_id(id);
  auto back = decode_unique_id(bytes);
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(text(back->address), "192.168.1.20:4321");
  EXPECT_EQ(back->secret.bytes(), id.secret.bytes());
  for (size_t i = 0; i < bytes.size(); ++i) {
    auto damaged = bytes;
    damaged[i] ^= std::byte{1};
    EXPECT_FALSE(decode_unique_id(damaged).ok()) << i;
  }
}

LaunchInfo launch(std::vector<std::pair<std::string, std::string>> values,
                  Status* failure = nullptr) {
  auto info = read_launch_info([&](const std::string& name) -> std::optional<std::string> {
    for (const auto& [key, value] : values) {
      if (key == name) return value;
    }
    return std::nullopt;
  });
  if (failure != nullptr) *failure = info.status();
  return info.ok() ? *info : LaunchInfo{};
}

TEST(LaunchEnvironment, EveryFamily) {
  EXPECT_EQ(launch({{"RANK", "3"}, {"WORLD_SIZE", "8"}, {"LOCAL_RANK", "nobody asks"}}).rank, 3);
  EXPECT_EQ(launch({{"OMPI_COMM_WORLD_RANK", "2"}, {"OMPI_COMM_WORLD_SIZE", "4"}}).rank, 2);
  EXPECT_EQ(launch({{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}}).num_ranks, 2);
  EXPECT_EQ(launch({{"SLURM_PROCID", "5"}, {"SLURM_NTASKS", "6"}}).rank, 5);
}

TEST(LaunchEnvironment, BadValuesNameVariableValueAndWhatIsAllowed) {
  Status failure;
  launch({}, &failure);
  EXPECT_THAT(failure.message(), HasSubstr("RANK and WORLD_SIZE"));
  launch({{"RANK", "3"}}, &failure);
  EXPECT_THAT(failure.message(), AllOf(HasSubstr("RANK is set"), HasSubstr("WORLD_SIZE is not")));
  launch({{"RANK", "8"}, {"WORLD_SIZE", "8"}}, &failure);
  EXPECT_THAT(failure.message(), AllOf(HasSubstr("RANK=8"), HasSubstr("0 to 7")));
  launch({{"RANK", "x"}, {"WORLD_SIZE", "8"}}, &failure);
  EXPECT_THAT(failure.message(), HasSubstr("RANK=x"));
  launch({{"RANK", "0"}, {"WORLD_SIZE", "0"}}, &failure);
  EXPECT_THAT(failure.message(), HasSubstr("WORLD_SIZE=0"));
}

}  // namespace
}  // namespace hfr
