// What is said of machines that are made up.
#include "tools/doctor_machine.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

namespace hfr::tools {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Verdict = Finding::Verdict;

MachineFacts sound_machine() {
  MachineFacts facts;
  facts.kernel = "6.1.0";
  facts.nvidia_driver = "550.54";
  facts.drivers = {"mlx5_core 5.8"};
  facts.has_gpus = facts.has_verbs = true;
  facts.adding_kernels = "avx512";
  facts.nodes = {
      {.numa = 0, .cpus = {0, 1}, .memory_bytes_per_s = 50e9, .add_bytes_per_s = {9e9, 8e9}},
      {.numa = 1, .cpus = {2, 3}, .memory_bytes_per_s = 48e9, .add_bytes_per_s = {9e9, 8e9}}};
  facts.huge_pages = true;
  facts.open_files = 65536;
  facts.memory_bytes = size_t{64} << 30;
  facts.num_bridges = 4;
  facts.pci_links = {{.device = "0000:17:00.0",
                      .is_gpu = true,
                      .link = {.speed = "16.0 GT/s PCIe",
                               .most_speed = "16.0 GT/s PCIe",
                               .width = 16,
                               .most_width = 16}}};
  facts.gpus = {{.device = "0000:17:00.0 NVIDIA A100",
                 .failure = "",
                 .to_host = 26e9,
                 .to_device = 25e9,
                 .both = 21e9,
                 .all = 0,
                 .link = facts.pci_links[0].link}};
  facts.all_reduce = AllReduceFacts{
      .num_ranks = 4, .bytes = 1 << 20, .status = Status(), .num_wrong = 0, .bytes_per_s = 3e9};
  facts.net.transport = "verbs";
  return facts;
}

std::vector<Finding> of(const MachineFacts& facts, Verdict verdict) {
  std::vector<Finding> found;
  for (Finding& finding : judge(facts)) {
    if (finding.verdict == verdict) found.push_back(std::move(finding));
  }
  return found;
}

// The one thing that is wrong with it.
Finding wrong(const MachineFacts& facts) {
  const auto found = of(facts, Verdict::kWrong);
  EXPECT_EQ(found.size(), 1u) << findings_text(judge(facts));
  return found.empty() ? Finding{} : found[0];
}

TEST(DoctorMachine, NothingIsWrongWithASoundOne) {
  const auto findings = judge(sound_machine());
  EXPECT_FALSE(any_wrong(findings)) << findings_text(findings);
  EXPECT_THAT(of(sound_machine(), Verdict::kNote), IsEmpty());
  EXPECT_THAT(findings_text(findings),
              AllOf(HasSubstr("NUMA node 1: 48.0 GB/s by 2 CPUs"), HasSubstr("adds with avx512"),
                    HasSubstr("nothing is wrong")));
}

TEST(DoctorMachine, EachFaultIsNamedWithWhatToDo) {
  MachineFacts facts = sound_machine();
  facts.nodes[1].memory_bytes_per_s = 20e9;
  EXPECT_THAT(wrong(facts).advice, AllOf(HasSubstr("NUMA node 1"), HasSubstr("memory channels")));

  facts = sound_machine();
  facts.nodes[1].add_bytes_per_s[1] = 2e9;
  EXPECT_THAT(wrong(facts).advice, AllOf(HasSubstr("CPU 3"), HasSubstr("throttled")));

  facts = sound_machine();
  facts.adding_kernels = "scalar";
  EXPECT_THAT(wrong(facts).advice, HasSubstr("HFREDUCE_ISA"));

  facts = sound_machine();
  facts.shared_memory = Status(Code::kOutOfMemory, "no memory is left");
  EXPECT_THAT(wrong(facts).text, HasSubstr("no memory is left"));

  facts = sound_machine();
  facts.lockable = 65536;
  EXPECT_THAT(wrong(facts).advice, HasSubstr("ulimit -l"));

  facts = sound_machine();
  facts.memory_bytes = size_t{256} << 20;
  EXPECT_THAT(wrong(facts).name, "limits");

  facts = sound_machine();
  facts.pci_links[0].link.width = 8;
  EXPECT_THAT(wrong(facts).text, HasSubstr("0000:17:00.0: 16.0 GT/s PCIe x8, at most"));

  facts = sound_machine();
  facts.net.problems = {"no network interface is up, not even loopback"};
  EXPECT_THAT(wrong(facts).advice, HasSubstr("no network interface"));

  facts = sound_machine();
  Link link;
  link.name = "eth0";
  link.problems = {"look at its cable"};
  facts.net.links = {link};
  EXPECT_THAT(wrong(facts).text, HasSubstr("eth0"));

  facts = sound_machine();
  facts.all_reduce->num_wrong = 3;
  EXPECT_THAT(wrong(facts).advice, HasSubstr("adds wrongly"));

  facts = sound_machine();
  facts.all_reduce->status = Status(Code::kCorrupted, "bytes changed in copy-in");
  EXPECT_THAT(wrong(facts).text, HasSubstr("copy-in"));
}

TEST(DoctorMachine, WhatIsSlowerButRightIsANote) {
  MachineFacts facts = sound_machine();
  facts.huge_pages = false;
  facts.huge_pages_setting = "always [never]";
  facts.open_files = 256;
  facts.num_iommu_groups = 3;
  facts.iommu_type = "DMA-FQ";
  facts.num_redirecting = 2;
  facts.pci_links[0].link.speed = "2.5 GT/s PCIe";
  facts.net.problems = {"there is no /dev/infiniband/uverbs*: load the module ib_uverbs"};
  EXPECT_FALSE(any_wrong(judge(facts))) << findings_text(judge(facts));
  std::vector<std::string> names;
  for (const Finding& note : of(facts, Verdict::kNote)) {
    names.push_back(note.name);
    EXPECT_NE(note.advice, "") << note.name;
  }
  EXPECT_THAT(names, ElementsAre("huge pages", "limits", "IOMMU", "ACS", "PCI link", "network"));
}

TEST(DoctorMachine, WhatCannotBeLookedAtIsSkippedWithAReason) {
  MachineFacts facts = sound_machine();
  facts.has_gpus = false;
  facts.gpus.clear();
  facts.nodes = {{.numa = 0, .cpus = {0}, .add_bytes_per_s = {}}};
  facts.all_reduce.reset();
  facts.num_bridges = 0;
  std::vector<std::string> names;
  for (const Finding& skipped : of(facts, Verdict::kSkipped)) {
    names.push_back(skipped.name);
    EXPECT_NE(skipped.text, "") << skipped.name;
  }
  EXPECT_THAT(names, ElementsAre("memory", "adding", "ACS", "GPU copies", "all-reduce"));
}

TEST(DoctorMachine, Json) {
  MachineFacts facts = sound_machine();
  facts.pci_links[0].link.width = 1;
  const auto json = nlohmann::json::parse(findings_json(judge(facts), facts));
  EXPECT_EQ(json["healthy"], false);
  EXPECT_EQ(json["numa_nodes"][1]["memory_bytes_per_s"], 48e9);
  EXPECT_EQ(json["numa_nodes"][1]["cpus"], (std::vector<int>{2, 3}));
  int num_wrong = 0;
  for (const auto& finding : json["findings"]) num_wrong += finding["verdict"] == "wrong";
  EXPECT_EQ(num_wrong, 1);
  EXPECT_EQ(json["gpus"][0]["device"], "0000:17:00.0 NVIDIA A100");
  EXPECT_EQ(json["gpus"][0]["both_ways_bytes_per_s"], 21e9);
  EXPECT_TRUE(json["gpus"][0]["all_gpus_bytes_per_s"].is_null());
  EXPECT_NEAR(json["gpus"][0]["link_bytes_per_s"].get<double>(), 31.5e9, 0.05e9);
}

TEST(DoctorMachine, CpuLists) {
  EXPECT_THAT(parse_cpu_list("0-3,8"), ElementsAre(0, 1, 2, 3, 8));
  EXPECT_THAT(parse_cpu_list("5"), ElementsAre(5));
  for (const char* bad : {"", "x", "3-1", "-1", "1-", "0-99999999"}) {
    EXPECT_THAT(parse_cpu_list(bad), IsEmpty()) << bad;
  }
}

// A configuration space whose list of extended capabilities is: something, then access control.
std::string config_space(unsigned char control) {
  std::string space(4096, '\0');
  const auto put = [&](size_t at, std::initializer_list<unsigned char> bytes) {
    for (unsigned char byte : bytes) space[at++] = static_cast<char>(byte);
  };
  put(0x100, {0x01, 0x00, 0x02, 0x14});  // next: 0x140
  put(0x140, {0x0d, 0x00, 0x01, 0x00, 0x1f, 0x00, control, 0x00});
  return space;
}

TEST(DoctorMachine, AccessControlOfBridges) {
  EXPECT_EQ(redirects_peers(config_space(0x00)), false);
  EXPECT_EQ(redirects_peers(config_space(0x01)), false);
  EXPECT_EQ(redirects_peers(config_space(0x04)), true);
  EXPECT_EQ(redirects_peers(config_space(0x1d)), true);
  // Without root a file ends after 64 bytes.
  EXPECT_EQ(redirects_peers(config_space(0x1d).substr(0, 64)), std::nullopt);
  EXPECT_EQ(redirects_peers(config_space(0x1d).substr(0, 0x144)), std::nullopt);
  EXPECT_EQ(redirects_peers(std::string(4096, '\0')), std::nullopt);
  std::string round = config_space(0);
  round[0x140] = 0x02;
  round[0x142] = 0x01;
  round[0x143] = 0x10;  // next: 0x100
  EXPECT_EQ(redirects_peers(round), std::nullopt);
}

class FakeSystem : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "hfreduce_doctor_XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    root_ = name;
  }
  void TearDown() override { fs::remove_all(root_); }
  void write(const std::string& path, const std::string& text) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path, std::ios::binary) << text;
  }
  fs::path root_;
};

