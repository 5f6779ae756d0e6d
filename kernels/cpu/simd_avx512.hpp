// Words of AVX-512 F, BW, DQ and VL; with VNNI where the file is compiled for it. See simd_scalar.hpp for what each
// does.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "../kernel_table.hpp"

namespace semblance::kernels {
namespace {

constexpr std::size_t kLanes = 16;
#ifdef __AVX512VNNI__
constexpr std::size_t kCodeLanes = 64;
#else
constexpr std::size_t kCodeLanes = 32;
#endif
constexpr std::size_t kBitBytes = 64;
constexpr std::size_t kRowBlock = 8;
constexpr std::size_t kTileQueries = 4;
constexpr std::size_t kTileRows = 4;

using F32 = __m512;
using I32 = __m512i;
using Codes = __m512i;
using Bits = __m512i;
using Count = __m512i;

inline void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }

inline __mmask16 first16(std::size_t n) { return static_cast<__mmask16>((1U << n) - 1U); }
inline __mmask32 first32(std::size_t n) { return static_cast<__mmask32>((std::uint64_t{1} << n) - 1U); }
inline __mmask64 first64(std::size_t n) { return (std::uint64_t{1} << n) - 1U; }  // n < 64

// f32

inline F32 zero() { return _mm512_setzero_ps(); }
inline F32 broadcast(float x) { return _mm512_set1_ps(x); }
inline F32 load_f32(const void* p) { return _mm512_loadu_ps(p); }
inline F32 load_f32_tail(const void* p, std::size_t n) { return _mm512_maskz_loadu_ps(first16(n), p); }
inline void store_f32(void* p, F32 x) { _mm512_storeu_ps(p, x); }
inline void store_f32_tail(void* p, F32 x, std::size_t n) { _mm512_mask_storeu_ps(p, first16(n), x); }

inline F32 add(F32 a, F32 b) { return _mm512_add_ps(a, b); }
inline F32 sub(F32 a, F32 b) { return _mm512_sub_ps(a, b); }
inline F32 mul(F32 a, F32 b) { return _mm512_mul_ps(a, b); }
inline F32 div(F32 a, F32 b) { return _mm512_div_ps(a, b); }
inline F32 fma(F32 a, F32 b, F32 c) { return _mm512_fmadd_ps(a, b, c); }
inline F32 min(F32 a, F32 b) { return _mm512_min_ps(a, b); }
inline F32 max(F32 a, F32 b) { return _mm512_max_ps(a, b); }
inline F32 abs(F32 a) { return _mm512_abs_ps(a); }
inline F32 round(F32 a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

// Order of a sum: lane i + lane i + 8, then i + 4, then (0 + 1) + (2 + 3).
inline float sum(F32 a) {
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
  const __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  const __m128 pairs = _mm_hadd_ps(quarter, quarter);
  return _mm_cvtss_f32(_mm_hadd_ps(pairs, pairs));
}
inline void sum4(F32 a, F32 b, F32 c, F32 d, float* out) {
  const F32 ab = add(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xEE));  // halves: a, b
  const F32 cd = add(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xEE));
  const F32 abcd = add(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xDD));  // quarters: a, b, c, d
  const F32 pairs = add(abcd, _mm512_shuffle_ps(abcd, abcd, 0xB1));
  const F32 total = add(pairs, _mm512_shuffle_ps(pairs, pairs, 0x4E));
  _mm_storeu_ps(out, _mm512_castps512_ps128(_mm512_maskz_compress_ps(0x1111, total)));
}
inline float max_lane(F32 a) { return _mm512_reduce_max_ps(a); }

// f16 and bf16

inline F32 load_f16(const std::byte* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline F32 load_f16_tail(const std::byte* p, std::size_t n) {
  return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first16(n), p));
}
inline __m256i to_f16(F32 x) { return _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline void store_f16(std::byte* p, F32 x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), to_f16(x)); }
inline void store_f16_tail(std::byte* p, F32 x, std::size_t n) { _mm256_mask_storeu_epi16(p, first16(n), to_f16(x)); }

