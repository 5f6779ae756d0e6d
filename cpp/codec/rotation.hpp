// A random rotation that costs d log d: what makes one bit a dimension tell the direction of any vector.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/aligned.hpp"
#include "kernel_table.hpp"

namespace semblance {

class RandomRotation {
 public:
  RandomRotation(std::size_t dim, std::uint64_t seed);

  // Values of a rotated vector: dim rounded up, the rest of the input being zeros.
  std::size_t rotated_dim() const { return dim_; }
  // x has rotated_dim() values.
  void apply(float* x, AlignedVector<float>& room) const;

 private:
  std::size_t dim_, window_;
  AlignedVector<float> signs_;
};

}  // namespace semblance
