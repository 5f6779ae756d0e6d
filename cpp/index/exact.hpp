// Brute force over f32 rows (or packed bits): ground truth.
#pragma once

#include <cstddef>
#include <cstdint>

#include "codec/codec.hpp"
#include "core/parallel.hpp"

namespace semblance {

struct ExactProblem {
  Metric metric;
  std::size_t dim;
  const std::byte* rows;
  const std::byte* queries;
  std::size_t n_rows, n_queries, k, threads;
  std::int64_t* ids;  // (n_queries, k), padded with -1
  float* distances;   // (n_queries, k), padded with infinity
};

void search_exactly(const ExactProblem& problem, Monitor* monitor);

}  // namespace semblance
