// What doctor reads from a sysfs that is made up.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/text.hpp"
#include "tools/doctor_net.hpp"

namespace hfr::tools {
namespace {

namespace fs = std::filesystem;

class DoctorLinks : public testing::Test {
 protected:
  DoctorLinks() : sys_(fs::path(testing::TempDir()) / cat("hfreduce_sys_", getpid())) {}
  ~DoctorLinks() override { fs::remove_all(sys_); }

  void write(const std::string& path, const std::string& text) {
    fs::create_directories((sys_ / path).parent_path());
    std::ofstream(sys_ / path) << text << "\n";
  }
  void write_port(const std::string& device, const std::string& layer, const std::string& state) {
    const std::string port = cat("class/infiniband/", device, "/ports/1/");
    write(port + "state", state);
    write(port + "rate", "100 Gb/sec (4X EDR)");
    write(port + "link_layer", layer);
  }
  void write_gid(const std::string& device, int index, const std::string& gid,
                 const std::string& type = "", const std::string& interface = "") {
    const std::string port = cat("class/infiniband/", device, "/ports/1/");
    write(cat(port, "gids/", index), gid);
    if (!type.empty()) write(cat(port, "gid_attrs/types/", index), type);
    if (!interface.empty()) write(cat(port, "gid_attrs/ndevs/", index), interface);
  }
  std::vector<Link> find(const std::vector<NetworkInterface>& interfaces = {}) const {
    return find_links(sys_, interfaces);
  }

  const fs::path sys_;
};

TEST_F(DoctorLinks, NothingIsThere) { EXPECT_TRUE(find().empty()); }

TEST_F(DoctorLinks, PortOfRoce) {
  write_port("mlx5_1", "Ethernet", "4: ACTIVE");
  write_gid("mlx5_1", 0, "fe80:0000:0000:0000:0000:0000:0000:0001", "IB/RoCE v1", "eth3");
  write_gid("mlx5_1", 1, "0000:0000:0000:0000:0000:ffff:0a09:0001", "RoCE v2", "eth3");
  write_gid("mlx5_1", 2, "0000:0000:0000:0000:0000:0000:0000:0000");
  write("class/infiniband/mlx5_1/device/numa_node", "1");
  write("class/net/eth3/mtu", "4200");
  const std::vector<Link> links = find();
  ASSERT_EQ(links.size(), 1u);
  const Link& link = links[0];
  EXPECT_EQ(link.text(), "mlx5_1 port 1");
  EXPECT_TRUE(link.up);
  EXPECT_EQ(link.state, "ACTIVE");
  EXPECT_EQ(link.layer, "Ethernet");
  EXPECT_EQ(link.interface, "eth3");
  EXPECT_EQ(link.mtu, 4200);
  EXPECT_DOUBLE_EQ(link.gbit_per_s, 100);
  EXPECT_EQ(link.numa, 1);
  ASSERT_EQ(link.addresses.size(), 2u);
  EXPECT_EQ(link.addresses[0].type, "RoCE v1");
  EXPECT_EQ(link.addresses[1].type, "RoCE v2");
  EXPECT_EQ(link.addresses[1].address, "10.9.0.1");
  EXPECT_EQ(link.addresses[1].index, 1);
}

TEST_F(DoctorLinks, PortOfInfiniBandThatWaitsForItsManager) {
  write_port("ib0", "InfiniBand", "2: INIT");
  write_gid("ib0", 0, "fe80:0000:0000:0000:0002:c903:0000:1234");
  const std::vector<Link> links = find();
  ASSERT_EQ(links.size(), 1u);
  EXPECT_FALSE(links[0].up);
  EXPECT_EQ(links[0].state, "INIT");
  ASSERT_EQ(links[0].addresses.size(), 1u);
  EXPECT_EQ(links[0].addresses[0].type, "InfiniBand");
}

TEST_F(DoctorLinks, Interfaces) {
  write("class/net/eth0/operstate", "up");
  write("class/net/eth0/speed", "25000");
  write("class/net/eth0/mtu", "1500");
  write("class/net/eth1/operstate", "down");
  write("class/net/eth1/speed", "-1");
  const std::vector<Link> links = find({{"eth0", "192.0.2.1"}, {"eth1", "2001:db8::1"}});
  ASSERT_EQ(links.size(), 2u);
  EXPECT_TRUE(links[0].up);
  EXPECT_DOUBLE_EQ(links[0].gbit_per_s, 25);
  EXPECT_EQ(links[0].mtu, 1500);
  EXPECT_FALSE(links[1].up);
  EXPECT_DOUBLE_EQ(links[1].gbit_per_s, 0) << "a link that is down has no speed";
  EXPECT_EQ(links[1].addresses[0].type, "IPv6");
}

}  // namespace
}  // namespace hfr::tools
