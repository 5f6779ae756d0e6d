// Words of AVX2, FMA and F16C. See simd_scalar.hpp for what each does.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "../kernel_table.hpp"
#include "line_words.hpp"
#include "tail.hpp"

namespace semblance::kernels {
namespace {

constexpr std::size_t kLanes = 8;
constexpr std::size_t kCodeLanes = 16;
constexpr std::size_t kBitBytes = 32;
constexpr std::size_t kRowBlock = 8;
constexpr std::size_t kTileQueries = 3;
constexpr std::size_t kTileRows = 4;

using F32 = __m256;
using I32 = __m256i;
using Codes = __m256i;
using Bits = __m256i;
using Count = __m256i;

inline void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }

inline __m128i load16(const std::byte* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
// The n < 16 bytes at p, zeros above.
inline __m128i load16_tail(const std::byte* p, std::size_t n) {
  if (n < 8) return _mm_cvtsi64_si128(static_cast<long long>(load_bytes(p, n)));
  return _mm_set_epi64x(static_cast<long long>(load_bytes(p + 8, n - 8)), load_as<long long>(p));
}
// Writes the n < 16 low bytes.
inline void store16_tail(std::byte* p, __m128i x, std::size_t n) {
  const auto low = static_cast<std::uint64_t>(_mm_cvtsi128_si64(x));
  if (n < 8) return store_bytes(p, low, n);
  store_bytes(p, low, 8);
  store_bytes(p + 8, static_cast<std::uint64_t>(_mm_extract_epi64(x, 1)), n - 8);
}

// f32

inline __m256i first8(std::size_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
inline F32 zero() { return _mm256_setzero_ps(); }
inline F32 broadcast(float x) { return _mm256_set1_ps(x); }
inline F32 load_f32(const void* p) { return _mm256_loadu_ps(static_cast<const float*>(p)); }
inline F32 load_f32_tail(const void* p, std::size_t n) {
  return _mm256_maskload_ps(static_cast<const float*>(p), first8(n));
}
inline void store_f32(void* p, F32 x) { _mm256_storeu_ps(static_cast<float*>(p), x); }
inline void store_f32_tail(void* p, F32 x, std::size_t n) { _mm256_maskstore_ps(static_cast<float*>(p), first8(n), x); }

inline F32 add(F32 a, F32 b) { return _mm256_add_ps(a, b); }
inline F32 sub(F32 a, F32 b) { return _mm256_sub_ps(a, b); }
inline F32 mul(F32 a, F32 b) { return _mm256_mul_ps(a, b); }
inline F32 div(F32 a, F32 b) { return _mm256_div_ps(a, b); }
inline F32 fma(F32 a, F32 b, F32 c) { return _mm256_fmadd_ps(a, b, c); }
inline F32 min(F32 a, F32 b) { return _mm256_min_ps(a, b); }
inline F32 max(F32 a, F32 b) { return _mm256_max_ps(a, b); }
inline F32 abs(F32 a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0F), a); }
inline F32 round(F32 a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

// Order of a sum: lane i + lane i + 4, then (0 + 1) + (2 + 3).
inline __m128 fold(F32 a) { return _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1)); }
inline float sum(F32 a) {
  const __m128 pairs = _mm_hadd_ps(fold(a), fold(a));
  return _mm_cvtss_f32(_mm_hadd_ps(pairs, pairs));
}
inline void sum4(F32 a, F32 b, F32 c, F32 d, float* out) {
  _mm_storeu_ps(out, _mm_hadd_ps(_mm_hadd_ps(fold(a), fold(b)), _mm_hadd_ps(fold(c), fold(d))));
}
inline float max_lane(F32 a) {
  const __m128 half = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  const __m128 pair = _mm_max_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_max_ss(pair, _mm_movehdup_ps(pair)));
}

// f16 and bf16

inline F32 load_f16(const std::byte* p) { return _mm256_cvtph_ps(load16(p)); }
inline F32 load_f16_tail(const std::byte* p, std::size_t n) { return _mm256_cvtph_ps(load16_tail(p, 2 * n)); }
inline __m128i to_f16(F32 x) { return _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline void store_f16(std::byte* p, F32 x) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), to_f16(x)); }
inline void store_f16_tail(std::byte* p, F32 x, std::size_t n) { store16_tail(p, to_f16(x), 2 * n); }

inline F32 from_bf16(__m128i x) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16)); }
inline F32 load_bf16(const std::byte* p) { return from_bf16(load16(p)); }
inline F32 load_bf16_tail(const std::byte* p, std::size_t n) { return from_bf16(load16_tail(p, 2 * n)); }
// The 32-bit lanes of x, which hold 16-bit values, side by side.
inline __m128i narrow_u16(__m256i x) {
  return _mm_packus_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
}
inline __m128i to_bf16(F32 x) {
  const __m256i bits = _mm256_castps_si256(x), top = _mm256_srli_epi32(bits, 16);
  const __m256i odd = _mm256_and_si256(top, _mm256_set1_epi32(1));
  const __m256i rounded =
      _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF))), 16);
  const __m256i quiet = _mm256_or_si256(top, _mm256_set1_epi32(0x40));
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  return narrow_u16(_mm256_blendv_epi8(rounded, quiet, nan));
}
inline void store_bf16(std::byte* p, F32 x) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), to_bf16(x)); }
inline void store_bf16_tail(std::byte* p, F32 x, std::size_t n) { store16_tail(p, to_bf16(x), 2 * n); }

// u8 as floats

