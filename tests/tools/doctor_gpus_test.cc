// What is said of GPUs' links, and how they are measured, with GPUs that are made up.
#include "tools/doctor_gpus.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

namespace hfr::tools {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Verdict = Finding::Verdict;

constexpr const char* kGen4 = "16.0 GT/s PCIe";
constexpr const char* kGen5 = "32.0 GT/s PCIe";

// One of two sound ones: 63 GB/s with headers.
GpuLinkFacts sound_gpu() {
  return {.device = "0000:17:00.0 NVIDIA H200",
          .failure = "",
          .to_host = 55e9,
          .to_device = 54e9,
          .both = 50e9,
          .all = 49e9,
          .link = {.speed = kGen5, .most_speed = kGen5, .width = 16, .most_width = 16}};
}

// Of a machine with this GPU and a sound one.
Finding judged(const GpuLinkFacts& gpu) {
  const auto findings = judge_gpu_links({gpu, sound_gpu()}, "");
  EXPECT_EQ(findings.size(), 2u);
  EXPECT_EQ(findings[1].verdict, Verdict::kOk);
  return findings[0];
}

TEST(DoctorGpus, LinksRates) {
  EXPECT_DOUBLE_EQ(link_rate("2.5 GT/s PCIe", 16), 4e9);
  EXPECT_DOUBLE_EQ(link_rate("5.0 GT/s PCIe", 8), 4e9);
  EXPECT_NEAR(link_rate("8.0 GT/s PCIe", 16), 15.75e9, 0.01e9);
  EXPECT_NEAR(link_rate(kGen5, 16), 63.0e9, 0.1e9);
  EXPECT_NEAR(link_rate("64.0 GT/s PCIe", 16), 121e9, 0.1e9);
  EXPECT_EQ(link_rate("", 16), 0);
  EXPECT_EQ(link_rate("Unknown", 16), 0);
  EXPECT_EQ(link_rate(kGen5, 0), 0);
}

TEST(DoctorGpus, ASoundOne) {
  const Finding finding = judged(sound_gpu());
  EXPECT_EQ(finding.verdict, Verdict::kOk);
  EXPECT_EQ(finding.advice, "");
  EXPECT_THAT(finding.text, AllOf(HasSubstr("NVIDIA H200: to the host 55.0 GB/s, to the GPU 54.0"),
                                  HasSubstr("both at once 50.0 GB/s each way"),
                                  HasSubstr("all GPUs at once 49.0"),
                                  HasSubstr("(32.0 GT/s PCIe x16) carries 63.0 GB/s")));
}

TEST(DoctorGpus, WhatIsBelowIsNamedWithWhatToDo) {
  GpuLinkFacts gpu = sound_gpu();
  gpu.to_device = 40e9;
  EXPECT_EQ(judged(gpu).verdict, Verdict::kWrong);
  EXPECT_THAT(judged(gpu).advice, AllOf(HasSubstr("70 %"), HasSubstr("lspci -vv")));

  // Right for its link, but its twin has a better one.
  gpu = sound_gpu();
  gpu.link.speed = gpu.link.most_speed = kGen4;
  gpu.to_host = gpu.to_device = 26e9;
  gpu.both = gpu.all = 22e9;
  EXPECT_EQ(judged(gpu).verdict, Verdict::kWrong);
  EXPECT_THAT(judged(gpu).advice, HasSubstr("another GPU of this machine reaches 54.0 GB/s"));

  gpu = sound_gpu();
  gpu.failure = "cuMemHostAlloc: CUDA_ERROR_OUT_OF_MEMORY";
  EXPECT_EQ(judged(gpu).verdict, Verdict::kWrong);
  EXPECT_THAT(judged(gpu).text, HasSubstr("CUDA_ERROR_OUT_OF_MEMORY"));
  EXPECT_NE(judged(gpu).advice, "");
}

TEST(DoctorGpus, WhatLimitsButIsNoFaultIsANote) {
  GpuLinkFacts gpu = sound_gpu();
  gpu.both = gpu.all = 30e9;
  EXPECT_EQ(judged(gpu).verdict, Verdict::kNote);
  EXPECT_THAT(judged(gpu).advice, HasSubstr("both ways at once"));

  gpu = sound_gpu();
  gpu.all = 25e9;
  EXPECT_EQ(judged(gpu).verdict, Verdict::kNote);
  EXPECT_THAT(judged(gpu).advice, HasSubstr("slower while the others copy"));

  gpu = sound_gpu();
  gpu.link.most_speed = "64.0 GT/s PCIe";
  EXPECT_EQ(judged(gpu).verdict, Verdict::kNote);
  EXPECT_THAT(judged(gpu).advice, HasSubstr("could run at 64.0 GT/s PCIe"));
}

TEST(DoctorGpus, ALinkThatIsNotShownIsComparedWithItsTwin) {
  GpuLinkFacts gpu = sound_gpu();
  gpu.link = {};
  EXPECT_EQ(judged(gpu).verdict, Verdict::kOk);
  EXPECT_THAT(judged(gpu).text, HasSubstr("not shown"));
  gpu.to_host = 20e9;
  EXPECT_EQ(judged(gpu).verdict, Verdict::kWrong);
}

TEST(DoctorGpus, NoneIsSkippedWithTheReason) {
  const auto findings = judge_gpu_links({}, "this machine shows no GPU");
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_EQ(findings[0].verdict, Verdict::kSkipped);
  EXPECT_EQ(findings[0].text, "this machine shows no GPU");
}

// Answers each copy with a rate that says which one it is.
class MadeUpGpu : public LinkGpu {
 public:
  explicit MadeUpGpu(double unit, std::string refuses = "")
      : unit_(unit), refuses_(std::move(refuses)) {}
  std::string bus_id() const override { return "0000:0" + std::to_string(int(unit_)) + ":00.0"; }
  std::string name() const override { return "made up"; }
  void open() override {
    if (!refuses_.empty()) throw std::runtime_error(refuses_);
    opened_ = true;
  }
  double copy(bool to_host, bool to_device, uint64_t for_ns) override {
    EXPECT_TRUE(opened_);
    EXPECT_GT(for_ns, 0u);
    if (to_host && to_device) return unit_ * (++both_ > 1 ? 7 : 5);
    return unit_ * (to_host ? 2 : 3);
  }

