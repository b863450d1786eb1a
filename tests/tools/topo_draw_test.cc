#include "tools/topo_draw.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <string>
#include <vector>

namespace hfr::tools {
namespace {

using testing::HasSubstr;
using testing::Not;

Topology example() {
  Topology topology;
  topology.host = "host <&> \"quoted\" \\ back";
  topology.processor = "Processor";
  topology.num_cores = 64;
  topology.num_threads = 128;
  topology.allowed_cpus = 128;
  topology.quota_cpus = 16;
  topology.usable_cpus = 16;
  topology.memory_bytes = size_t{512} << 30;
  topology.sockets = {{0, 32, 64}, {1, 32, 64}};
  topology.numa_nodes = {{0, 0, size_t{256} << 30, 32}, {1, 1, size_t{256} << 30, 32}};
  topology.caches = {{1, size_t{48} << 10, 64, 1}, {3, size_t{32} << 20, 8, 8}};
  topology.devices = {
      {PciDevice::Kind::kGpu, "0000:17:00.0", "A & B <GPU>", {}, 0, 31.5},
      {PciDevice::Kind::kNic, "0000:18:00.0", "", {"mlx5_0", "ib0"}, 1, 0},
      {PciDevice::Kind::kNic, "0000:19:00.0", "control \x01 character", {"eth0"}, -1, 0}};
  topology.interfaces = {{"eth0", "192.0.2.1"}};
  return topology;
}

JobShape job(int nodes, ForestKind kind = ForestKind::kDoubleBinaryTree) {
  JobShape shape;
  shape.nodes = nodes;
  shape.ranks_per_node = 3;
  shape.window = 6;
  shape.kind = kind;
  shape.forest = kind == ForestKind::kRing ? ring(nodes) : double_binary_tree(nodes);
  return shape;
}

// Whether `text` is well-formed as far as drawings go: one root, balanced tags, quoted attributes,
// no stray markup.
testing::AssertionResult is_xml(const std::string& text) {
  std::vector<std::string> open;
  int roots = 0;
  size_t at = 0;
  auto fail = [&](const std::string& why) {
    return testing::AssertionFailure() << why << " at " << at;
  };
  while (at < text.size()) {
    const char c = text[at];
    if (static_cast<unsigned char>(c) < 0x20 && c != '\n') return fail("control character");
    if (c == '&') {
      const size_t end = text.find(';', at);
      const std::string name = end == std::string::npos ? "" : text.substr(at + 1, end - at - 1);
      if (name != "amp" && name != "lt" && name != "gt" && name != "quot") return fail("bare &");
    }
    if (c == '>') return fail("bare >");
    if (c != '<') {
      if (open.empty() && std::isspace(static_cast<unsigned char>(c)) == 0)
        return fail("text outside the root");
      ++at;
      continue;
    }
    size_t end = at + 1;
    bool quoted = false;
    while (end < text.size() && (quoted || text[end] != '>')) {
      if (text[end] == '"') quoted = !quoted;
      if (text[end] == '<') return fail("< in a tag");
      ++end;
    }
    if (end == text.size()) return fail("unfinished tag");
    const std::string tag = text.substr(at + 1, end - at - 1);
    if (std::count(tag.begin(), tag.end(), '"') % 2 != 0) return fail("odd quotes");
    const std::string name =
        tag.substr(tag[0] == '/' ? 1 : 0, tag.find_first_of(" /", 1) - (tag[0] == '/' ? 1 : 0));
    if (tag[0] == '/') {
      if (open.empty() || open.back() != tag.substr(1))
        return fail("unbalanced </" + tag.substr(1));
      open.pop_back();
    } else if (tag[0] != '?' && tag.back() != '/') {
      if (open.empty() && ++roots > 1) return fail("second root");
      open.push_back(name);
    }
    at = end + 1;
  }
  if (!open.empty()) return fail("unclosed " + open.back());
  return roots == 1 ? testing::AssertionSuccess() : fail("no root");
}

// Balanced braces and brackets outside of strings, and every string closed.
testing::AssertionResult is_dot(const std::string& text) {
  int braces = 0;
  int brackets = 0;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted && c == '\\') {
      ++i;
    } else if (c == '"') {
      quoted = !quoted;
    } else if (!quoted) {
      braces += c == '{' ? 1 : c == '}' ? -1 : 0;
      brackets += c == '[' ? 1 : c == ']' ? -1 : 0;
      if (braces < 0 || brackets < 0)
        return testing::AssertionFailure() << "closed too often at " << i;
    }
  }
  if (quoted || braces != 0 || brackets != 0)
    return testing::AssertionFailure() << "something stays open";
  return testing::AssertionSuccess();
}