TEST_F(FakeSystem, IsRead) {
  write("sys/devices/system/node/node0/cpulist", "0-1023\n");
  write("sys/devices/system/node/node1/cpulist", "5000\n");  // none of this process's
  write("sys/kernel/mm/transparent_hugepage/shmem_enabled", "always [advise]\n");
  write("sys/kernel/iommu_groups/0/type", "DMA-FQ\n");
  write("sys/kernel/iommu_groups/1/type", "DMA-FQ\n");
  write("sys/bus/pci/devices/0000:00:01.0/class", "0x060400\n");
  write("sys/bus/pci/devices/0000:00:01.0/config", config_space(0x04));
  write("sys/bus/pci/devices/0000:00:02.0/class", "0x060400\n");
  write("sys/bus/pci/devices/0000:00:02.0/config", config_space(0));
  write("sys/bus/pci/devices/0000:00:03.0/class", "0x020000\n");
  write("sys/bus/pci/devices/0000:00:03.0/config", config_space(0x04));
  write(
      "proc/driver/nvidia/version",
      "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\n");
  const MachineFacts facts = learn_machine(root_ / "sys", root_ / "proc");
  ASSERT_EQ(facts.nodes.size(), 1u);
  EXPECT_EQ(facts.nodes[0].numa, 0);
  EXPECT_FALSE(facts.nodes[0].cpus.empty());
  EXPECT_EQ(facts.huge_pages_setting, "always [advise]");
  EXPECT_EQ(facts.num_iommu_groups, 2);
  EXPECT_EQ(facts.iommu_type, "DMA-FQ");
  EXPECT_EQ(facts.num_bridges, 2);
  EXPECT_EQ(facts.num_redirecting, 1);
  EXPECT_EQ(facts.nvidia_driver, "550.54.15");
  EXPECT_FALSE(facts.has_verbs);
  EXPECT_GT(facts.memory_bytes, 0u);
}

TEST_F(FakeSystem, MayLackEverything) {
  const MachineFacts facts = learn_machine(root_ / "sys", root_ / "proc");
  ASSERT_EQ(facts.nodes.size(), 1u) << "the CPUs of this process";
  EXPECT_FALSE(facts.nodes[0].cpus.empty());
  EXPECT_EQ(facts.nvidia_driver, "");
  EXPECT_EQ(facts.num_bridges, 0);
}

}  // namespace
}  // namespace hfr::tools
