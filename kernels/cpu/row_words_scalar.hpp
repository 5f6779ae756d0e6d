// Words of table_rows.inc in plain C++: one lane. Fused multiply-adds are the C library's, exact on every processor.
#pragma once

#include "../kernel_table.hpp"

namespace semblance::kernels::rows {
namespace {

using RowVec = float;
constexpr std::size_t kRowLanes = 1;

inline RowVec row_zero() { return 0.0F; }
inline RowVec row_set(float x) { return x; }
inline RowVec row_add(RowVec a, RowVec b) { return a + b; }
inline RowVec row_mul(RowVec a, RowVec b) { return a * b; }
inline RowVec row_max(RowVec a, RowVec b) { return a > b ? a : b; }
inline RowVec row_fma(RowVec a, RowVec b, RowVec c) { return __builtin_fmaf(a, b, c); }
inline RowVec row_load(const float* p) { return *p; }
inline RowVec row_load_partial(const float* p, std::size_t) { return *p; }
inline void row_store(float* p, RowVec x) { *p = x; }
inline void row_store_partial(float* p, RowVec x, std::size_t) { *p = x; }
SEMBLANCE_INLINE void row_prefetch(const void* p) { __builtin_prefetch(p, 0, 2); }
SEMBLANCE_INLINE void row_prefetch_near(const void* p) { __builtin_prefetch(p, 0, 3); }

inline unsigned row_byte(const std::byte* p, std::size_t i) { return static_cast<unsigned>(p[i]); }
inline unsigned row_half(const std::byte* p, std::size_t i) { return row_byte(p, 2 * i) | row_byte(p, 2 * i + 1) << 8; }

// Exponent and mantissa of a half moved into place are the value times 2^-112, subnormals included.
inline float half_to_float(unsigned half) {
  const std::uint32_t magnitude = (half & 0x7FFFU) << 13;
  if (magnitude >= 0x0F800000U)  // infinity and NaN
    return __builtin_bit_cast(float, (half & 0x8000U) << 16 | magnitude | 0x7F800000U);
  const float value = __builtin_bit_cast(float, magnitude) * 0x1p112F;
  return half & 0x8000U ? -value : value;
}

struct ScaleBias {
  float scale, bias;
};
struct RowHead {
  RowVec scale, bias;
};
inline ScaleBias row_scale_bias(const std::byte* row) {
  return {half_to_float(row_half(row, 0)), half_to_float(row_half(row, 1))};
}
inline RowHead row_head(const std::byte* row, float weight) {
  const ScaleBias head = row_scale_bias(row);
  return {head.scale * weight, head.bias * weight};
}

constexpr float kFp8Unit = 1.0F;

inline float row_code(TableFormat f, const std::byte* codes, std::size_t j) {
  switch (f) {
    case TableFormat::f32: {
      float x;
      __builtin_memcpy(&x, codes + 4 * j, 4);
      return x;
    }
    case TableFormat::f16:
      return half_to_float(row_half(codes, j));
    case TableFormat::bf16:
      return __builtin_bit_cast(float, row_half(codes, j) << 16);
    case TableFormat::i8:
      return static_cast<float>(row_byte(codes, j));
    case TableFormat::i4:
      return static_cast<float>(row_byte(codes, j / 2) >> (j % 2 * 4) & 15U);
    case TableFormat::i2:
      return static_cast<float>(row_byte(codes, j / 4) >> (j % 4 * 2) & 3U);
    case TableFormat::fp8:
      break;
  }
  const unsigned x = row_byte(codes, j);
  const float value = __builtin_bit_cast(float, (x & 0x7FU) << 20) * 0x1p120F;
  return x & 0x80U ? -value : value;
}

template <TableFormat f>
struct RowCodes {
  static RowVec load(const std::byte* codes, std::size_t j) { return row_code(f, codes, j); }
  static RowVec load_partial(const std::byte* codes, std::size_t j, std::size_t) { return row_code(f, codes, j); }
};

}  // namespace
}  // namespace semblance::kernels::rows