TEST(XmlChecker, FindsFaults) {
  EXPECT_TRUE(is_xml("<a><b c=\"1\"/>text &amp;</a>\n"));
  for (const char* text : {"", "<a>", "<a></b>", "<a>&</a>", "<a b=\"1></a>", "<a></a><a></a>",
                           "x<a></a>", "<a>></a>"}) {
    EXPECT_FALSE(is_xml(text)) << text;
  }
}

TEST(DotChecker, FindsFaults) {
  EXPECT_TRUE(is_dot("digraph { a [label=\"\\\"{\"]; }"));
  for (const char* text : {"digraph {", "digraph }{", "{ [ }", "{ \" }"})
    EXPECT_FALSE(is_dot(text)) << text;
}

TEST(TopoText, NamesWhatWasFound) {
  const std::string text = topology_text(example());
  for (const char* part :
       {"64 cores", "128 threads", "16 CPUs", "cgroup quota 16", "socket 1", "NUMA node 1",
        "L3 cache   8 x 32.0 MiB", "GPU 0000:17:00.0 (A & B <GPU>), link 31.5 GB/s, NUMA node 0",
        "NIC 0000:18:00.0 mlx5_0 ib0", "eth0 192.0.2.1"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
  EXPECT_THAT(topology_text(Topology()), HasSubstr("GPUs       none on PCI"));
}

TEST(TopoText, LanesAndTrees) {
  const std::string text = job_text(job(4));
  EXPECT_THAT(text, HasSubstr("lane 0: owner local rank 0, tree 0, rail tcp"));
  EXPECT_THAT(text, HasSubstr("lane 4: owner local rank 1, tree 0"));
  EXPECT_THAT(text, HasSubstr("lane 5: owner local rank 2, tree 1"));
  EXPECT_THAT(text, HasSubstr("double binary tree, 2 trees"));
  // Every node appears once in each tree.
  for (int node = 0; node < 4; ++node) {
    const std::string line = "node " + std::to_string(node) + "\n";
    size_t found = 0;
    for (size_t at = 0; (at = text.find(line, at)) != std::string::npos; ++at) ++found;
    EXPECT_EQ(found, 2u) << line;
  }
  EXPECT_THAT(job_text(job(1)), Not(HasSubstr("tree")));
}

TEST(TopoSvg, IsWellFormed) {
  for (int nodes : {1, 2, 3, 8, 33}) EXPECT_TRUE(is_xml(svg_drawing(example(), job(nodes))));
  EXPECT_TRUE(is_xml(svg_drawing(example(), job(5, ForestKind::kRing))));
  EXPECT_TRUE(is_xml(svg_drawing(Topology(), job(1))));
}

TEST(TopoSvg, ShowsDevicesAndNodes) {
  const std::string svg = svg_drawing(example(), job(4));
  for (const char* part :
       {"A &amp; B &lt;GPU&gt;", "mlx5_0", "eth0", "NUMA node 1", "socket 1", "node 3"}) {
    EXPECT_THAT(svg, HasSubstr(part));
  }
}

TEST(TopoDot, IsWellFormed) {
  for (int nodes : {1, 2, 3, 8, 33}) EXPECT_TRUE(is_dot(dot_graph(example(), job(nodes))));
  EXPECT_TRUE(is_dot(dot_graph(Topology(), job(1))));
}

TEST(TopoDot, EdgesGoToParents) {
  const JobShape shape = job(5);
  const std::string dot = dot_graph(example(), shape);
  size_t edges = 0;
  for (size_t at = 0; (at = dot.find(" -> ", at)) != std::string::npos; ++at) ++edges;
  EXPECT_EQ(edges, 2u * 4u);
  for (int node = 0; node < 5; ++node) {
    const int parent = shape.forest[0].parent[static_cast<size_t>(node)];
    if (parent >= 0) {
      EXPECT_THAT(dot,
                  HasSubstr("node" + std::to_string(node) + " -> node" + std::to_string(parent)));
    }
  }
  EXPECT_THAT(dot, HasSubstr("local rank 1 owns lanes 1 4"));
  EXPECT_THAT(dot, HasSubstr("A &amp; B <GPU>"));
}

}  // namespace
}  // namespace hfr::tools
