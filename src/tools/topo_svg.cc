#include <algorithm>
#include <sstream>

#include "base/text.hpp"
#include "tools/svg_text.hpp"
#include "tools/topo_draw.hpp"

namespace hfr::tools {
namespace {

constexpr int kWidth = 860;
constexpr int kMargin = 10;
constexpr int kLine = 24;
constexpr int kNodeWidth = 64;
constexpr int kNodeHeight = 26;
constexpr int kLevelHeight = 56;

// Draws downwards; `y` is where the next thing goes.
class Svg {
 public:
  void box(int x, int top, int width, int height, const char* fill, const std::string& label) {
    body_ << "<rect x=\"" << x << "\" y=\"" << top << "\" width=\"" << width << "\" height=\""
          << height << "\" rx=\"4\" fill=\"" << fill << "\" stroke=\"#445566\"/>\n";
    text(x + 8, top + 17, label);
  }
  void text(int x, int base, const std::string& label) {
    body_ << "<text x=\"" << x << "\" y=\"" << base << "\">" << svg_escaped(label) << "</text>\n";
  }
  void line(int x1, int y1, int x2, int y2) {
    body_ << "<line x1=\"" << x1 << "\" y1=\"" << y1 << "\" x2=\"" << x2 << "\" y2=\"" << y2
          << "\" stroke=\"#445566\"/>\n";
  }
  void say(const std::string& label) {
    text(kMargin, y + 17, label);
    y += kLine;
  }
  std::string finish(int width) const {
    return cat(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" "
        "width=\"",
        width, "\" height=\"", y + kMargin, "\" font-family=\"sans-serif\" font-size=\"12\">\n",
        "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n", body_.str(), "</svg>\n");
  }

  int y = kMargin;

 private:
  std::ostringstream body_;
};

void draw_devices(Svg& svg, const Topology& topology, int numa, int x) {
  for (const PciDevice& device : topology.devices) {
    if (device.numa != numa) continue;
    svg.box(x, svg.y, kWidth - 2 * x, kLine - 2,
            device.kind == PciDevice::Kind::kGpu ? "#dff2df" : "#fdf0d5", device_text(device));
    svg.y += kLine;
  }
}

int count_devices(const Topology& topology, int numa) {
  return static_cast<int>(
      std::count_if(topology.devices.begin(), topology.devices.end(),
                    [&](const PciDevice& device) { return device.numa == numa; }));
}

void draw_machine(Svg& svg, const Topology& topology) {
  svg.say(cat(topology.host, ": ", topology.processor, ", ", topology.usable_cpus,
              " CPUs granted, ", bytes_text(topology.memory_bytes)));
  std::string caches;
  for (const CacheLevel& cache : topology.caches) {
    caches += cat(caches.empty() ? "" : ", ", "L", cache.level, " ", cache.count, " x ",
                  bytes_text(cache.bytes));
  }
  if (!caches.empty()) svg.say(caches);
  for (const Socket& socket : topology.sockets) {
    int height = kLine + 6;
    for (const NumaNode& numa : topology.numa_nodes) {
      if (numa.socket == socket.idx) height += kLine * (count_devices(topology, numa.idx) + 1) + 14;
    }
    svg.box(kMargin, svg.y, kWidth - 2 * kMargin, height, "#f4f4f4",
            cat("socket ", socket.idx, ": ", socket.num_cores, " cores, ", socket.num_threads,
                " threads"));
    svg.y += kLine + 2;
    for (const NumaNode& numa : topology.numa_nodes) {
      if (numa.socket != socket.idx) continue;
      svg.box(
          2 * kMargin, svg.y, kWidth - 4 * kMargin,
          kLine * (count_devices(topology, numa.idx) + 1) + 6, "#e3ecfa",
          cat("NUMA node ", numa.idx, ": ", numa.num_cores, " cores, ", bytes_text(numa.bytes)));
      svg.y += kLine;
      draw_devices(svg, topology, numa.idx, 3 * kMargin);
      svg.y += 14;
    }
    svg.y += 8;
  }
  draw_devices(svg, topology, -1, kMargin);
}

// Parents above their children, each subtree in a strip of its own.
int draw_subtree(Svg& svg, const Tree& tree, int node, int left, int top) {
  int x = left;
  std::vector<int> below;
  for (int child : tree.children[static_cast<size_t>(node)]) {
    const int right = draw_subtree(svg, tree, child, x, top + kLevelHeight);
    below.push_back((x + right) / 2);
    x = right;
  }
  const int right = std::max(x, left + kNodeWidth + kMargin);
  const int centre = (left + right) / 2;
  for (int child : below) svg.line(centre, top + kNodeHeight, child, top + kLevelHeight);
  svg.box(centre - kNodeWidth / 2, top, kNodeWidth, kNodeHeight, "#fbe3e3", cat("node ", node));
  return right;
}

// Returns the width it needed.
int draw_job(Svg& svg, const JobShape& job) {
  svg.say(cat("job: ", job.nodes, " nodes x ", job.ranks_per_node, " ranks, window ", job.window));
  for (int lane = 0; lane < job.window; ++lane) {
    std::string label = cat("lane ", lane, ": owner local rank ", job.owner(lane));
    if (job.nodes > 1) label += cat(", tree ", job.tree(lane), ", rail ", job.rail);
    svg.say(label);
  }
  int width = kWidth;
  if (job.nodes == 1) return width;
  for (size_t t = 0; t < job.forest.size(); ++t) {
    svg.say(cat(forest_kind_name(job.kind), ", tree ", t));
    width = std::max(width, draw_subtree(svg, job.forest[t], job.forest[t].root(), kMargin, svg.y));
    svg.y += (job.forest[t].depth() + 1) * kLevelHeight;
  }
  return width;
}

}  // namespace

std::string svg_drawing(const Topology& topology, const JobShape& job) {
  Svg svg;
  draw_machine(svg, topology);
  const int width = draw_job(svg, job);
  return svg.finish(width);
}

}  // namespace hfr::tools