inline F32 u8_lanes(std::uint64_t x) {
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<long long>(x))));
}
inline F32 load_u8(const std::byte* p) { return u8_lanes(load_as<std::uint64_t>(p)); }
inline F32 load_u8_tail(const std::byte* p, std::size_t n) { return u8_lanes(load_bytes(p, n)); }
inline std::uint64_t to_u8(F32 x) {
  const __m128i words = narrow_u16(_mm256_cvttps_epi32(x));
  return static_cast<std::uint64_t>(_mm_cvtsi128_si64(_mm_packus_epi16(words, words)));
}
inline void store_u8(std::byte* p, F32 x) { store_bytes(p, to_u8(x), kLanes); }
inline void store_u8_tail(std::byte* p, F32 x, std::size_t n) { store_bytes(p, to_u8(x), n); }

// u8 x i8 -> i32, widened to 16 bits: the 8-bit multiply-add saturates at 255 * 127 * 2.

inline Codes load_codes_u8(const std::byte* p) { return _mm256_cvtepu8_epi16(load16(p)); }
inline Codes load_codes_u8_tail(const std::byte* p, std::size_t n) { return _mm256_cvtepu8_epi16(load16_tail(p, n)); }
inline Codes load_codes_i8(const std::byte* p) { return _mm256_cvtepi8_epi16(load16(p)); }
inline Codes load_codes_i8_tail(const std::byte* p, std::size_t n) { return _mm256_cvtepi8_epi16(load16_tail(p, n)); }
inline Codes low_nibbles(Codes x) { return _mm256_and_si256(x, _mm256_set1_epi16(15)); }
inline Codes high_nibbles(Codes x) { return _mm256_srli_epi16(x, 4); }
inline I32 zero_i32() { return _mm256_setzero_si256(); }
inline I32 dot_i8(I32 acc, Codes row, Codes query) { return _mm256_add_epi32(acc, _mm256_madd_epi16(row, query)); }
inline __m128i fold(I32 a) { return _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1)); }
inline std::int32_t sum(I32 a) {
  const __m128i pairs = _mm_hadd_epi32(fold(a), fold(a));
  return _mm_cvtsi128_si32(_mm_hadd_epi32(pairs, pairs));
}
inline void sum4(I32 a, I32 b, I32 c, I32 d, std::int32_t* out) {
  const __m128i ab = _mm_hadd_epi32(fold(a), fold(b)), cd = _mm_hadd_epi32(fold(c), fold(d));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_hadd_epi32(ab, cd));
}

// Bits. Counts sit in 64-bit lanes whose upper halves stay zero, so that the sums of I32 serve them.

inline Bits load_bits(const std::byte* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
inline Bits load_bits_tail(const std::byte* p, std::size_t n) {
  if (n < 16) return _mm256_zextsi128_si256(load16_tail(p, n));
  return _mm256_set_m128i(load16_tail(p + 16, n - 16), load16(p));
}
inline Bits bit_and(Bits a, Bits b) { return _mm256_and_si256(a, b); }
inline Bits bit_or(Bits a, Bits b) { return _mm256_or_si256(a, b); }
inline Bits bit_xor(Bits a, Bits b) { return _mm256_xor_si256(a, b); }
inline Count zero_count() { return _mm256_setzero_si256(); }
inline Count add_bits(Count acc, Bits x) {
  const __m256i ones =  // in a nibble
      _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
  const __m256i nibble = _mm256_set1_epi8(15);
  const __m256i low = _mm256_shuffle_epi8(ones, _mm256_and_si256(x, nibble));
  const __m256i high = _mm256_shuffle_epi8(ones, _mm256_and_si256(_mm256_srli_epi16(x, 4), nibble));
  return _mm256_add_epi64(acc, _mm256_sad_epu8(_mm256_add_epi8(low, high), _mm256_setzero_si256()));
}

// Looked-up bytes, added up as 16-bit pairs: `both` counts the low byte and 256 times the high one, `high` the high
// one.
struct LookedUp {
  __m256i both = _mm256_setzero_si256(), high = _mm256_setzero_si256();
  void add(__m256i bytes) {
    both = _mm256_add_epi16(both, bytes);
    high = _mm256_add_epi16(high, _mm256_srli_epi16(bytes, 8));
  }
  static __m128i over_groups(__m256i x) {
    return _mm_add_epi16(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
  }
  static void add_words(__m128i words, std::int32_t* sums) {
    auto* to = reinterpret_cast<__m256i*>(sums);
    _mm256_storeu_si256(to, _mm256_add_epi32(_mm256_loadu_si256(to), _mm256_cvtepu16_epi32(words)));
  }
  void add_to(std::int32_t* sums) const {
    const __m128i even = over_groups(_mm256_sub_epi16(both, _mm256_slli_epi16(high, 8))), odd = over_groups(high);
    add_words(_mm_unpacklo_epi16(even, odd), sums);
    add_words(_mm_unpackhi_epi16(even, odd), sums + 8);
  }
};

// Code dimensions come in groups of four, so groups do too: there is no tail.
inline void add_looked_up(const std::uint8_t* tables, const std::byte* signs, std::size_t groups,
                          const std::byte* ahead, std::int32_t* sums) {
  const __m256i nibble = _mm256_set1_epi8(15);
  LookedUp low, high;
  for (std::size_t i = 0; i < groups * 16; i += 32) {
    if (i % 64 == 0) prefetch(ahead + i);
    const __m256i table = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(tables + i));
    const __m256i codes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(signs + i));
    low.add(_mm256_shuffle_epi8(table, _mm256_and_si256(codes, nibble)));
    high.add(_mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(codes, 4), nibble)));
  }
  low.add_to(sums);
  high.add_to(sums + 16);
}

}  // namespace
}  // namespace semblance::kernels
