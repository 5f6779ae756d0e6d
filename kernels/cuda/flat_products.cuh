// How rows and queries of each format are multiplied: by a warp (multiply, 16 rows with 8 queries) and by a warpgroup
// (multiply_group, 64 rows with kColumns queries); see warp.cuh and warpgroup.cuh for what a, b and c hold.
#pragma once

#include "row_codes.cuh"
#include "warpgroup.cuh"

namespace semblance::cuda {

inline constexpr unsigned kStepBytes = 32;  // of each row that one product takes

struct Bf16Product {
  using Sum = float;
  using Codes = Bf16Codes;
  static constexpr bool kScaled = false;
  __device__ static void multiply(Sum (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
    multiply_bf16(c, a, b);
  }
  template <unsigned kColumns>
  __device__ static void multiply_group(Sum (&c)[kColumns / 2], GroupRows a, GroupRows b) {
    group_multiply_bf16<kColumns>(c, a, b);
  }
};
struct I8Product {
  using Sum = std::int32_t;
  using Codes = I8Codes;
  static constexpr bool kScaled = true;
  __device__ static void multiply(Sum (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
    multiply_i8(c, a, b);
  }
  template <unsigned kColumns>
  __device__ static void multiply_group(Sum (&c)[kColumns / 2], GroupRows a, GroupRows b) {
    group_multiply_i8<kColumns>(c, a, b);
  }
};
// Each value as a sum of two of 11 bits; what is left out is below 2^-21 of a product. The k best and some more by
// these are scored again in plain f32. Ootomo and Yokota, "Recovering single precision accuracy from Tensor Cores"
// (2022).
struct F32Product {
  using Sum = float;
  using Codes = F32Codes;
  static constexpr bool kScaled = false;
  template <int kCount>
  __device__ static void split(const std::uint32_t (&x)[kCount], std::uint32_t (&high)[kCount],
                               std::uint32_t (&low)[kCount]) {
    for (int i = 0; i < kCount; ++i) {
      high[i] = (x[i] + 0x1000U) & 0xFFFFE000U;
      low[i] = __float_as_uint(__uint_as_float(x[i]) - __uint_as_float(high[i]));
    }
  }
  __device__ static void multiply(Sum (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
    std::uint32_t a_high[4], a_low[4], b_high[2], b_low[2];
    split(a, a_high, a_low);
    split(b, b_high, b_low);
    multiply_tf32(c, a_low, b_high);
    multiply_tf32(c, a_high, b_low);
    multiply_tf32(c, a_high, b_high);
  }
};

}  // namespace semblance::cuda
