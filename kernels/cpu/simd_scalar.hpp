// Words of the portable table: no intrinsics, four lanes that any baseline (SSE4.2, NEON) keeps in one register.
//
// Every vocabulary has the same words. Pointers need no alignment; a `_tail` word takes n below its lane count, touches
// nothing beyond n values and reads zeros above. Names: F32 holds kLanes floats; Codes holds kCodeLanes bytes as dot_i8
// wants them, I32 its sums; Bits holds kBitBytes bytes, Count their bit counts.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../kernel_table.hpp"
#include "line_words.hpp"
#include "tail.hpp"

namespace semblance::kernels {
namespace {

constexpr std::size_t kLanes = 4;
constexpr std::size_t kCodeLanes = 8;
constexpr std::size_t kBitBytes = 8;
constexpr std::size_t kRowBlock = 4;     // rows that one pass over the query scores
constexpr std::size_t kTileQueries = 2;  // queries x kTileRows accumulators live in registers
constexpr std::size_t kTileRows = 4;

using F32 [[gnu::vector_size(16)]] = float;
using U32x4 [[gnu::vector_size(16)]] = std::uint32_t;
using I32 [[gnu::vector_size(16)]] = std::int32_t;
using Codes [[gnu::vector_size(16)]] = std::int16_t;
using U16x4 [[gnu::vector_size(8)]] = std::uint16_t;
using I16x4 [[gnu::vector_size(8)]] = std::int16_t;
using U8x8 [[gnu::vector_size(8)]] = std::uint8_t;
using I8x8 [[gnu::vector_size(8)]] = std::int8_t;
using Bits = std::uint64_t;
using Count = std::uint64_t;

inline void prefetch(const void* p) { __builtin_prefetch(p); }

// f32

inline F32 zero() { return F32{}; }
inline F32 broadcast(float x) { return F32{x, x, x, x}; }
inline F32 load_f32(const void* p) {
  F32 x;
  __builtin_memcpy(&x, p, sizeof x);
  return x;
}
inline F32 load_f32_tail(const void* p, std::size_t n) {
  const auto* from = static_cast<const std::byte*>(p);
  F32 x{};
  for (std::size_t i = 0; i < n; ++i) x[i] = load_as<float>(from + 4 * i);
  return x;
}
inline void store_f32(void* p, F32 x) { __builtin_memcpy(p, &x, sizeof x); }
inline void store_f32_tail(void* p, F32 x, std::size_t n) { __builtin_memcpy(p, &x, n * sizeof(float)); }

inline F32 add(F32 a, F32 b) { return a + b; }
inline F32 sub(F32 a, F32 b) { return a - b; }
inline F32 mul(F32 a, F32 b) { return a * b; }
inline F32 div(F32 a, F32 b) { return a / b; }
inline F32 fma(F32 a, F32 b, F32 c) { return a * b + c; }  // two roundings: the baseline has no fused one
inline F32 min(F32 a, F32 b) { return a < b ? a : b; }
inline F32 max(F32 a, F32 b) { return a > b ? a : b; }
inline F32 abs(F32 a) { return reinterpret_cast<F32>(reinterpret_cast<U32x4>(a) & 0x7FFFFFFFU); }
// To the nearest even integer, for |a| < 2^22: adding 1.5 * 2^23 leaves no bits below one.
inline F32 round(F32 a) {
  const F32 magic = broadcast(12582912.0F);
  return (a + magic) - magic;
}

// The sums of a vocabulary take the same order for one row and for four, so that batches do not change results.
inline float sum(F32 a) { return (a[0] + a[1]) + (a[2] + a[3]); }
inline void sum4(F32 a, F32 b, F32 c, F32 d, float* out) {
  out[0] = sum(a);
  out[1] = sum(b);
  out[2] = sum(c);
  out[3] = sum(d);
}
inline float max_lane(F32 a) {
  const float low = a[0] > a[1] ? a[0] : a[1], high = a[2] > a[3] ? a[2] : a[3];
  return low > high ? low : high;
}

// f16 and bf16

inline float bits_to_float(std::uint32_t bits) {
  float x;
  __builtin_memcpy(&x, &bits, sizeof x);
  return x;
}
inline std::uint32_t float_to_bits(float x) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  return bits;
}
inline std::uint16_t float_to_f16(float x) {
  const std::uint32_t bits = float_to_bits(x), sign = (bits >> 16) & 0x8000U;
  std::uint32_t magnitude = bits & 0x7FFFFFFFU;
  if (magnitude > 0x7F800000U) return static_cast<std::uint16_t>(sign | 0x7E00U | ((magnitude >> 13) & 0x3FFU));
  if (magnitude >= 0x477FF000U) return static_cast<std::uint16_t>(sign | 0x7C00U);  // from 65520 on: infinity
  if (magnitude < 0x38800000U)  // below 2^-14: the sum with 0.5 rounds at 2^-24, the subnormals' unit
    return static_cast<std::uint16_t>(sign | (float_to_bits(bits_to_float(magnitude) + 0.5F) - 0x3F000000U));
  magnitude += 0xFFFU + ((magnitude >> 13) & 1U);
  return static_cast<std::uint16_t>(sign | ((magnitude - (112U << 23)) >> 13));
}
inline std::uint16_t float_to_bf16(float x) {
  const std::uint32_t bits = float_to_bits(x);
  if ((bits & 0x7FFFFFFFU) > 0x7F800000U) return static_cast<std::uint16_t>((bits >> 16) | 0x40U);
  return static_cast<std::uint16_t>((bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16);
}

inline U32x4 widen_u16(std::uint64_t x) { return __builtin_convertvector(reinterpret_cast<U16x4>(x), U32x4); }
inline F32 f16_lanes(std::uint64_t x) {
  const U32x4 half = widen_u16(x), sign = (half & 0x8000U) << 16, magnitude = half & 0x7FFFU;
  const I32 whole = reinterpret_cast<I32>(magnitude);
  // Subnormals are multiples of 2^-24; infinity and NaN keep a full exponent.
  const F32 subnormal = __builtin_convertvector(whole, F32) * 0x1p-24F;
  const I32 rebias = whole >= 0x7C00 ? I32{} + (224 << 23) : I32{} + (112 << 23);
  const I32 bits = whole < 0x0400 ? reinterpret_cast<I32>(subnormal) : (whole << 13) + rebias;
  return reinterpret_cast<F32>(reinterpret_cast<U32x4>(bits) | sign);
}
inline F32 load_f16(const std::byte* p) { return f16_lanes(load_as<std::uint64_t>(p)); }
inline F32 load_f16_tail(const std::byte* p, std::size_t n) { return f16_lanes(load_bytes(p, 2 * n)); }
inline void store_f16_tail(std::byte* p, F32 x, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint16_t half = float_to_f16(x[i]);
    __builtin_memcpy(p + 2 * i, &half, sizeof half);
  }
}
inline void store_f16(std::byte* p, F32 x) { store_f16_tail(p, x, kLanes); }

inline F32 bf16_lanes(std::uint64_t x) { return reinterpret_cast<F32>(widen_u16(x) << 16); }
inline F32 load_bf16(const std::byte* p) { return bf16_lanes(load_as<std::uint64_t>(p)); }
inline F32 load_bf16_tail(const std::byte* p, std::size_t n) { return bf16_lanes(load_bytes(p, 2 * n)); }
inline void store_bf16_tail(std::byte* p, F32 x, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint16_t half = float_to_bf16(x[i]);
    __builtin_memcpy(p + 2 * i, &half, sizeof half);
  }
}
inline void store_bf16(std::byte* p, F32 x) { store_bf16_tail(p, x, kLanes); }

