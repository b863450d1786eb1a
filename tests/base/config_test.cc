#include "base/config.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <map>
#include <sstream>

namespace hfr {
namespace {

using testing::AllOf;
using testing::HasSubstr;

Environment environment(std::map<std::string, std::string> values) {
  return [values](const std::string& name) -> std::optional<std::string> {
    auto found = values.find(name);
    if (found == values.end()) return std::nullopt;
    return found->second;
  };
}

class ConfigFile {
 public:
  explicit ConfigFile(const std::string& text) {
    int fd = mkstemp(path_.data());
    EXPECT_GE(fd, 0);
    close(fd);
    std::ofstream(path_) << text;
  }
  ~ConfigFile() { std::remove(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  std::string path_ = "/tmp/hfreduce-config-XXXXXX";
};

TEST(Config, DefaultsWithoutEnvironment) {
  auto config = load_config(environment({}));
  ASSERT_TRUE(config.ok());
  EXPECT_EQ(config->timeout_ms, 300'000u);
  EXPECT_EQ(config->forest, "auto");
  EXPECT_TRUE(config->direct);
}

TEST(Config, ReadsValues) {
  auto config = load_config(environment({{"HFREDUCE_TIMEOUT_MS", "250"},
                                         {"HFREDUCE_CHUNK_BYTES", "64K"},
                                         {"HFREDUCE_FOREST", "ring"},
                                         {"HFREDUCE_DIRECT", "0"},
                                         {"HFREDUCE_LOG_LEVEL", "debug"},
                                         {"HFREDUCE_WINDOW", ""}}));
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->timeout_ms, 250u);
  EXPECT_EQ(config->chunk_bytes, 65536u);
  EXPECT_EQ(config->forest, "ring");
  EXPECT_FALSE(config->direct);
  EXPECT_EQ(config->log_level, LogLevel::kDebug);
  EXPECT_EQ(config->window, 0u);
}

TEST(Config, LevelsBySubsystemGoOverTheLevelForAll) {
  const auto levels = [](const std::map<std::string, std::string>& variables) {
    auto config = load_config(environment(variables));
    EXPECT_TRUE(config.ok());
    return log_levels(*config);
  };
  EXPECT_EQ(levels({}), LogLevels(LogLevel::kWarn));
  const LogLevels some =
      levels({{"HFREDUCE_LOG", "transport=debug"}, {"HFREDUCE_LOG_LEVEL", "error"}});
  EXPECT_EQ(some.of(Subsystem::kTransport), LogLevel::kDebug);
  EXPECT_EQ(some.of(Subsystem::kSetUp), LogLevel::kError);
  EXPECT_EQ(levels({{"HFREDUCE_LOG", "info"}, {"HFREDUCE_LOG_LEVEL", "error"}}),
            LogLevels(LogLevel::kInfo));
}

TEST(Config, EveryVariableRefusesWhatIsNotAllowed) {
  const std::map<std::string, std::string> bad = {
      {"HFREDUCE_TIMEOUT_MS", "0"},
      {"HFREDUCE_RENDEZVOUS", std::string(281, 'x')},
      {"HFREDUCE_SECRET", std::string(1025, 's')},
      {"HFREDUCE_SOCKET_IFNAME", "a-name-that-is-too-long"},
      {"HFREDUCE_HOSTID", std::string(129, 'h')},
      {"HFREDUCE_CHUNK_BYTES", "5000"},
      {"HFREDUCE_WINDOW", "65"},
      {"HFREDUCE_FOREST", "bush"},
      {"HFREDUCE_FLAT_BYTES", "2G"},
      {"HFREDUCE_DIRECT", "yes"},
      {"HFREDUCE_HEAP_BYTES", "12"},
      {"HFREDUCE_HUGE_PAGES", "on"},
      {"HFREDUCE_BIND", "all"},
      {"HFREDUCE_SPIN_US", "-1"},
      {"HFREDUCE_TRANSPORT", "pigeon"},
      {"HFREDUCE_TCP_CONGESTION", "a-name-that-is-too-long"},
      {"HFREDUCE_TCP_CONNECTIONS", "17"},
      {"HFREDUCE_IB_HCA", std::string(1025, 'h')},
      {"HFREDUCE_IB_GID_INDEX", "64"},
      {"HFREDUCE_IB_MTU", "1500"},
      {"HFREDUCE_IB_SL", "16"},
      {"HFREDUCE_IB_TC", "256"},
      {"HFREDUCE_IB_TIMEOUT", "0"},
      {"HFREDUCE_IB_RETRY_CNT", "8"},
      {"HFREDUCE_IB_QPS", "17"},
      {"HFREDUCE_DEVICE", "fpga"},
      {"HFREDUCE_CUDA_MEMOPS", "maybe"},
      {"HFREDUCE_GDRCOPY_BYTES", "some"},
      {"HFREDUCE_ADD_THREADS", "33"},
      {"HFREDUCE_COPY_STEP", "65"},
      {"HFREDUCE_GPU_GROUP", "3"},
      {"HFREDUCE_GPU_GROUP_FROM", "0"},
      {"HFREDUCE_GPU_GROUP_BLOCKS", "0"},
      {"HFREDUCE_ISA", "mmx"},
      {"HFREDUCE_LOG_LEVEL", "loud"},
      {"HFREDUCE_LOG", "warn,cable=info"},
      {"HFREDUCE_LOG_FILE", std::string(4097, 'f')},
      {"HFREDUCE_TRACE", std::string(4097, 't')},
      {"HFREDUCE_RECORDER_DIR", std::string(4001, 'd')},
      {"HFREDUCE_RECORDER_SIGNAL", "KILL"},
      {"HFREDUCE_METRICS", "somewhere"},
      {"HFREDUCE_CHECK", "md5"},
  };
  for (const ConfigVariable& variable : config_variables()) {
    auto value = bad.find(variable.name);
    ASSERT_NE(value, bad.end()) << "no bad value for " << variable.name << " in this test";
    auto config = load_config(environment({*value}));
    ASSERT_FALSE(config.ok()) << variable.name;
    EXPECT_EQ(config.status().code(), Code::kInvalidArgument);
    EXPECT_THAT(config.status().message(),
                AllOf(HasSubstr(variable.name + "="), HasSubstr(variable.allowed)));
    if (variable.name == "HFREDUCE_SECRET") {
      EXPECT_THAT(config.status().message(), Not(HasSubstr("sss")));
    } else {
      EXPECT_THAT(config.status().message(), HasSubstr(value->second));
    }
  }
}

TEST(Config, FileThenEnvironment) {
  ConfigFile file("# a comment\nHFREDUCE_WINDOW = 4   # four lanes\n\nHFREDUCE_FOREST=tree\n");
  auto config = load_config(
      environment({{"HFREDUCE_CONFIG_FILE", file.path()}, {"HFREDUCE_FOREST", "ring"}}));
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->window, 4u);
  EXPECT_EQ(config->forest, "ring");
}

TEST(Config, FileErrorsNameTheLine) {
  ConfigFile unknown("HFREDUCE_WINDOW=4\nHFREDUCE_WINDOWS=4\n");
  EXPECT_THAT(
      load_config(environment({{"HFREDUCE_CONFIG_FILE", unknown.path()}})).status().message(),
      AllOf(HasSubstr(":2"), HasSubstr("HFREDUCE_WINDOWS")));
  ConfigFile no_equals("HFREDUCE_WINDOW\n");
  EXPECT_THAT(
      load_config(environment({{"HFREDUCE_CONFIG_FILE", no_equals.path()}})).status().message(),
      HasSubstr("NAME=VALUE"));
  EXPECT_THAT(
      load_config(environment({{"HFREDUCE_CONFIG_FILE", "/nowhere/at/all"}})).status().message(),
      HasSubstr("/nowhere/at/all"));
}

TEST(Config, ParseSize) {
  EXPECT_EQ(parse_size("0"), 0u);
  EXPECT_EQ(parse_size("4k"), 4096u);
  EXPECT_EQ(parse_size("186M"), size_t{186} << 20);
  EXPECT_EQ(parse_size("2G"), size_t{2} << 30);
  for (const char* bad :
       {"", "K", "4KB", "-1", "1.5M", "99999999999999999999", "18446744073709551615G"}) {
    EXPECT_FALSE(parse_size(bad)) << bad;
  }
}

TEST(Config, DocumentationListsEveryVariable) {
  std::ifstream page(HFR_SOURCE_DIR "/docs/configuration.md");
  std::stringstream text;
  text << page.rdbuf();
  for (const ConfigVariable& v : config_variables()) {
    std::string row = "| `" + v.name + "` | " + (v.initial.empty() ? "none" : v.initial) + " | " +
                      v.allowed + " | " + v.meaning + " |\n";
    EXPECT_THAT(text.str(), HasSubstr(row));
  }
}

}  // namespace
}  // namespace hfr