inline F32 from_bf16(__m256i x) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16)); }
inline F32 load_bf16(const std::byte* p) { return from_bf16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
inline F32 load_bf16_tail(const std::byte* p, std::size_t n) {
  return from_bf16(_mm256_maskz_loadu_epi16(first16(n), p));
}
// By hand: the bf16 instructions flush subnormals.
inline __m256i to_bf16(F32 x) {
  const __m512i bits = _mm512_castps_si512(x), top = _mm512_srli_epi32(bits, 16);
  const __m512i odd = _mm512_and_si512(top, _mm512_set1_epi32(1));
  const __m512i rounded =
      _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF))), 16);
  const __m512i quiet = _mm512_or_si512(top, _mm512_set1_epi32(0x40));
  return _mm512_cvtepi32_epi16(_mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), quiet));
}
inline void store_bf16(std::byte* p, F32 x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), to_bf16(x)); }
inline void store_bf16_tail(std::byte* p, F32 x, std::size_t n) { _mm256_mask_storeu_epi16(p, first16(n), to_bf16(x)); }

// u8 as floats

inline F32 load_u8(const std::byte* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
inline F32 load_u8_tail(const std::byte* p, std::size_t n) {
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(first16(n), p)));
}
inline __m128i to_u8(F32 x) { return _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(x)); }
inline void store_u8(std::byte* p, F32 x) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), to_u8(x)); }
inline void store_u8_tail(std::byte* p, F32 x, std::size_t n) { _mm_mask_storeu_epi8(p, first16(n), to_u8(x)); }

// u8 x i8 -> i32

inline I32 zero_i32() { return _mm512_setzero_si512(); }
#ifdef __AVX512VNNI__
inline Codes load_codes_u8(const std::byte* p) { return _mm512_loadu_si512(p); }
inline Codes load_codes_u8_tail(const std::byte* p, std::size_t n) { return _mm512_maskz_loadu_epi8(first64(n), p); }
inline Codes load_codes_i8(const std::byte* p) { return load_codes_u8(p); }
inline Codes load_codes_i8_tail(const std::byte* p, std::size_t n) { return load_codes_u8_tail(p, n); }
inline Codes low_nibbles(Codes x) { return _mm512_and_si512(x, _mm512_set1_epi8(15)); }
inline Codes high_nibbles(Codes x) { return low_nibbles(_mm512_srli_epi16(x, 4)); }
inline I32 dot_i8(I32 acc, Codes row, Codes query) { return _mm512_dpbusd_epi32(acc, row, query); }
#else
// Widened to 16 bits: the 8-bit multiply-add saturates at 255 * 127 * 2.
inline __m256i load_code_bytes(const std::byte* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
inline __m256i load_code_bytes_tail(const std::byte* p, std::size_t n) {
  return _mm256_maskz_loadu_epi8(first32(n), p);
}
inline Codes load_codes_u8(const std::byte* p) { return _mm512_cvtepu8_epi16(load_code_bytes(p)); }
inline Codes load_codes_u8_tail(const std::byte* p, std::size_t n) {
  return _mm512_cvtepu8_epi16(load_code_bytes_tail(p, n));
}
inline Codes load_codes_i8(const std::byte* p) { return _mm512_cvtepi8_epi16(load_code_bytes(p)); }
inline Codes load_codes_i8_tail(const std::byte* p, std::size_t n) {
  return _mm512_cvtepi8_epi16(load_code_bytes_tail(p, n));
}
inline Codes low_nibbles(Codes x) { return _mm512_and_si512(x, _mm512_set1_epi16(15)); }
inline Codes high_nibbles(Codes x) { return _mm512_srli_epi16(x, 4); }
inline I32 dot_i8(I32 acc, Codes row, Codes query) { return _mm512_add_epi32(acc, _mm512_madd_epi16(row, query)); }
#endif
inline std::int32_t sum(I32 a) { return _mm512_reduce_add_epi32(a); }
inline void sum4(I32 a, I32 b, I32 c, I32 d, std::int32_t* out) {
  const I32 ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));  // a b a b in each quarter
  const I32 cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
  const I32 abcd = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
  const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(abcd), _mm512_extracti64x4_epi64(abcd, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out),
                   _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1)));
}

