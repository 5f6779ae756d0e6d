// The words that kernels use beyond CUDA C++: dynamic shared memory, asynchronous copies, tensor-core products and
// conversions. Compiled as plain C++, the same words come from the emulator of tests/native.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#ifdef __CUDACC__
#include <cuda_fp16.h>

namespace semblance::cuda {

// Of the bytes the launch asked for; 128-byte aligned.
__device__ inline std::byte* dynamic_shared() {
  extern __shared__ __align__(128) std::byte semblance_dynamic_shared[];
  return semblance_dynamic_shared;
}

// Global to shared memory without passing through registers; both addresses are multiples of the size (16, 8 or 4). The
// bytes are there for this thread after copy_wait, for its block after the barrier that follows.
template <int kBytes>
__device__ inline void copy_async(void* shared, const void* global) {
  const auto to = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
  if constexpr (kBytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(global) : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(to), "l"(global), "n"(kBytes) : "memory");
  }
}
__device__ inline void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits for all but the newest `kLeft` committed groups of this thread.
template <int kLeft>
__device__ inline void copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
}

// Matrix fragments as the PTX manual lays them out (m16n8k16 for bf16, m16n8k32 for s8), for lane l, g = l / 4, t = l %
// 4:
//   bf16  a: (row g, columns 2t 2t+1), (g + 8, 2t 2t+1), (g, 2t+8 2t+9), (g + 8, 2t+8 2t+9)   b: (rows 2t 2t+1, column
//   g),
//         (2t+8 2t+9, g)
//   s8    a: (row g, columns 4t..4t+3), (g + 8, the same), (g, 4t+16..), (g + 8, 4t+16..)     b: (rows 4t..4t+3, column
//   g),
//         (4t+16.., g)
//   sums  (row g, columns 2t 2t+1), (g + 8, 2t 2t+1)
struct FragmentA {
  std::uint32_t words[4];
};
struct FragmentB {
  std::uint32_t words[2];
};
template <class T>
struct FragmentSums {
  T values[4];
};

// sums += a b. All lanes of the warp call it together.
__device__ inline void multiply_bf16(FragmentSums<float>& sums, const FragmentA& a, const FragmentB& b) {
  float* s = sums.values;
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(s[0]), "+f"(s[1]), "+f"(s[2]), "+f"(s[3])
      : "r"(a.words[0]), "r"(a.words[1]), "r"(a.words[2]), "r"(a.words[3]), "r"(b.words[0]), "r"(b.words[1]));
}
__device__ inline void multiply_s8(FragmentSums<int>& sums, const FragmentA& a, const FragmentB& b) {
  int* s = sums.values;
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+r"(s[0]), "+r"(s[1]), "+r"(s[2]), "+r"(s[3])
      : "r"(a.words[0]), "r"(a.words[1]), "r"(a.words[2]), "r"(a.words[3]), "r"(b.words[0]), "r"(b.words[1]));
}

// Four (two) 8 x 8 matrices of 16-bit elements: lane 8 m + r gives the address of row r of matrix m (16 bytes,
// aligned); lane l gets, of each, row l / 4, elements 2 (l % 4) and the next.
__device__ inline void load_matrices(FragmentA& to, const void* shared_row) {
  const auto at = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared_row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to.words[0]), "=r"(to.words[1]), "=r"(to.words[2]), "=r"(to.words[3])
               : "r"(at)
               : "memory");
}
__device__ inline void load_matrices(FragmentB& to, const void* shared_row) {
  const auto at = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared_row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
               : "=r"(to.words[0]), "=r"(to.words[1])
               : "r"(at)
               : "memory");
}

__device__ inline float half_to_float(std::uint16_t bits) { return __half2float(__ushort_as_half(bits)); }
__device__ inline std::uint16_t float_to_half(float x) { return __half_as_ushort(__float2half_rn(x)); }

}  // namespace semblance::cuda
#else
#include "cuda_words.hpp"
#endif

namespace semblance::cuda {

__device__ inline float bfloat_to_float(std::uint16_t bits) { return __uint_as_float(std::uint32_t{bits} << 16); }

// Rounds to nearest even; NaN stays one.
__device__ inline std::uint16_t float_to_bfloat(float x) {
  const std::uint32_t bits = __float_as_uint(x);
  if ((bits & 0x7FFFFFFFU) > 0x7F800000U) return static_cast<std::uint16_t>(bits >> 16 | 0x40U);
  return static_cast<std::uint16_t>((bits + 0x7FFFU + (bits >> 16 & 1U)) >> 16);
}

}  // namespace semblance::cuda
