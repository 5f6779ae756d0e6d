// The emulator itself: what it computes, and that it says when a kernel would hang or misbehave on a card.
#include <vector>

#include "check.hpp"
#include "cuda/warp.cuh"
#include "cuda_run.hpp"

using namespace semblance;
using namespace semblance::cuda;
using emulated::every_schedule;
using test::fault, test::holds, test::run;

namespace {

__global__ void number_threads(int* out) {
  const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  atomicAdd(&out[block * blockDim.x * blockDim.y * blockDim.z + thread], static_cast<int>(thread + 1));
}

// Sums of blocks of values, by a tree in dynamic shared memory.
__global__ void sum_tree(const unsigned* in, unsigned* out, bool with_barrier) {
  auto* shared = dynamic_shared<unsigned>();
  shared[threadIdx.x] = in[blockIdx.x * blockDim.x + threadIdx.x];
  for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
    if (with_barrier) __syncthreads();
    if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
  }
  if (threadIdx.x == 0) out[blockIdx.x] = shared[0];
}

__global__ void shuffles(int* out) {
  const int lane = static_cast<int>(threadIdx.x);
  int sum = lane;
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(~0U, sum, step);
  const int below = __shfl_up_sync(~0U, lane, 1), above = __shfl_down_sync(~0U, lane, 1, 8);
  const int first = __shfl_sync(~0U, lane, 0, 4);
  int quarter = 0;
  if (lane < 8) quarter = __reduce_add_sync(0xFFU, lane);  // the other lanes go their own way meanwhile
  if (lane >= 8) quarter = __reduce_max_sync(~0xFFU, lane);
  const unsigned odd = __ballot_sync(~0U, lane & 1), same = __match_any_sync(~0U, lane / 16);
  const int row[] = {sum, below, above, first, quarter, static_cast<int>(odd), static_cast<int>(same)};
  for (int i = 0; i < 7; ++i) out[7 * lane + i] = row[i];
}

__global__ void leave_before_barrier() {
  if (threadIdx.x == 37) return;
  __syncthreads();
}

__global__ void leave_before_shuffle() {
  if (threadIdx.x % 32 >= 30) return;
  __shfl_xor_sync(~0U, 1, 1);
}

__global__ void two_barriers() {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}

__global__ void foreign_mask() { __syncwarp(0xFFFFU); }

__global__ void read_outside_mask() {
  if (threadIdx.x < 16) __shfl_sync(0xFFFFU, 1, 20);
}

__global__ void misaligned(const std::byte* in, unsigned* out) {
  *out = __ldg(reinterpret_cast<const uint4*>(in + 4)).x;
}

// Reads what it copied before (`wait` false) or after it waited. In ints of 16 bytes.
__global__ void copies(const int4* in, int* out, bool wait) {
  auto* shared = dynamic_shared<int4>();
  const unsigned t = threadIdx.x;
  for (unsigned i = t; i < 12; i += 4) shared[i].x = -1;
  copy_async_16(&shared[t], &in[t], true);
  copy_async_commit();
  copy_async_16(&shared[t + 4], &in[t + 4], true);
  copy_async_16(&shared[t + 8], &in[t + 8], false);
  copy_async_commit();
  if (wait) copy_async_wait<1>();
  for (unsigned i = t; i < 12; i += 4) out[i] = shared[i].x;
  if (wait) copy_async_wait<0>();
  for (unsigned i = t; i < 12; i += 4) out[i + 12] = shared[i].x;
}

std::uint32_t pair(float low, float high) {
  return float_to_bf16(low) | static_cast<std::uint32_t>(float_to_bf16(high)) << 16;
}

