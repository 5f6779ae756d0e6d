// The sizes that the engine promises to handle; everything above is refused at the binding.
#pragma once

#include <cstddef>
#include <cstdint>

namespace semblance {

inline constexpr std::size_t kMaxDim = 65536;
inline constexpr std::size_t kMaxRows = std::size_t{1} << 30;  // slots fit 31 bits: the walk keeps a flag in the 32nd
inline constexpr std::size_t kMaxK = std::size_t{1} << 20;
inline constexpr std::size_t kMaxDegree = 256;
inline constexpr std::size_t kMaxLevel = 31;
inline constexpr std::uint32_t kNoSlot = 0xFFFFFFFFU;

}  // namespace semblance
