#include "comm/group_setup.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hfr {
namespace {

using testing::HasSubstr;

// Rank 0 in host memory, the others on GPUs that all reach each other; two nodes.
const Shape kShape = make_shape(1, std::vector<int>{0, 0, 0, 1, 1});

std::vector<GroupFinding> findings(bool kernels) {
  std::vector<GroupFinding> ranks(5);
  const std::vector<std::string> gpus = {"a", "b"};
  for (size_t rank : {1, 2, 3, 4}) {
    const size_t which = rank % 2;
    ranks[rank].gpu = {gpus[which], {gpus[1 - which]}};
    ranks[rank].has_kernels = kernels;
  }
  return ranks;
}

TEST(PlanGpuGroups, PerNode) {
  const std::vector<GpuGroups> pairs = {{{1, 2}}, {{0, 1}}};
  EXPECT_EQ(*plan_gpu_groups(kShape, "auto", findings(true)), pairs);
  EXPECT_EQ(*plan_gpu_groups(kShape, "2", findings(true)), pairs);
  EXPECT_EQ(*plan_gpu_groups(kShape, "0", findings(true)), std::vector<GpuGroups>(2));
}

TEST(PlanGpuGroups, WithoutKernels) {
  EXPECT_EQ(*plan_gpu_groups(kShape, "auto", findings(false)), std::vector<GpuGroups>(2));
  EXPECT_EQ(*plan_gpu_groups(kShape, "0", findings(false)), std::vector<GpuGroups>(2));
  const Status asked = plan_gpu_groups(kShape, "2", findings(false)).status();
  EXPECT_EQ(asked.code(), Code::kUnsupported);
  EXPECT_THAT(asked.message(), HasSubstr("HFREDUCE_CUDA_KERNELS=ON"));
}

TEST(PlanGpuGroups, WhatDoesNotDivideIsSaid) {
  const Status odd = plan_gpu_groups(kShape, "4", findings(true)).status();
  EXPECT_EQ(odd.code(), Code::kInvalidArgument);
  EXPECT_THAT(odd.message(), HasSubstr("2 GPU ranks"));
}

// What is left of a communicator goes on, without groups where they do not come out even.
TEST(PlanGpuGroups, ChildrenGoWithoutWhatDoesNotDivide) {
  const std::vector<GpuGroups> pairs = {{{1, 2}}, {{0, 1}}};
  EXPECT_EQ(*plan_gpu_groups(kShape, "2", findings(true), true), pairs);
  EXPECT_EQ(*plan_gpu_groups(kShape, "4", findings(true), true), std::vector<GpuGroups>(2));
  const Shape odd = make_shape(1, std::vector<int>{0, 0, 0, 0, 1});
  const std::vector<GpuGroups> of_one_node = {{}, {}};
  EXPECT_EQ(*plan_gpu_groups(odd, "2", findings(true), true), of_one_node);
  const Status kernels = plan_gpu_groups(kShape, "2", findings(false), true).status();
  EXPECT_EQ(kernels.code(), Code::kUnsupported);
}

// A number in the environment of a job in host memory asks for nothing.
TEST(PlanGpuGroups, HostRanksAlone) {
  EXPECT_EQ(*plan_gpu_groups(kShape, "2", std::vector<GroupFinding>(5)), std::vector<GpuGroups>(2));
}

}  // namespace
}  // namespace hfr
