// Words of table_rows.inc for NEON: four lanes; a row's end goes through a small buffer.
#pragma once

#include <arm_neon.h>

#include "../kernel_table.hpp"

namespace semblance::kernels::rows {
namespace {

using RowVec = float32x4_t;
constexpr std::size_t kRowLanes = 4;

inline RowVec row_zero() { return vdupq_n_f32(0.0F); }
inline RowVec row_set(float x) { return vdupq_n_f32(x); }
inline RowVec row_add(RowVec a, RowVec b) { return vaddq_f32(a, b); }
inline RowVec row_mul(RowVec a, RowVec b) { return vmulq_f32(a, b); }
// The second operand where the comparison fails, as on x86.
inline RowVec row_max(RowVec a, RowVec b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
inline RowVec row_fma(RowVec a, RowVec b, RowVec c) { return vfmaq_f32(c, a, b); }
inline RowVec row_load(const float* p) { return vld1q_f32(p); }
inline void row_store(float* p, RowVec x) { vst1q_f32(p, x); }
inline RowVec row_load_partial(const float* p, std::size_t n) {
  float lanes[kRowLanes] = {};
  for (std::size_t i = 0; i < n; ++i) lanes[i] = p[i];
  return vld1q_f32(lanes);
}
inline void row_store_partial(float* p, RowVec x, std::size_t n) {
  float lanes[kRowLanes];
  vst1q_f32(lanes, x);
  for (std::size_t i = 0; i < n; ++i) p[i] = lanes[i];
}
SEMBLANCE_INLINE void row_prefetch(const void* p) { __builtin_prefetch(p, 0, 2); }
SEMBLANCE_INLINE void row_prefetch_near(const void* p) { __builtin_prefetch(p, 0, 3); }

template <class T>
inline T row_read(const std::byte* p) {
  T value;
  __builtin_memcpy(&value, p, sizeof value);
  return value;
}
inline float32x4_t halves_to_floats(uint16x4_t halves) { return vcvt_f32_f16(vreinterpret_f16_u16(halves)); }

struct ScaleBias {
  float scale, bias;
};
struct RowHead {
  RowVec scale, bias;
};
inline float32x4_t row_head_pair(const std::byte* row) {
  return halves_to_floats(vreinterpret_u16_u32(vdup_n_u32(row_read<std::uint32_t>(row))));
}
inline ScaleBias row_scale_bias(const std::byte* row) {
  const float32x4_t pair = row_head_pair(row);
  return {vgetq_lane_f32(pair, 0), vgetq_lane_f32(pair, 1)};
}
inline RowHead row_head(const std::byte* row, float weight) {
  const float32x4_t pair = vmulq_n_f32(row_head_pair(row), weight);
  return {vdupq_laneq_f32(pair, 0), vdupq_laneq_f32(pair, 1)};
}

// Codes as they are read: an fp8 code moved into a half's bits is its value times 2^-8 (bias 15 for bias 7).
constexpr float kFp8Unit = 256.0F;

struct RowEnd {
  alignas(16) std::byte bytes[16] = {};
  RowEnd(const std::byte* p, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) bytes[i] = p[i];
  }
};

template <TableFormat f>
struct RowCodes {
  static RowVec load(const std::byte* codes, std::size_t j) { return read(codes + row_code_bytes(f, j)); }
  static RowVec load_partial(const std::byte* codes, std::size_t j, std::size_t n) {
    return read(RowEnd(codes + row_code_bytes(f, j), row_code_bytes(f, n)).bytes);
  }

 private:
  static RowVec read(const std::byte* p) {
    if constexpr (f == TableFormat::f32) {
      return vreinterpretq_f32_u32(vreinterpretq_u32_u8(vld1q_u8(reinterpret_cast<const std::uint8_t*>(p))));
    } else if constexpr (f == TableFormat::f16) {
      return halves_to_floats(vcreate_u16(row_read<std::uint64_t>(p)));
    } else if constexpr (f == TableFormat::bf16) {
      return vreinterpretq_f32_u32(vshll_n_u16(vcreate_u16(row_read<std::uint64_t>(p)), 16));
    } else if constexpr (f == TableFormat::i8) {
      const uint8x8_t bytes = vcreate_u8(row_read<std::uint32_t>(p));
      return vcvtq_f32_u32(vmovl_u16(vget_low_u16(vmovl_u8(bytes))));
    } else if constexpr (f == TableFormat::i4) {
      return packed(row_read<std::uint16_t>(p), 4, 15);
    } else if constexpr (f == TableFormat::i2) {
      return packed(static_cast<std::uint32_t>(*p), 2, 3);
    } else {
      const int8x8_t bytes = vreinterpret_s8_u8(vcreate_u8(row_read<std::uint32_t>(p)));
      const uint16x4_t wide = vreinterpret_u16_s16(vget_low_s16(vmovl_s8(bytes)));
      return halves_to_floats(vand_u16(vshl_n_u16(wide, 7), vdup_n_u16(0xBF80)));  // the sign is in the top two bits
    }
  }

  static RowVec packed(std::uint32_t codes, std::int32_t bits, std::uint32_t mask) {
    const std::int32_t steps[4] = {0, -bits, -2 * bits, -3 * bits};
    return vcvtq_f32_u32(vandq_u32(vshlq_u32(vdupq_n_u32(codes), vld1q_s32(steps)), vdupq_n_u32(mask)));
  }
};

}  // namespace
}  // namespace semblance::kernels::rows
