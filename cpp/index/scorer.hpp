// A prepared query against one set of code rows: the only thing a walk knows about vectors.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernel_table.hpp"

namespace semblance {

struct Scorer {
  kernels::Query query{};
  kernels::Rows rows{};
  kernels::ScoreRows score = nullptr;
  // One more dimension of the rows, kept beside them, and its value in the query; null = none.
  const float* lift = nullptr;
  float query_lift = 0.0F;

  // Smaller is closer.
  void operator()(const std::uint32_t* ids, std::size_t count, float* out) const {
    score(query, rows, ids, count, out);
    if (lift == nullptr) return;
    for (std::size_t i = 0; i < count; ++i) out[i] -= query_lift * lift[ids[i]];
  }
  float operator()(std::uint32_t id) const {
    float out = 0.0F;
    (*this)(&id, 1, &out);
    return out;
  }
};

}  // namespace semblance