// u8 as floats; `store_u8` takes whole numbers in [0, 255]

inline F32 u8_lanes(std::uint32_t x) {
  return __builtin_convertvector((U32x4{x, x >> 8, x >> 16, x >> 24} & 255U), F32);
}
inline F32 load_u8(const std::byte* p) { return u8_lanes(load_as<std::uint32_t>(p)); }
inline F32 load_u8_tail(const std::byte* p, std::size_t n) {
  return u8_lanes(static_cast<std::uint32_t>(load_bytes(p, n)));
}
inline void store_u8_tail(std::byte* p, F32 x, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) p[i] = static_cast<std::byte>(static_cast<std::int32_t>(x[i]));
}
inline void store_u8(std::byte* p, F32 x) { store_u8_tail(p, x, kLanes); }

// u8 x i8 -> i32. 255 * 127 fits the 16-bit product.

inline Codes widen_u8(std::uint64_t x) { return __builtin_convertvector(reinterpret_cast<U8x8>(x), Codes); }
inline Codes widen_i8(std::uint64_t x) { return __builtin_convertvector(reinterpret_cast<I8x8>(x), Codes); }
inline Codes load_codes_u8(const std::byte* p) { return widen_u8(load_as<std::uint64_t>(p)); }
inline Codes load_codes_u8_tail(const std::byte* p, std::size_t n) { return widen_u8(load_bytes(p, n)); }
inline Codes load_codes_i8(const std::byte* p) { return widen_i8(load_as<std::uint64_t>(p)); }
inline Codes load_codes_i8_tail(const std::byte* p, std::size_t n) { return widen_i8(load_bytes(p, n)); }
// The halves of codes below 256, as codes.
inline Codes low_nibbles(Codes x) { return x & 15; }
inline Codes high_nibbles(Codes x) { return x >> 4; }
inline I32 zero_i32() { return I32{}; }
inline I32 dot_i8(I32 acc, Codes row, Codes query) {
  const Codes product = row * query;
  I16x4 halves[2];
  __builtin_memcpy(halves, &product, sizeof halves);
  return acc + __builtin_convertvector(halves[0], I32) + __builtin_convertvector(halves[1], I32);
}
inline std::int32_t sum(I32 a) { return a[0] + a[1] + a[2] + a[3]; }
inline void sum4(I32 a, I32 b, I32 c, I32 d, std::int32_t* out) {
  out[0] = sum(a);
  out[1] = sum(b);
  out[2] = sum(c);
  out[3] = sum(d);
}

