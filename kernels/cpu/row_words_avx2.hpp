// Words of table_rows.inc for AVX2, FMA and F16C: eight lanes; a row's end goes through a small buffer.
#pragma once

#include <immintrin.h>

#include "../kernel_table.hpp"

namespace semblance::kernels::rows {
namespace {

using RowVec = __m256;
constexpr std::size_t kRowLanes = 8;

// Lanes below n are all ones.
inline __m256i first_lanes(std::size_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

inline RowVec row_zero() { return _mm256_setzero_ps(); }
inline RowVec row_set(float x) { return _mm256_set1_ps(x); }
inline RowVec row_add(RowVec a, RowVec b) { return _mm256_add_ps(a, b); }
inline RowVec row_mul(RowVec a, RowVec b) { return _mm256_mul_ps(a, b); }
inline RowVec row_max(RowVec a, RowVec b) { return _mm256_max_ps(a, b); }
inline RowVec row_fma(RowVec a, RowVec b, RowVec c) { return _mm256_fmadd_ps(a, b, c); }
inline RowVec row_load(const float* p) { return _mm256_loadu_ps(p); }
inline RowVec row_load_partial(const float* p, std::size_t n) { return _mm256_maskload_ps(p, first_lanes(n)); }
inline void row_store(float* p, RowVec x) { _mm256_storeu_ps(p, x); }
inline void row_store_partial(float* p, RowVec x, std::size_t n) { _mm256_maskstore_ps(p, first_lanes(n), x); }
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
  return {_mm256_broadcastss_ps(pair), _mm256_broadcastss_ps(_mm_movehdup_ps(pair))};
}

// Codes as they are read: an fp8 code moved into a half's bits is its value times 2^-8 (bias 15 for bias 7).
constexpr float kFp8Unit = 256.0F;

// Up to eight lanes of codes copied to where a whole vector may be read.
struct RowEnd {
  alignas(32) std::byte bytes[32] = {};
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
  static __m128i sixteen(const std::byte* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }

  static RowVec read(const std::byte* p) {
    if constexpr (f == TableFormat::f32) {
      return _mm256_loadu_ps(reinterpret_cast<const float*>(p));
    } else if constexpr (f == TableFormat::f16) {
      return _mm256_cvtph_ps(sixteen(p));
    } else if constexpr (f == TableFormat::bf16) {
      return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(sixteen(p)), 16));
    } else if constexpr (f == TableFormat::i8) {
      return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadu_si64(p)));
    } else if constexpr (f == TableFormat::i4) {
      const __m256i shift = _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28);
      return packed(_mm256_broadcastd_epi32(_mm_loadu_si32(p)), shift, 15);
    } else if constexpr (f == TableFormat::i2) {
      const __m256i shift = _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14);
      return packed(_mm256_broadcastd_epi32(_mm_loadu_si16(p)), shift, 3);
    } else {
      const __m128i moved = _mm_slli_epi16(_mm_cvtepi8_epi16(_mm_loadu_si64(p)), 7);  // the sign is in the top two bits
      return _mm256_cvtph_ps(_mm_and_si128(moved, _mm_set1_epi16(static_cast<short>(0xBF80))));
    }
  }

  static RowVec packed(__m256i codes, __m256i shift, int mask) {
    return _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_srlv_epi32(codes, shift), _mm256_set1_epi32(mask)));
  }
};

}  // namespace
}  // namespace semblance::kernels::rows
