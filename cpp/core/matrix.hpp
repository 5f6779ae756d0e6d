// A borrowed, C-contiguous (rows, cols) block.
#pragma once

#include <cstddef>

namespace semblance {

template <class T>
struct Matrix {
  T* data = nullptr;
  std::size_t rows = 0;
  std::size_t cols = 0;
  T* row(std::size_t i) const { return data + i * cols; }
};

}  // namespace semblance
