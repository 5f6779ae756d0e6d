// Words of NEON as every aarch64 processor has it. See simd_scalar.hpp for what each does.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#include "../kernel_table.hpp"
#include "line_words.hpp"
#include "tail.hpp"

namespace semblance::kernels {
namespace {

constexpr std::size_t kLanes = 4;
constexpr std::size_t kCodeLanes = 8;
constexpr std::size_t kBitBytes = 16;
constexpr std::size_t kRowBlock = 8;
constexpr std::size_t kTileQueries = 4;
constexpr std::size_t kTileRows = 4;

using F32 = float32x4_t;
using I32 = int32x4_t;
using Codes = int16x8_t;
using Bits = uint8x16_t;
using Count = uint32x4_t;

inline void prefetch(const void* p) { __builtin_prefetch(p); }

// f32. Byte loads: rows may sit at any address.

inline F32 zero() { return vdupq_n_f32(0.0F); }
inline F32 broadcast(float x) { return vdupq_n_f32(x); }
inline F32 load_f32(const void* p) { return vreinterpretq_f32_u8(vld1q_u8(static_cast<const std::uint8_t*>(p))); }
inline F32 load_f32_tail(const void* p, std::size_t n) {
  const auto* from = static_cast<const std::byte*>(p);
  const std::uint64_t low = load_bytes(from, n < 2 ? 4 * n : 8), high = n < 2 ? 0 : load_bytes(from + 8, 4 * n - 8);
  return vreinterpretq_f32_u64(vcombine_u64(vcreate_u64(low), vcreate_u64(high)));
}
inline void store_f32(void* p, F32 x) { vst1q_u8(static_cast<std::uint8_t*>(p), vreinterpretq_u8_f32(x)); }
inline void store_f32_tail(void* p, F32 x, std::size_t n) {
  auto* to = static_cast<std::byte*>(p);
  const uint64x2_t bits = vreinterpretq_u64_f32(x);
  store_bytes(to, vgetq_lane_u64(bits, 0), n < 2 ? 4 * n : 8);
  if (n > 2) store_bytes(to + 8, vgetq_lane_u64(bits, 1), 4);
}

inline F32 add(F32 a, F32 b) { return vaddq_f32(a, b); }
inline F32 sub(F32 a, F32 b) { return vsubq_f32(a, b); }
inline F32 mul(F32 a, F32 b) { return vmulq_f32(a, b); }
inline F32 div(F32 a, F32 b) { return vdivq_f32(a, b); }
inline F32 fma(F32 a, F32 b, F32 c) { return vfmaq_f32(c, a, b); }
inline F32 min(F32 a, F32 b) { return vminq_f32(a, b); }
inline F32 max(F32 a, F32 b) { return vmaxq_f32(a, b); }
inline F32 abs(F32 a) { return vabsq_f32(a); }
inline F32 round(F32 a) { return vrndnq_f32(a); }

// Order of a sum: (0 + 1) + (2 + 3).
inline float sum(F32 a) {
  const F32 pairs = vpaddq_f32(a, a);
  return vgetq_lane_f32(vpaddq_f32(pairs, pairs), 0);
}
inline void sum4(F32 a, F32 b, F32 c, F32 d, float* out) {
  store_f32(out, vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d)));
}
inline float max_lane(F32 a) { return vmaxvq_f32(a); }

// f16 and bf16

inline std::uint64_t lanes_of(uint16x4_t x) { return vget_lane_u64(vreinterpret_u64_u16(x), 0); }

inline F32 f16_lanes(std::uint64_t x) { return vcvt_f32_f16(vreinterpret_f16_u64(vcreate_u64(x))); }
inline F32 load_f16(const std::byte* p) { return f16_lanes(load_as<std::uint64_t>(p)); }
inline F32 load_f16_tail(const std::byte* p, std::size_t n) { return f16_lanes(load_bytes(p, 2 * n)); }
inline std::uint64_t to_f16(F32 x) { return lanes_of(vreinterpret_u16_f16(vcvt_f16_f32(x))); }
inline void store_f16(std::byte* p, F32 x) { store_bytes(p, to_f16(x), 8); }
inline void store_f16_tail(std::byte* p, F32 x, std::size_t n) { store_bytes(p, to_f16(x), 2 * n); }

inline F32 bf16_lanes(std::uint64_t x) {
  return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u64(vcreate_u64(x)), 16));
}
inline F32 load_bf16(const std::byte* p) { return bf16_lanes(load_as<std::uint64_t>(p)); }
inline F32 load_bf16_tail(const std::byte* p, std::size_t n) { return bf16_lanes(load_bytes(p, 2 * n)); }
inline std::uint64_t to_bf16(F32 x) {
  const uint32x4_t bits = vreinterpretq_u32_f32(x), top = vshrq_n_u32(bits, 16);
  const uint32x4_t odd = vandq_u32(top, vdupq_n_u32(1));
  const uint32x4_t rounded = vshrq_n_u32(vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7FFF))), 16);
  const uint32x4_t quiet = vorrq_u32(top, vdupq_n_u32(0x40));
  return lanes_of(vmovn_u32(vbslq_u32(vceqq_f32(x, x), rounded, quiet)));
}
inline void store_bf16(std::byte* p, F32 x) { store_bytes(p, to_bf16(x), 8); }
inline void store_bf16_tail(std::byte* p, F32 x, std::size_t n) { store_bytes(p, to_bf16(x), 2 * n); }

