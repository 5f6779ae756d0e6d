// Normally distributed values, the same in every run.
#pragma once

#include <algorithm>
#include <random>

#include "core/aligned.hpp"

namespace semblance::test {

inline std::mt19937& random_engine() {
  static std::mt19937 engine(11);
  return engine;
}

inline float normal() { return std::normal_distribution<float>()(random_engine()); }

inline AlignedVector<float> normals(std::size_t n) {
  AlignedVector<float> x(n);
  std::generate(x.begin(), x.end(), normal);
  return x;
}

}  // namespace semblance::test