 private:
  const double unit_;
  const std::string refuses_;
  bool opened_ = false;
  int both_ = 0;
};

GpuSurroundings surroundings(std::vector<std::string>& asked) {
  return {.link =
              [&](const std::string& bus_id) {
                asked.push_back(bus_id);
                return PciLink{.speed = kGen4, .most_speed = kGen5, .width = 8, .most_width = 16};
              },
          .cpus = [](const std::string&) { return std::vector<int>(); }};
}

TEST(DoctorGpus, EachAloneAndThenAll) {
  std::vector<std::unique_ptr<LinkGpu>> gpus;
  gpus.push_back(std::make_unique<MadeUpGpu>(1));
  gpus.push_back(std::make_unique<MadeUpGpu>(2, "it fell off the bus"));
  gpus.push_back(std::make_unique<MadeUpGpu>(3));
  std::vector<std::string> asked;
  const auto all = measure_gpu_links(gpus, surroundings(asked));
  ASSERT_EQ(all.size(), 3u);
  EXPECT_THAT(asked, ElementsAre("0000:01:00.0", "0000:03:00.0"));
  for (size_t i : {0, 2}) {
    const double unit = i == 0 ? 1 : 3;
    EXPECT_EQ(all[i].failure, "");
    EXPECT_EQ(all[i].to_host, 2 * unit);
    EXPECT_EQ(all[i].to_device, 3 * unit);
    EXPECT_EQ(all[i].both, 5 * unit);
    EXPECT_EQ(all[i].all, 7 * unit);
    EXPECT_EQ(all[i].link.width, 8);
    EXPECT_THAT(all[i].device, HasSubstr(":00.0 made up"));
  }
  EXPECT_EQ(all[1].failure, "it fell off the bus");
  EXPECT_EQ(all[1].all, 0);
}

TEST(DoctorGpus, OneIsNotMeasuredBesideItself) {
  std::vector<std::unique_ptr<LinkGpu>> gpus;
  gpus.push_back(std::make_unique<MadeUpGpu>(1));
  std::vector<std::string> asked;
  EXPECT_EQ(measure_gpu_links(gpus, surroundings(asked))[0].all, 0);
  EXPECT_THAT(measure_gpu_links({}, surroundings(asked)), IsEmpty());
}

}  // namespace
}  // namespace hfr::tools