// Bits. Counts sit in 64-bit lanes whose upper halves stay zero, so that the sums of I32 serve them.

inline Bits load_bits(const std::byte* p) { return _mm512_loadu_si512(p); }
inline Bits load_bits_tail(const std::byte* p, std::size_t n) { return _mm512_maskz_loadu_epi8(first64(n), p); }
inline Bits bit_and(Bits a, Bits b) { return _mm512_and_si512(a, b); }
inline Bits bit_or(Bits a, Bits b) { return _mm512_or_si512(a, b); }
inline Bits bit_xor(Bits a, Bits b) { return _mm512_xor_si512(a, b); }
inline Count zero_count() { return _mm512_setzero_si512(); }
inline Count add_bits(Count acc, Bits x) {
  const __m512i ones =
      _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));  // of a nibble
  const __m512i nibble = _mm512_set1_epi8(15);
  const __m512i low = _mm512_shuffle_epi8(ones, _mm512_and_si512(x, nibble));
  const __m512i high = _mm512_shuffle_epi8(ones, _mm512_and_si512(_mm512_srli_epi16(x, 4), nibble));
  return _mm512_add_epi64(acc, _mm512_sad_epu8(_mm512_add_epi8(low, high), _mm512_setzero_si512()));
}

// Looked-up bytes, added up as 16-bit pairs: `both` counts the low byte and 256 times the high one, `high` the high
// one.
struct LookedUp {
  __m512i both = _mm512_setzero_si512(), high = _mm512_setzero_si512();
  void add(__m512i bytes) {
    both = _mm512_add_epi16(both, bytes);
    high = _mm512_add_epi16(high, _mm512_srli_epi16(bytes, 8));
  }
  static __m128i over_groups(__m512i x) {
    const __m256i half = _mm256_add_epi16(_mm512_castsi512_si256(x), _mm512_extracti64x4_epi64(x, 1));
    return _mm_add_epi16(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
  }
  void add_to(std::int32_t* sums) const {
    const __m128i even = over_groups(_mm512_sub_epi16(both, _mm512_slli_epi16(high, 8))), odd = over_groups(high);
    const __m256i all = _mm256_set_m128i(_mm_unpackhi_epi16(even, odd), _mm_unpacklo_epi16(even, odd));
    _mm512_storeu_si512(sums, _mm512_add_epi32(_mm512_loadu_si512(sums), _mm512_cvtepu16_epi32(all)));
  }
};

inline void add_looked_up(const std::uint8_t* tables, const std::byte* signs, std::size_t groups,
                          const std::byte* ahead, std::int32_t* sums) {
  const __m512i nibble = _mm512_set1_epi8(15);
  LookedUp low, high;
  const std::size_t bytes = groups * 16;
  for (std::size_t i = 0; i < bytes; i += 64) {
    prefetch(ahead + i);
    const __mmask64 here = bytes - i < 64 ? first64(bytes - i) : ~__mmask64{0};
    const __m512i table = _mm512_maskz_loadu_epi8(here, tables + i), codes = _mm512_maskz_loadu_epi8(here, signs + i);
    low.add(_mm512_shuffle_epi8(table, _mm512_and_si512(codes, nibble)));
    high.add(_mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi16(codes, 4), nibble)));
  }
  low.add_to(sums);
  high.add_to(sums + 16);
}

// Lines of candidates (link_kernels.hpp: LineUp, FindClosest, KeepCloser).

