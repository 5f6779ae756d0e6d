// Half and 8-bit floats in portable C++, for building tables; the kernels have their own, faster words.
#pragma once

#include <bit>
#include <cstdint>

namespace semblance {

// Exponent and mantissa of a half moved into place are the value times 2^-112, subnormals included.
inline float half_to_float(std::uint16_t half) {
  const std::uint32_t sign = (half & 0x8000U) << 16, magnitude = (half & 0x7FFFU) << 13;
  if (magnitude >= 0x0F800000U) return std::bit_cast<float>(sign | magnitude | 0x7F800000U);
  const float value = std::bit_cast<float>(magnitude) * 0x1p112F;
  return sign ? -value : value;
}

// Rounds to nearest even; beyond 65520 infinity.
inline std::uint16_t float_to_half(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const auto sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000U);
  std::uint32_t magnitude = bits & 0x7FFFFFFFU;
  if (magnitude > 0x7F800000U) return sign | 0x7E00U;
  if (magnitude >= 0x47800000U) return sign | 0x7C00U;
  if (magnitude < 0x38800000U) {  // adding one half leaves a subnormal's digits at the low end
    const float shifted = std::bit_cast<float>(magnitude) + 0.5F;
    return static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(shifted) - 0x3F000000U));
  }
  magnitude += 0xFFFU + (magnitude >> 13 & 1U);
  return static_cast<std::uint16_t>(sign | ((magnitude - 0x38000000U) >> 13));
}

// The largest half that is not above x.
inline std::uint16_t float_to_half_down(float x) {
  const std::uint16_t half = float_to_half(x);
  if (!(half_to_float(half) > x)) return half;
  if (half == 0) return 0x8001U;
  return static_cast<std::uint16_t>(half & 0x8000U ? half + 1 : half - 1);
}

inline std::uint16_t float_to_half_up(float x) { return float_to_half_down(-x) ^ 0x8000U; }

inline std::uint16_t float_to_bfloat(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  return static_cast<std::uint16_t>((bits + 0x7FFFU + (bits >> 16 & 1U)) >> 16);
}

// OCP e4m3 (sign, 4 exponent bits of bias 7, 3 mantissa bits), to nearest even, saturating at 448.
inline std::uint8_t float_to_e4m3(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const auto sign = static_cast<std::uint8_t>(bits >> 24 & 0x80U);
  std::uint32_t magnitude = bits & 0x7FFFFFFFU;
  if (magnitude < 0x3C800000U) {  // below 2^-6: a multiple of 2^-9, which is one unit in the last place of 2^14
    const float shifted = std::bit_cast<float>(magnitude) + 0x1p14F;
    return static_cast<std::uint8_t>(sign | (std::bit_cast<std::uint32_t>(shifted) - 0x46800000U));
  }
  magnitude += 0x7FFFFU + (magnitude >> 20 & 1U);
  const std::uint32_t code = (magnitude >> 20) - (120U << 3);
  return static_cast<std::uint8_t>(sign | (code > 0x7EU ? 0x7EU : code));
}

}  // namespace semblance
