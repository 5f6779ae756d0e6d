// Words of table_rows.inc for AVX-512 (F, BW, DQ, VL): sixteen lanes, masked at a row's end.
#pragma once

#include <immintrin.h>

#include "../kernel_table.hpp"

namespace semblance::kernels::rows {
namespace {

using RowVec = __m512;
constexpr std::size_t kRowLanes = 16;

inline __mmask16 first_lanes(std::size_t n) { return static_cast<__mmask16>((1U << n) - 1U); }

inline RowVec row_zero() { return _mm512_setzero_ps(); }
inline RowVec row_set(float x) { return _mm512_set1_ps(x); }
inline RowVec row_add(RowVec a, RowVec b) { return _mm512_add_ps(a, b); }
inline RowVec row_mul(RowVec a, RowVec b) { return _mm512_mul_ps(a, b); }
inline RowVec row_max(RowVec a, RowVec b) { return _mm512_max_ps(a, b); }
inline RowVec row_fma(RowVec a, RowVec b, RowVec c) { return _mm512_fmadd_ps(a, b, c); }
inline RowVec row_load(const float* p) { return _mm512_loadu_ps(p); }
inline RowVec row_load_partial(const float* p, std::size_t n) { return _mm512_maskz_loadu_ps(first_lanes(n), p); }
inline void row_store(float* p, RowVec x) { _mm512_storeu_ps(p, x); }
inline void row_store_partial(float* p, RowVec x, std::size_t n) { _mm512_mask_storeu_ps(p, first_lanes(n), x); }
SEMBLANCE_INLINE void row_prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1); }
SEMBLANCE_INLINE void row_prefetch_near(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }

struct ScaleBias {
  float scale, bias;
};
struct RowHead {
  RowVec scale, bias;
};
inline __m128 row_head_pair(const std::byte* row) { return _mm_cvtph_ps(_mm_loadu_si32(row)); }
inline ScaleBias row_scale_bias(const std::byte* row) {
  const __m128 pair = row_head_pair(row);
  return {_mm_cvtss_f32(pair), _mm_cvtss_f32(_mm_movehdup_ps(pair))};
}
inline RowHead row_head(const std::byte* row, float weight) {
  const __m128 pair = _mm_mul_ps(row_head_pair(row), _mm_set1_ps(weight));
  return {_mm512_broadcastss_ps(pair), _mm512_broadcastss_ps(_mm_movehdup_ps(pair))};
}

// Codes as they are read: an fp8 code moved into a half's bits is its value times 2^-8 (bias 15 for bias 7).
constexpr float kFp8Unit = 256.0F;

template <TableFormat f>
struct RowCodes;

template <>
struct RowCodes<TableFormat::f32> {
  static RowVec load(const std::byte* p, std::size_t j) { return _mm512_loadu_ps(p + 4 * j); }
  static RowVec load_partial(const std::byte* p, std::size_t j, std::size_t n) {
    return _mm512_maskz_loadu_ps(first_lanes(n), p + 4 * j);
  }
};

template <>
struct RowCodes<TableFormat::f16> {
  static RowVec widen(__m256i halves) { return _mm512_cvtph_ps(halves); }
  static RowVec load(const std::byte* p, std::size_t j) {
    return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 2 * j)));
  }
  static RowVec load_partial(const std::byte* p, std::size_t j, std::size_t n) {
    return widen(_mm256_maskz_loadu_epi16(first_lanes(n), p + 2 * j));
  }
};

template <>
struct RowCodes<TableFormat::bf16> {
  static RowVec widen(__m256i halves) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
  }
  static RowVec load(const std::byte* p, std::size_t j) {
    return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 2 * j)));
  }
  static RowVec load_partial(const std::byte* p, std::size_t j, std::size_t n) {
    return widen(_mm256_maskz_loadu_epi16(first_lanes(n), p + 2 * j));
  }
};

template <>
struct RowCodes<TableFormat::i8> {
  static RowVec widen(__m128i bytes) { return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes)); }
  static RowVec load(const std::byte* p, std::size_t j) {
    return widen(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + j)));
  }
  static RowVec load_partial(const std::byte* p, std::size_t j, std::size_t n) {
    return widen(_mm_maskz_loadu_epi8(first_lanes(n), p + j));
  }
};

// Sixteen half-bytes of eight bytes. The permutation reads the low four bits of each lane, so it masks and converts.
template <>
struct RowCodes<TableFormat::i4> {
  static RowVec widen(__m128i eight) {
    const __m512i half = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    const __m512i shift = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28);
    const __m512 values = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i spread = _mm512_permutexvar_epi32(half, _mm512_castsi128_si512(eight));
    return _mm512_permutexvar_ps(_mm512_srlv_epi32(spread, shift), values);
  }
  static RowVec load(const std::byte* p, std::size_t j) { return widen(_mm_loadu_si64(p + j / 2)); }
  static RowVec load_partial(const std::byte* p, std::size_t j, std::size_t n) {
    return widen(_mm_maskz_loadu_epi8(first_lanes((n + 1) / 2), p + j / 2));
  }
};

template <>
struct RowCodes<TableFormat::i2> {
  static RowVec widen(__m128i four) {
    const __m512i shift = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512 values = _mm512_setr_ps(0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3);
    return _mm512_permutexvar_ps(_mm512_srlv_epi32(_mm512_broadcastd_epi32(four), shift), values);
  }
  static RowVec load(const std::byte* p, std::size_t j) { return widen(_mm_loadu_si32(p + j / 4)); }
  static RowVec load_partial(const std::byte* p, std::size_t j, std::size_t n) {
    return widen(_mm_maskz_loadu_epi8(first_lanes((n + 3) / 4), p + j / 4));
  }
};

template <>
struct RowCodes<TableFormat::fp8> {
  static RowVec widen(__m128i bytes) {
    const __m256i moved = _mm256_slli_epi16(_mm256_cvtepi8_epi16(bytes), 7);  // the sign is in the top two bits
    return _mm512_cvtph_ps(_mm256_and_si256(moved, _mm256_set1_epi16(static_cast<short>(0xBF80))));
  }
  static RowVec load(const std::byte* p, std::size_t j) {
    return widen(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + j)));
  }
  static RowVec load_partial(const std::byte* p, std::size_t j, std::size_t n) {
    return widen(_mm_maskz_loadu_epi8(first_lanes(n), p + j));
  }
};

}  // namespace
}  // namespace semblance::kernels::rows
