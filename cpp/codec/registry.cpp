#include <array>

#include "codec/codec.hpp"
#include "core/error.hpp"

namespace semblance {
namespace {

using kernels::RowFormat;

struct Entry {
  std::string_view name;
  bool binary;
  std::unique_ptr<Codec> (*make)(std::string name, std::size_t dim, Metric metric);
};

template <RowFormat kFormat>
std::unique_ptr<Codec> dense(std::string name, std::size_t dim, Metric metric) {
  return make_dense_codec(kFormat, std::move(name), dim, metric);
}

constexpr std::array kCodecs = {
    Entry{"f32", false, dense<RowFormat::f32>},
    Entry{"f16", false, dense<RowFormat::f16>},
    Entry{"bf16", false, dense<RowFormat::bf16>},
    Entry{"i8", false, make_i8_codec},
    Entry{"i4", false, make_i4_codec},
    Entry{"b1", true, make_bits_codec},
};

}  // namespace

Metric parse_metric(std::string_view name) {
  constexpr std::array<std::string_view, 5> kNames = {"cosine", "ip", "l2", "hamming", "jaccard"};
  for (std::size_t i = 0; i < kNames.size(); ++i)
    if (kNames[i] == name) return static_cast<Metric>(i);
  throw ArgumentError(
      expected("metric", "'cosine', 'ip', 'l2', 'hamming' or 'jaccard'", "'" + std::string(name) + "'"));
}

kernels::Score score_of(Metric metric) {
  switch (metric) {
    case Metric::l2:
      return kernels::Score::l2;
    case Metric::hamming:
      return kernels::Score::hamming;
    case Metric::jaccard:
      return kernels::Score::jaccard;
    default:
      return kernels::Score::ip;
  }
}

std::unique_ptr<Codec> make_codec(std::string_view name, std::size_t dim, Metric metric) {
  std::string fitting;
  for (const Entry& entry : kCodecs) {
    if (entry.binary != is_binary(metric)) continue;
    if (entry.name == name) return entry.make(std::string(name), dim, metric);
    fitting += (fitting.empty() ? "'" : ", '") + std::string(entry.name) + "'";
  }
  throw ArgumentError(expected("codes", "one that fits the metric: " + fitting, "'" + std::string(name) + "'"));
}

}  // namespace semblance
