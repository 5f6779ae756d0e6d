// Indexes of every layout, small, as a fuzz input chooses them; and their rows.
#pragma once

#include <string>

#include "fuzz/input.hpp"
#include "index/input.hpp"
#include "index/rows.hpp"

namespace semblance::fuzz {

inline IndexParams any_params(Input& input) {
  IndexParams params;
  params.metric = static_cast<Metric>(input.between(0, 4));
  const bool binary = is_binary(params.metric);
  params.dim = binary ? 8 * input.between(1, 9) : input.between(1, 40);
  params.has_graph = input.between(0, 3) != 0;
  params.codes = binary ? "b1" : input.pick<const char*>({"f32", "i8", "f16", "bf16"});
  if (!binary && params.has_graph && input.between(0, 1) == 0) {
    params.link_codes = true;
  } else if (!binary && input.between(0, 1) == 0) {
    params.rerank = input.pick<const char*>({"f32", "f16"});
    if (params.rerank == params.codes) params.rerank.clear();
  } else if (!binary && input.between(0, 1) == 0) {
    params.codes = "i4";
    params.rerank = input.pick<const char*>({"i8", "f32", "f16"});
  }
  params.max_degree = input.between(4, 12);
  params.ef_construction = 8 + input.between(0, 24);
  params.seed = input.take<std::uint8_t>();
  return params;
}

inline std::vector<std::byte> any_rows(Input& input, const IndexParams& params, std::size_t n) {
  if (is_binary(params.metric)) {
    const auto bits = input.several<std::uint8_t>(n * params.dim / 8);
    const auto* begin = reinterpret_cast<const std::byte*>(bits.data());
    return {begin, begin + bits.size()};
  }
  std::vector<float> values = input.floats(n * params.dim);
  const auto* begin = reinterpret_cast<const std::byte*>(values.data());
  return {begin, begin + values.size() * sizeof(float)};
}

// What the binding asks of rows before they get any further.
inline void check(const std::vector<std::byte>& rows, const IndexParams& params) {
  if (is_binary(params.metric)) return;
  const bool half = params.metric != Metric::cosine && (params.codes == "f16" || params.rerank == "f16");
  const std::size_t n = rows.size() / sizeof(float) / params.dim;
  check_vectors({reinterpret_cast<const float*>(rows.data()), n, params.dim}, 0, n,
                {params.metric, half ? kMaxHalf : kNoLimit, "rows"});
}

}  // namespace semblance::fuzz