inline std::size_t append_unseen(const float* estimates, const std::uint32_t* ids, const Seen& seen, float worst,
                                 float* distances, std::uint32_t* out_ids) {
  const __m512 bound = _mm512_set1_ps(worst), nothing = _mm512_set1_ps(__builtin_inff());
  const __m512i limit = _mm512_set1_epi32(static_cast<std::int32_t>(seen.limit)), one = _mm512_set1_epi32(1);
  std::size_t count = 0;
  for (std::size_t i = 0; i < kLinkLanes; i += kLanes) {
    const __m512 near = _mm512_load_ps(estimates + i);
    const __m512i id = _mm512_loadu_si512(ids + i);
    __mmask16 wanted = _mm512_cmp_ps_mask(near, bound, _CMP_LT_OQ);
    wanted = _mm512_mask_cmplt_epu32_mask(wanted, id, limit);
    const __m512i words =
        _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), wanted, _mm512_srli_epi32(id, 5), seen.words, 4);
    const __m512i bits = _mm512_sllv_epi32(one, _mm512_and_si512(id, _mm512_set1_epi32(31)));
    wanted = _mm512_mask_testn_epi32_mask(wanted, words, bits);
    const auto found = static_cast<std::size_t>(__builtin_popcount(wanted));
    const __m512 packed = _mm512_mask_blend_ps(first16(found), nothing, _mm512_maskz_compress_ps(wanted, near));
    _mm512_storeu_ps(distances + count, packed);
    _mm512_storeu_si512(out_ids + count, _mm512_maskz_compress_epi32(wanted, id));
    count += found;
  }
  return count;
}

// The smallest of each lane and the block it is first in, then the first of the lanes with the smallest.
inline std::size_t find_smallest(const float* x, std::size_t count) {
  constexpr auto kHalf = static_cast<std::int32_t>(kLanes);
  static_assert(kLinkLanes == 2 * kLanes);
  __m512 low = _mm512_load_ps(x), high = _mm512_load_ps(x + kLanes);
  __m512i low_at = _mm512_setzero_si512(), high_at = low_at;
  for (std::size_t i = kLinkLanes; i < count; i += kLinkLanes) {
    const __m512 a = _mm512_load_ps(x + i), b = _mm512_load_ps(x + i + kLanes);
    const __m512i at = _mm512_set1_epi32(static_cast<std::int32_t>(i));
    low_at = _mm512_mask_mov_epi32(low_at, _mm512_cmp_ps_mask(a, low, _CMP_LT_OQ), at);
    high_at = _mm512_mask_mov_epi32(high_at, _mm512_cmp_ps_mask(b, high, _CMP_LT_OQ), at);
    low = _mm512_min_ps(a, low);
    high = _mm512_min_ps(b, high);
  }
  const __m512 least = _mm512_set1_ps(_mm512_reduce_min_ps(_mm512_min_ps(low, high)));
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i none = _mm512_set1_epi32(0x7FFFFFFF);
  low_at = _mm512_mask_add_epi32(none, _mm512_cmp_ps_mask(low, least, _CMP_EQ_OQ), low_at, lane);
  high_at = _mm512_add_epi32(high_at, _mm512_set1_epi32(kHalf));
  high_at = _mm512_mask_add_epi32(none, _mm512_cmp_ps_mask(high, least, _CMP_EQ_OQ), high_at, lane);
  return static_cast<std::size_t>(_mm512_reduce_min_epi32(_mm512_min_epi32(low_at, high_at)));
}

inline std::size_t pack_closer(float* distances, std::uint32_t* ids, std::size_t count, float worst) {
  const __m512 bound = _mm512_set1_ps(worst);
  std::size_t kept = 0;
  for (std::size_t i = 0; i < count; i += kLanes) {
    const __mmask16 here = count - i < kLanes ? first16(count - i) : static_cast<__mmask16>(0xFFFF);
    const __m512 x = _mm512_maskz_loadu_ps(here, distances + i);
    const __m512i id = _mm512_maskz_loadu_epi32(here, ids + i);
    const __mmask16 wanted = _mm512_mask_cmp_ps_mask(here, x, bound, _CMP_LT_OQ);
    const auto found = static_cast<std::size_t>(__builtin_popcount(wanted));
    _mm512_mask_storeu_ps(distances + kept, first16(found), _mm512_maskz_compress_ps(wanted, x));
    _mm512_mask_storeu_epi32(ids + kept, first16(found), _mm512_maskz_compress_epi32(wanted, id));
    kept += found;
  }
  return kept;
}

}  // namespace
}  // namespace semblance::kernels
