// Checks of vectors at the door, and their normalisation.
#pragma once

#include <cstddef>
#include <limits>

#include "codec/codec.hpp"
#include "core/matrix.hpp"

namespace semblance {

inline constexpr float kMaxHalf = 65504.0F;  // the largest finite f16
inline constexpr float kNoLimit = std::numeric_limits<float>::infinity();

// ArgumentError where a row holds NaN or infinity, has a squared norm beyond f32's range, is zero under cosine,
// or holds a magnitude above `largest`. `what` names the argument.
void check_vectors(Matrix<const float> rows, Metric metric, float largest, const char* what);

// out = row / |row|.
void normalise(const float* row, std::size_t dim, float* out);

}  // namespace semblance
