// The words of kernels beyond those of cuda_runtime.h: matrix products, asynchronous copies, dynamic shared memory,
// 16-bit floats, sums over a warp. Kernels hold no inline assembly of their own, so that the same source runs on the
// host: there the emulator of the tests (tests/native/emulated) brings cuda_runtime.h and the words of the first half.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#ifndef __CUDACC__
#include "cuda_words.hpp"  // the emulator's
#else

namespace semblance::cuda {

// The block's dynamic shared memory, aligned to 128 bytes.
template <class T>
__device__ __forceinline__ T* dynamic_shared() {
  extern __shared__ __align__(128) unsigned char bytes[];
  return reinterpret_cast<T*>(bytes);
}

// Sixteen bytes from global to shared memory, both aligned to 16; zeros where not `valid` (`from` is not read then).
// A thread's copies since its last commit are one group; wait<N> returns when at most N of its groups are under way.
// What other threads copied is seen after they waited and a __syncthreads.
__device__ __forceinline__ void copy_async_16(void* shared, const void* from, bool valid) {
  const auto to = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}
__device__ __forceinline__ void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int kGroups>
__device__ __forceinline__ void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kGroups) : "memory");
}

// Four 8 x 16-byte matrices: lane l names the address of row l % 8 of matrix l / 8 in shared memory (aligned to 16);
// out[m] is bytes 4 * (lane % 4) .. + 3 of row lane / 4 of matrix m.
__device__ __forceinline__ void load_matrices_x4(std::uint32_t (&out)[4], const void* shared) {
  const auto from = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(from)
               : "memory");
}
// The same for two matrices; lanes 0 to 15 name the rows.
__device__ __forceinline__ void load_matrices_x2(std::uint32_t (&out)[2], const void* shared) {
  const auto from = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
               : "=r"(out[0]), "=r"(out[1])
               : "r"(from)
               : "memory");
}

// A half as its 16 bits. Back: to nearest even.
__device__ __forceinline__ float half_to_float(std::uint16_t bits) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
  return value;
}
__device__ __forceinline__ std::uint16_t float_to_half(float x) {
  std::uint16_t bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  return bits;
}
// The lower (0) or upper (1) of two halves in a word.
template <int kWhich>
__device__ __forceinline__ float half_of(std::uint32_t pair) {
  float value;
  if constexpr (kWhich == 0) {
    asm("{.reg .b16 low, high; mov.b32 {low, high}, %1; cvt.f32.f16 %0, low;}" : "=f"(value) : "r"(pair));
  } else {
    asm("{.reg .b16 low, high; mov.b32 {low, high}, %1; cvt.f32.f16 %0, high;}" : "=f"(value) : "r"(pair));
  }
  return value;
}

// c (16 x 8) += a (16 rows of 32 bytes) times b (8 rows of 32 bytes) transposed, by one warp. With g = lane / 4 and
// t = lane % 4:
//   a[0], a[1]   bytes 4 t .. 4 t + 3 of rows g and g + 8;  a[2], a[3] the same 16 bytes further on
//   b[0], b[1]   bytes 4 t .. 4 t + 3 of row g, and the same 16 bytes further on
//   c[0], c[1]   row g, columns 2 t and 2 t + 1;  c[2], c[3] the same of row g + 8
// The 32 bytes are 16 bf16, 32 i8, or 8 f32 of which 19 bits are read (tf32).
__device__ __forceinline__ void multiply_bf16(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ __forceinline__ void multiply_tf32(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ __forceinline__ void multiply_i8(std::int32_t (&c)[4], const std::uint32_t (&a)[4],
                                            const std::uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

}  // namespace semblance::cuda
#endif

namespace semblance::cuda {

inline constexpr unsigned kWarp = 32;
inline constexpr unsigned kAllLanes = 0xFFFFFFFFU;

__device__ __forceinline__ unsigned lane() { return threadIdx.x % kWarp; }
__device__ __forceinline__ unsigned warp() { return threadIdx.x / kWarp; }

// Sums over a warp in one fixed order: every lane gets the same bits, run after run.
template <class T>
__device__ __forceinline__ T warp_sum(T value) {
  for (unsigned step = kWarp / 2; step > 0; step /= 2) value += __shfl_xor_sync(kAllLanes, value, step);
  return value;
}
template <class T>
__device__ __forceinline__ T warp_max(T value) {
  for (unsigned step = kWarp / 2; step > 0; step /= 2) {
    const T other = __shfl_xor_sync(kAllLanes, value, step);
    value = value < other ? other : value;
  }
  return value;
}

// bf16 as its 16 bits; to nearest even, NaN to NaN.
__device__ __forceinline__ float bf16_to_float(std::uint16_t bits) {
  return __uint_as_float(static_cast<std::uint32_t>(bits) << 16);
}
__device__ __forceinline__ std::uint16_t float_to_bf16(float x) {
  const std::uint32_t bits = __float_as_uint(x);
  if (x != x) return 0x7FFF;  // a card's NaN has all bits set, which rounding would carry over to -0
  return static_cast<std::uint16_t>((bits + 0x7FFFU + (bits >> 16 & 1U)) >> 16);
}

}  // namespace semblance::cuda