// Bits

inline Bits load_bits(const std::byte* p) { return load_as<std::uint64_t>(p); }
inline Bits load_bits_tail(const std::byte* p, std::size_t n) { return load_bytes(p, n); }
inline Bits bit_and(Bits a, Bits b) { return a & b; }
inline Bits bit_or(Bits a, Bits b) { return a | b; }
inline Bits bit_xor(Bits a, Bits b) { return a ^ b; }
inline Count zero_count() { return 0; }
inline Count add_bits(Count acc, Bits x) { return acc + static_cast<Count>(__builtin_popcountll(x)); }
inline std::int32_t sum(Count a) { return static_cast<std::int32_t>(a); }
inline void sum4(Count a, Count b, Count c, Count d, std::int32_t* out) {
  out[0] = sum(a);
  out[1] = sum(b);
  out[2] = sum(c);
  out[3] = sum(d);
}

// Adds to sums[32] the entries that the codes of up to kLinkFlush groups look up (link_kernels.hpp).

inline void add_looked_up(const std::uint8_t* tables, const std::byte* signs, std::size_t groups,
                          const std::byte* ahead, std::int32_t* sums) {
  for (std::size_t group = 0; group < groups; ++group, tables += 16, signs += 16, ahead += 16) {
    if (group % 4 == 0) prefetch(ahead);
    for (std::size_t i = 0; i < 16; ++i) {
      sums[i] += tables[static_cast<std::uint8_t>(signs[i]) & 15U];
      sums[i + 16] += tables[static_cast<std::uint8_t>(signs[i]) >> 4U];
    }
  }
}

}  // namespace
}  // namespace semblance::kernels