// u8 as floats

inline F32 u8_lanes(std::uint64_t x) { return vcvtq_f32_u32(vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(x))))); }
inline F32 load_u8(const std::byte* p) { return u8_lanes(load_as<std::uint32_t>(p)); }
inline F32 load_u8_tail(const std::byte* p, std::size_t n) { return u8_lanes(load_bytes(p, n)); }
inline std::uint64_t to_u8(F32 x) {
  const uint16x4_t words = vmovn_u32(vcvtq_u32_f32(x));
  return vget_lane_u64(vreinterpret_u64_u8(vmovn_u16(vcombine_u16(words, words))), 0);
}
inline void store_u8(std::byte* p, F32 x) { store_bytes(p, to_u8(x), kLanes); }
inline void store_u8_tail(std::byte* p, F32 x, std::size_t n) { store_bytes(p, to_u8(x), n); }

// u8 x i8 -> i32

inline Codes widen_u8(std::uint64_t x) { return vreinterpretq_s16_u16(vmovl_u8(vcreate_u8(x))); }
inline Codes widen_i8(std::uint64_t x) { return vmovl_s8(vcreate_s8(x)); }
inline Codes load_codes_u8(const std::byte* p) { return widen_u8(load_as<std::uint64_t>(p)); }
inline Codes load_codes_u8_tail(const std::byte* p, std::size_t n) { return widen_u8(load_bytes(p, n)); }
inline Codes load_codes_i8(const std::byte* p) { return widen_i8(load_as<std::uint64_t>(p)); }
inline Codes load_codes_i8_tail(const std::byte* p, std::size_t n) { return widen_i8(load_bytes(p, n)); }
inline Codes low_nibbles(Codes x) { return vandq_s16(x, vdupq_n_s16(15)); }
inline Codes high_nibbles(Codes x) { return vshrq_n_s16(x, 4); }
inline I32 zero_i32() { return vdupq_n_s32(0); }
inline I32 dot_i8(I32 acc, Codes row, Codes query) {
  return vmlal_high_s16(vmlal_s16(acc, vget_low_s16(row), vget_low_s16(query)), row, query);
}
inline std::int32_t sum(I32 a) { return vaddvq_s32(a); }
inline void sum4(I32 a, I32 b, I32 c, I32 d, std::int32_t* out) {
  vst1q_s32(out, vpaddq_s32(vpaddq_s32(a, b), vpaddq_s32(c, d)));
}

// Bits

inline Bits load_bits(const std::byte* p) { return vld1q_u8(reinterpret_cast<const std::uint8_t*>(p)); }
inline Bits load_bits_tail(const std::byte* p, std::size_t n) {
  const std::uint64_t low = load_bytes(p, n < 8 ? n : 8), high = n < 8 ? 0 : load_bytes(p + 8, n - 8);
  return vcombine_u8(vcreate_u8(low), vcreate_u8(high));
}
inline Bits bit_and(Bits a, Bits b) { return vandq_u8(a, b); }
inline Bits bit_or(Bits a, Bits b) { return vorrq_u8(a, b); }
inline Bits bit_xor(Bits a, Bits b) { return veorq_u8(a, b); }
inline Count zero_count() { return vdupq_n_u32(0); }
inline Count add_bits(Count acc, Bits x) { return vpadalq_u16(acc, vpaddlq_u8(vcntq_u8(x))); }
inline std::int32_t sum(Count a) { return static_cast<std::int32_t>(vaddvq_u32(a)); }
inline void sum4(Count a, Count b, Count c, Count d, std::int32_t* out) {
  vst1q_s32(out, vreinterpretq_s32_u32(vpaddq_u32(vpaddq_u32(a, b), vpaddq_u32(c, d))));
}

// Looked-up bytes as 16-bit sums, in the order of the neighbours.
struct LookedUp {
  uint16x8_t first = vdupq_n_u16(0), second = vdupq_n_u16(0);
  void add(uint8x16_t bytes) {
    first = vaddw_u8(first, vget_low_u8(bytes));
    second = vaddw_high_u8(second, bytes);
  }
  static void add_words(uint16x4_t words, std::int32_t* sums) {
    vst1q_s32(sums, vaddq_s32(vld1q_s32(sums), vreinterpretq_s32_u32(vmovl_u16(words))));
  }
  void add_to(std::int32_t* sums) const {
    add_words(vget_low_u16(first), sums);
    add_words(vget_high_u16(first), sums + 4);
    add_words(vget_low_u16(second), sums + 8);
    add_words(vget_high_u16(second), sums + 12);
  }
};

inline void add_looked_up(const std::uint8_t* tables, const std::byte* signs, std::size_t groups,
                          const std::byte* ahead, std::int32_t* sums) {
  LookedUp low, high;
  for (std::size_t i = 0; i < groups * 16; i += 16) {
    if (i % 64 == 0) prefetch(ahead + i);
    const uint8x16_t table = vld1q_u8(tables + i), codes = vld1q_u8(reinterpret_cast<const std::uint8_t*>(signs + i));
    low.add(vqtbl1q_u8(table, vandq_u8(codes, vdupq_n_u8(15))));
    high.add(vqtbl1q_u8(table, vshrq_n_u8(codes, 4)));
  }
  low.add_to(sums);
  high.add_to(sums + 16);
}

}  // namespace
}  // namespace semblance::kernels
