// Rows as the products read them: codes padded with zeros to whole chunks, and a tail that turns a sum of products of
// codes into a score. The formulas and their order are those of kernels/cpu, so that i8 gives the same bits.
#pragma once

#include <cstddef>
#include <cstdint>

#include "warp.cuh"

namespace semblance::cuda {

inline constexpr unsigned kChunkBytes = 128;  // of a row that one step of a product reads

struct FlatTail {
  float scale;  // value = scale * code; 1 for floats
  float squared_norm;
};

template <bool kL2, bool kScaled>
__device__ __forceinline__ float finish_score(float sum, FlatTail row, FlatTail query) {
  const float dot = kScaled ? (row.scale * sum) * query.scale : sum;
  if constexpr (!kL2) return 0.0F - dot;
  const float distance = (query.squared_norm + row.squared_norm) - 2.0F * dot;
  return distance > 0.0F || distance != distance ? distance : 0.0F;
}

__device__ __forceinline__ float scaled(float x, double factor) { return static_cast<float>(double{x} * factor); }

// What each format does with one row, by one warp; `factor` scales the values first.
struct F32Codes {
  using Code = float;
  // The sum of the products of the values in four bytes of two rows.
  __device__ static float multiply_word(std::uint32_t a, std::uint32_t b) {
    return __uint_as_float(a) * __uint_as_float(b);
  }
  __device__ static FlatTail encode(const float* row, std::size_t dim, double factor, Code* out) {
    double squares = 0;
    for (std::size_t j = lane(); j < dim; j += kWarp) {
      const float x = scaled(row[j], factor);
      out[j] = x;
      squares += double{x} * double{x};
    }
    return {1.0F, static_cast<float>(warp_sum(squares))};
  }
};

struct Bf16Codes {
  using Code = std::uint16_t;
  __device__ static float multiply_word(std::uint32_t a, std::uint32_t b) {
    const float low = __uint_as_float(a << 16) * __uint_as_float(b << 16);
    return low + __uint_as_float(a & 0xFFFF0000U) * __uint_as_float(b & 0xFFFF0000U);
  }
  __device__ static FlatTail encode(const float* row, std::size_t dim, double factor, Code* out) {
    double squares = 0;
    for (std::size_t j = lane(); j < dim; j += kWarp) {
      out[j] = float_to_bf16(scaled(row[j], factor));
      const float x = bf16_to_float(out[j]);
      squares += double{x} * double{x};
    }
    return {1.0F, static_cast<float>(warp_sum(squares))};
  }
};

struct I8Codes {
  using Code = std::int8_t;
  __device__ static FlatTail encode(const float* row, std::size_t dim, double factor, Code* out) {
    float largest = 0.0F;
    for (std::size_t j = lane(); j < dim; j += kWarp) largest = fmaxf(largest, fabsf(scaled(row[j], factor)));
    const float scale = warp_max(largest) / 127.0F;
    const float divisor = scale > 0.0F ? scale : 1.0F;
    std::int32_t squares = 0;
    for (std::size_t j = lane(); j < dim; j += kWarp) {
      const float code = fminf(fmaxf(rintf(scaled(row[j], factor) / divisor), -127.0F), 127.0F);
      out[j] = static_cast<std::int8_t>(code);
      squares += static_cast<std::int32_t>(code) * static_cast<std::int32_t>(code);
    }
    return {scale, static_cast<float>(double{scale} * scale * warp_sum(squares))};
  }
};

}  // namespace semblance::cuda
