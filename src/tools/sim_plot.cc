// The plot of `hfreduce sim`: algorithm bandwidth over GPUs, on a logarithmic axis.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/text.hpp"
#include "tools/sim_report.hpp"
#include "tools/svg_text.hpp"

namespace hfr::tools {
namespace {

constexpr double kWidth = 860, kHeight = 480;
constexpr double kLeft = 70, kRight = 830, kTop = 50, kBottom = 420;

struct Series {
  const char* name;
  const char* colour;
  double SimPoint::*value;
};
constexpr Series kSeries[] = {{"HFReduce, simulated", "#1f5fbf", &SimPoint::algbw},
                              {"NCCL ring, estimated", "#c0504d", &SimPoint::nccl_ring_algbw},
                              {"NCCL tree, estimated", "#d99a2b", &SimPoint::nccl_tree_algbw}};

class Axes {
 public:
  explicit Axes(const std::vector<SimPoint>& points) {
    least_ = most_ = points.front().num_gpus;
    for (const SimPoint& p : points) {
      least_ = std::min(least_, static_cast<double>(p.num_gpus));
      most_ = std::max(most_, static_cast<double>(p.num_gpus));
      for (const Series& series : kSeries) top_ = std::max(top_, p.*series.value);
    }
    step_ = std::pow(10, std::floor(std::log10(top_)));
    if (top_ / step_ < 3) step_ /= 2;
    top_ = std::ceil(top_ / step_) * step_;
  }
  double x(double gpus) const {
    if (most_ == least_) return (kLeft + kRight) / 2;
    return kLeft + (kRight - kLeft) * std::log2(gpus / least_) / std::log2(most_ / least_);
  }
  double y(double rate) const { return kBottom - (kBottom - kTop) * rate / top_; }
  double top() const { return top_; }
  double step() const { return step_; }

 private:
  double least_ = 0, most_ = 0, top_ = 0, step_ = 1;
};

std::string text_at(double x, double y, const char* anchor, const std::string& text) {
  return cat("<text x=\"", x, "\" y=\"", y, "\" text-anchor=\"", anchor, "\">", svg_escaped(text),
             "</text>\n");
}

}  // namespace

std::string sim_plot(const sim::ClusterSpec& cluster, const std::vector<SimPoint>& points) {
  const Axes axes(points);
  std::string body = text_at(kLeft, 25, "start",
                             cat(cluster.name, ": algorithm bandwidth, GB/s, of ",
                                 bytes_text(points.front().bytes), " over GPUs"));
  for (double rate = 0; rate <= axes.top() * 1.0001; rate += axes.step()) {
    body += cat("<line x1=\"", kLeft, "\" x2=\"", kRight, "\" y1=\"", axes.y(rate), "\" y2=\"",
                axes.y(rate), "\" stroke=\"#dddddd\"/>\n");
    body += text_at(kLeft - 8, axes.y(rate) + 4, "end", cat(rate));
  }
  for (const SimPoint& p : points)
    body += text_at(axes.x(p.num_gpus), kBottom + 20, "middle", cat(p.num_gpus));
  double legend = kLeft;
  for (const Series& series : kSeries) {
    std::string line, dots;
    for (const SimPoint& p : points) {
      const double value = p.*series.value;
      if (value <= 0) continue;
      line += cat(line.empty() ? "" : " ", axes.x(p.num_gpus), ",", axes.y(value));
      dots += cat("<circle cx=\"", axes.x(p.num_gpus), "\" cy=\"", axes.y(value),
                  "\" r=\"3.5\" fill=\"", series.colour, "\"/>\n");
    }
    if (line.empty()) continue;
    body += cat("<polyline fill=\"none\" stroke=\"", series.colour,
                "\" stroke-width=\"2\" points=\"", line, "\"/>\n", dots);
    body += cat("<rect x=\"", legend, "\" y=\"", kHeight - 30,
                "\" width=\"12\" height=\"12\" fill=\"", series.colour, "\"/>\n");
    body += text_at(legend + 18, kHeight - 19, "start", series.name);
    legend += 220;
  }
  return cat(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" ",
      "width=\"", kWidth, "\" height=\"", kHeight,
      "\" font-family=\"sans-serif\" font-size=\"12\">\n",
      "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n", body, "</svg>\n");
}

}  // namespace hfr::tools
