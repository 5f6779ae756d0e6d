// Sorting that can be stopped.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "core/parallel.hpp"

namespace semblance {

// As std::sort, with `stop_if_asked` between parts; a stop loses the values. Needs room for as many values again where
// there are more than one part.
template <class T>
void sort_in_parts(std::vector<T>& values) {
  constexpr std::size_t kPart = 1 << 16;
  const std::size_t n = values.size();
  const auto at = [n](std::vector<T>& of, std::size_t i) {
    return of.begin() + static_cast<std::ptrdiff_t>(std::min(i, n));
  };
  for (std::size_t first = 0; first < n; first += kPart) {
    stop_if_asked();
    std::sort(at(values, first), at(values, first + kPart));
  }
  if (n <= kPart) return;
  std::vector<T> merged(n);
  for (std::size_t part = kPart; part < n; part *= 2) {
    for (std::size_t first = 0; first < n; first += 2 * part) {
      stop_if_asked();
      const auto middle = at(values, first + part);
      std::merge(at(values, first), middle, middle, at(values, first + 2 * part), at(merged, first));
    }
    values.swap(merged);
  }
}

}  // namespace semblance
