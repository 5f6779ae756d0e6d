// The last bytes of a row, for the instruction sets without masked byte loads.
#pragma once

#include <cstddef>
#include <cstdint>

namespace semblance::kernels {
namespace {

template <class T>
inline T load_as(const std::byte* p) {
  T value;
  __builtin_memcpy(&value, p, sizeof value);
  return value;
}

// The n <= 8 bytes at p in the low end (all targets are little-endian), zero above; reads nothing beyond p + n. Two
// overlapping loads, so that the repeated bytes meet themselves in the or.
inline std::uint64_t load_bytes(const std::byte* p, std::size_t n) {
  if (n == 8) return load_as<std::uint64_t>(p);
  if (n >= 4) return load_as<std::uint32_t>(p) | std::uint64_t{load_as<std::uint32_t>(p + n - 4)} << (8 * (n - 4));
  if (n >= 2) return load_as<std::uint16_t>(p) | std::uint64_t{load_as<std::uint16_t>(p + n - 2)} << (8 * (n - 2));
  return n == 1 ? std::uint64_t{load_as<std::uint8_t>(p)} : 0;
}

// Writes the n <= 8 low bytes of `value`.
inline void store_bytes(std::byte* p, std::uint64_t value, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) p[i] = static_cast<std::byte>(value >> (8 * i));
}

}  // namespace
}  // namespace semblance::kernels
