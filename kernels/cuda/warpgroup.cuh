// The words of Hopper (compute capability 9.0): barriers in shared memory, bulk copies that arrive at them, and matrix
// products that a warpgroup of four warps issues on operands in shared memory. Kernels that use them run where
// `kWarpgroups`, in code for sm_90a; the emulator of the tests has the same words.
#pragma once

#include "warp.cuh"

#ifndef __CUDACC__
#include "cuda_warpgroups.hpp"  // the emulator's
#else

namespace semblance::cuda {

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
inline constexpr bool kWarpgroups = true;
#else
inline constexpr bool kWarpgroups = false;
#endif

// A barrier in shared memory whose phase ends when `arrivals` threads arrived and the bytes expected came. Who waits
// names the phase by its parity: 0 for the first, then 1, 0, ...
using Barrier = std::uint64_t;

// Of shared memory, as these words and alignments want it.
__device__ __forceinline__ unsigned shared_address(const void* p) {
  return static_cast<unsigned>(__cvta_generic_to_shared(p));
}
__device__ __forceinline__ void barrier_open(Barrier* barrier, unsigned arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
}
// By the thread that opened barriers, once, before the __syncthreads after which others use them.
__device__ __forceinline__ void barriers_opened() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
__device__ __forceinline__ void barrier_arrive(Barrier* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}
// Arrives, and the phase waits for so many bytes more.
__device__ __forceinline__ void barrier_expect(Barrier* barrier, unsigned bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
               : "memory");
}
__device__ __forceinline__ void barrier_wait(Barrier* barrier, unsigned parity) {
  unsigned done = 0;
  while (done == 0) {
    asm volatile("{.reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p;}"
                 : "=r"(done)
                 : "r"(shared_address(barrier)), "r"(parity)
                 : "memory");
  }
}

// Copies bytes from global to shared memory, 16 or a multiple, both places aligned to 16; then they count at the
// barrier, and who waited for it sees them.
__device__ __forceinline__ void copy_bulk(void* shared, const void* from, unsigned bytes, Barrier* barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                   shared_address(shared)),
               "l"(from), "r"(bytes), "r"(shared_address(barrier))
               : "memory");
}

// A meeting of the 128 threads of one of the block's warpgroups.
__device__ __forceinline__ void group_sync(unsigned group) {
  asm volatile("bar.sync %0, 128;" ::"r"(group + 1) : "memory");
}

// Products between group_begin and group_commit run on their own; group_wait<N> returns when at most N commits are
// under way. Between the two nobody may touch the sums, nor write what is multiplied.
__device__ __forceinline__ void group_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void group_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int kUnderWay>
__device__ __forceinline__ void group_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kUnderWay) : "memory");
}
// Keeps the compiler from moving uses of the sums across those words.
template <unsigned kCount>
__device__ __forceinline__ void group_hold(float (&sums)[kCount]) {
#pragma unroll
  for (unsigned i = 0; i < kCount; ++i) asm volatile("" : "+f"(sums[i])::"memory");
}
template <unsigned kCount>
__device__ __forceinline__ void group_hold(std::int32_t (&sums)[kCount]) {
#pragma unroll
  for (unsigned i = 0; i < kCount; ++i) asm volatile("" : "+r"(sums[i])::"memory");
}

// What is multiplied: rows of 128 bytes, pieces of 16 bytes swizzled (row_codes.cuh), the first row aligned to 1024
// bytes. This is the half of their descriptor that says where they begin.
using GroupRows = std::uint32_t;
__device__ __forceinline__ GroupRows group_rows(const std::byte* first) {
  return (shared_address(first) & 0x3FFFFU) >> 4 | 1U << 16;
}
// The same from `bytes` on: a multiple of 1024, or a step of 32 within the rows.
__device__ __forceinline__ GroupRows from(GroupRows rows, unsigned bytes) { return rows + (bytes >> 4); }
__device__ __forceinline__ std::uint64_t descriptor(GroupRows rows) {
  constexpr std::uint64_t kEightRows = 1024 >> 4, kSwizzle128 = 1;
  return rows | kEightRows << 32 | kSwizzle128 << 62;
}

