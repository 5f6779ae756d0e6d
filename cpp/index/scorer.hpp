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

  // Smaller is closer.
  void operator()(const std::uint32_t* ids, std::size_t count, float* out) const {
    score(query, rows, ids, count, out);
  }
  void prefetch(std::uint32_t id) const {
    const std::byte* row = rows.data + std::size_t{id} * rows.stride;
    for (std::size_t b = 0; b < rows.stride; b += 64) __builtin_prefetch(row + b);
  }
  float operator()(std::uint32_t id) const {
    float out = 0.0F;
    (*this)(&id, 1, &out);
    return out;
  }
};

}  // namespace semblance