// a (16, 16) and b (8, 16), small integers held as bf16; out (16, 8). b is loaded by ldmatrix.
__global__ void small_product(const float* a, const float* b, float* out) {
  const unsigned g = threadIdx.x / 4, t = threadIdx.x % 4;
  auto* rows = dynamic_shared<std::uint16_t>();
  for (unsigned i = threadIdx.x; i < 128; i += 32) rows[i] = float_to_bf16(b[i]);
  __syncwarp();
  const auto word = [&](unsigned row, unsigned column) { return pair(a[16 * row + column], a[16 * row + column + 1]); };
  const std::uint32_t left[4] = {word(g, 2 * t), word(g + 8, 2 * t), word(g, 2 * t + 8), word(g + 8, 2 * t + 8)};
  std::uint32_t right[2];
  load_matrices_x2(right, rows + threadIdx.x % 8 * 16 + threadIdx.x / 8 % 2 * 8);
  float sums[4] = {};
  multiply_bf16(sums, left, right);
  multiply_bf16(sums, left, right);
  for (unsigned i = 0; i < 4; ++i) out[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = sums[i];
}

__global__ void small_s8_product(const std::int8_t* a, const std::int8_t* b, int* out) {
  const unsigned g = threadIdx.x / 4, t = threadIdx.x % 4;
  const auto word = [&](const std::int8_t* from, unsigned row, unsigned column) {
    return __ldg(reinterpret_cast<const unsigned*>(from + 32 * row + column));
  };
  const std::uint32_t left[4] = {word(a, g, 4 * t), word(a, g + 8, 4 * t), word(a, g, 4 * t + 16),
                                 word(a, g + 8, 4 * t + 16)};
  const std::uint32_t right[2] = {word(b, g, 4 * t), word(b, g, 4 * t + 16)};
  std::int32_t sums[4] = {};
  multiply_i8(sums, left, right);
  for (unsigned i = 0; i < 4; ++i) out[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = sums[i];
}

void check_geometry() {
  std::vector<int> out(2 * 3 * 2 * 24);
  run({{2, 3, 2}, {4, 3, 2}}, number_threads, out.data());
  for (std::size_t i = 0; i < out.size(); ++i) CHECK(out[i] == static_cast<int>(i % 24 + 1));
}

void check_barriers() {
  std::vector<unsigned> in(512), out(2);
  for (unsigned i = 0; i < in.size(); ++i) in[i] = i;
  every_schedule([&] {
    run({2, 256, 1024}, sum_tree, in.data(), out.data(), true);
    CHECK(out[0] == 255 * 128 && out[1] == 255 * 128 + 256 * 256);
  });
  unsigned wrong = 0;
  if (!test::race_on_purpose) return;
  every_schedule([&] {
    run({2, 256, 1024}, sum_tree, in.data(), out.data(), false);
    wrong += out[0] != 255 * 128;
  });
  CHECK(wrong > 0);  // a missing barrier shows under some schedule
}

void check_shuffles() {
  every_schedule([] {
    std::vector<int> out(32 * 7);
    run({1, 32}, shuffles, out.data());
    for (int lane = 0; lane < 32; ++lane) {
      const int* row = &out[static_cast<std::size_t>(7 * lane)];
      CHECK(row[0] == 496 && row[1] == (lane ? lane - 1 : 0) && row[2] == (lane % 8 == 7 ? lane : lane + 1));
      CHECK(row[3] == lane / 4 * 4 && row[4] == (lane < 8 ? 28 : 31));
      CHECK(static_cast<unsigned>(row[5]) == 0xAAAAAAAAU);
      CHECK(static_cast<unsigned>(row[6]) == (lane < 16 ? 0xFFFFU : 0xFFFF0000U));
    }
  });
}

void check_faults() {
  every_schedule([] {
    CHECK(holds(fault({1, 64}, leave_before_barrier), "waits for thread 37 of block 0, which left"));
    CHECK(holds(fault({1, 64}, leave_before_shuffle), "__shfl_xor_sync (mask 0xffffffff)"));
    CHECK(holds(fault({1, 16}, leave_before_shuffle), "which is not there"));
    CHECK(holds(fault({1, 64}, two_barriers), "at __syncthreads in line"));
    CHECK(holds(fault({1, 32}, foreign_mask), "does not name the lane itself"));
    CHECK(holds(fault({1, 32}, read_outside_mask), "reads lane 20"));
  });
  alignas(16) static const std::byte bytes[32] = {};
  unsigned out = 0;
  CHECK(holds(fault({1, 1}, misaligned, bytes, &out), "misaligned"));
  run({1, 64}, number_threads, std::vector<int>(64).data());  // and goes on after a fault
  cudaLaunchConfig_t config{};
  config.blockDim = 2048;
  CHECK(cudaLaunchKernelEx(&config, leave_before_barrier) == cudaErrorInvalidConfiguration);
  CHECK(cudaGetLastError() == cudaErrorInvalidConfiguration && cudaGetLastError() == cudaSuccess);
}

void check_copies() {
  std::vector<int4> in(12);
  for (int i = 0; i < 12; ++i) in[static_cast<std::size_t>(i)].x = i;
  std::vector<int> out(24);
  run({1, 4, 192}, copies, in.data(), out.data(), true);
  CHECK((out == std::vector<int>{0, 1, 2, 3, -1, -1, -1, -1, -1, -1, -1, -1, 0, 1, 2, 3, 4, 5, 6, 7, 0, 0, 0, 0}));
  run({1, 4, 192}, copies, in.data(), out.data(), false);
  CHECK(out == std::vector<int>(24, -1));
}

void check_products() {
  std::vector<float> a(256), b(128), out(128);
  for (std::size_t i = 0; i < 256; ++i) a[i] = static_cast<float>(i * 7 % 17) - 8;
  for (std::size_t i = 0; i < 128; ++i) b[i] = static_cast<float>(i * 5 % 13) - 6;
  run({1, 32, 256}, small_product, a.data(), b.data(), out.data());
  std::vector<std::int8_t> c(512), d(256);
  for (std::size_t i = 0; i < 512; ++i) c[i] = static_cast<std::int8_t>(i * 37 % 255 - 127);
  for (std::size_t i = 0; i < 256; ++i) d[i] = static_cast<std::int8_t>(i * 91 % 255 - 127);
  std::vector<int> sums(128);
  run({1, 32}, small_s8_product, c.data(), d.data(), sums.data());
  for (std::size_t i = 0; i < 16; ++i)
    for (std::size_t j = 0; j < 8; ++j) {
      float expected = 0;
      int expected_s8 = 0;
      for (std::size_t k = 0; k < 16; ++k) expected += 2 * a[16 * i + k] * b[16 * j + k];
      for (std::size_t k = 0; k < 32; ++k) expected_s8 += c[32 * i + k] * d[32 * j + k];
      CHECK(out[8 * i + j] == expected);
      CHECK(sums[8 * i + j] == expected_s8);
    }
}

}  // namespace

int main(int argc, char**) {
  test::race_on_purpose |= argc > 1;
  check_geometry();
  check_barriers();
  check_shuffles();
  check_faults();
  check_copies();
  check_products();
  return 0;
}