// sums (64 x kColumns) += a (64 rows of 32 bytes) times b (kColumns rows of 32 bytes) transposed, by a warpgroup: warp
// w has rows 16 w to 16 w + 15, and sums[4 j + i] is what c[i] of multiply_* (warp.cuh) is, of columns 8 j to 8 j + 7.
template <unsigned kColumns>
__device__ void group_multiply_bf16(float (&sums)[kColumns / 2], GroupRows a, GroupRows b);
template <unsigned kColumns>
__device__ void group_multiply_i8(std::int32_t (&sums)[kColumns / 2], GroupRows a, GroupRows b);

#define SEMBLANCE_NAMES_4 "%0, %1, %2, %3"
#define SEMBLANCE_NAMES_16 SEMBLANCE_NAMES_4 ", %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define SEMBLANCE_NAMES_32 \
  SEMBLANCE_NAMES_16 ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define SEMBLANCE_NAMES_64                                                                                      \
  SEMBLANCE_NAMES_32                                                                                            \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, " \
  "%53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define SEMBLANCE_SUMS_4(c, i) c(sums[i]), c(sums[i + 1]), c(sums[i + 2]), c(sums[i + 3])
#define SEMBLANCE_SUMS_16(c, i) \
  SEMBLANCE_SUMS_4(c, i), SEMBLANCE_SUMS_4(c, i + 4), SEMBLANCE_SUMS_4(c, i + 8), SEMBLANCE_SUMS_4(c, i + 12)
#define SEMBLANCE_SUMS_32(c, i) SEMBLANCE_SUMS_16(c, i), SEMBLANCE_SUMS_16(c, i + 16)
#define SEMBLANCE_SUMS_64(c, i) SEMBLANCE_SUMS_32(c, i), SEMBLANCE_SUMS_32(c, i + 32)
#define SEMBLANCE_GROUP_MULTIPLY(name, Sum, c, kind, end, columns, count, a_at, b_at)                    \
  template <>                                                                                            \
  __device__ __forceinline__ void name<columns>(Sum(&sums)[count], GroupRows a, GroupRows b) {           \
    if constexpr (kWarpgroups)                                                                           \
      asm volatile("{.reg .pred p; setp.eq.u32 p, 0, 0; wgmma.mma_async.sync.aligned.m64n" #columns kind \
                   " {" SEMBLANCE_NAMES_##count "}, %" #a_at ", %" #b_at ", p" end ";}"                  \
                   : SEMBLANCE_SUMS_##count(c, 0)                                                        \
                   : "l"(descriptor(a)), "l"(descriptor(b)));                                            \
  }
#define SEMBLANCE_GROUP_MULTIPLIES(columns, count, a_at, b_at)                                                    \
  SEMBLANCE_GROUP_MULTIPLY(group_multiply_bf16, float, "+f", "k16.f32.bf16.bf16", ", 1, 1, 0, 0", columns, count, \
                           a_at, b_at)                                                                            \
  SEMBLANCE_GROUP_MULTIPLY(group_multiply_i8, std::int32_t, "+r", "k32.s32.s8.s8", "", columns, count, a_at, b_at)
SEMBLANCE_GROUP_MULTIPLIES(8, 4, 4, 5)
SEMBLANCE_GROUP_MULTIPLIES(32, 16, 16, 17)
SEMBLANCE_GROUP_MULTIPLIES(64, 32, 32, 33)
SEMBLANCE_GROUP_MULTIPLIES(128, 64, 64, 65)
#undef SEMBLANCE_GROUP_MULTIPLIES
#undef SEMBLANCE_GROUP_MULTIPLY
#undef SEMBLANCE_SUMS_64
#undef SEMBLANCE_SUMS_32
#undef SEMBLANCE_SUMS_16
#undef SEMBLANCE_SUMS_4
#undef SEMBLANCE_NAMES_64
#undef SEMBLANCE_NAMES_32
#undef SEMBLANCE_NAMES_16
#undef SEMBLANCE_NAMES_4

}  // namespace semblance::cuda
#endif
