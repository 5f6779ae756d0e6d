// Checks of vectors at the door, and their normalisation.
#pragma once

#include <cstddef>

#include "codec/codec.hpp"

namespace semblance {

// ArgumentError where a row holds NaN or infinity, has a squared norm beyond f32's range, or is zero under cosine.
// `what` names the argument.
void check_vectors(const float* rows, std::size_t n, std::size_t dim, Metric metric, const char* what);

// out = row / |row|.
void normalise(const float* row, std::size_t dim, float* out);

}  // namespace semblance
