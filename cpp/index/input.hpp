// Checks of vectors at the door, and their normalisation.
#pragma once

#include <cstddef>
#include <limits>

#include "codec/codec.hpp"
#include "core/matrix.hpp"
#include "core/parallel.hpp"

namespace semblance {

inline constexpr float kMaxHalf = 65504.0F;  // the largest finite f16
inline constexpr float kNoLimit = std::numeric_limits<float>::infinity();

struct VectorRules {
  Metric metric;
  float largest;     // magnitude
  const char* what;  // the argument's name
};

// ArgumentError where a row of [begin, end) holds NaN or infinity, has a squared norm beyond f32's range, is zero under
// cosine, or holds too large a magnitude.
void check_vectors(Matrix<const float> rows, std::size_t begin, std::size_t end, const VectorRules& rules);
// All rows, on up to `threads` threads (0: all cores); names the first that is refused. The monitor may end it and is
// told of no progress.
void check_vectors(Matrix<const float> rows, const VectorRules& rules, std::size_t threads, Monitor* monitor);

// out = row / |row|.
void normalise(const float* row, std::size_t dim, float* out);

}  // namespace semblance
