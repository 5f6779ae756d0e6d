// Counter-based random numbers: the value depends on (seed, counter) alone, never on which thread asks or when.
#pragma once

#include <cstdint>

namespace semblance {

// splitmix64's finaliser (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014).
inline std::uint64_t mix64(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15ULL;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

// Uniform in (0, 1].
inline double uniform(std::uint64_t seed, std::uint64_t counter) {
  return (static_cast<double>(mix64(seed ^ mix64(counter)) >> 11) + 1.0) * 0x1p-53;
}

}  // namespace semblance
