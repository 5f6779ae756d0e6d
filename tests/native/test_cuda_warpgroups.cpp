// Hopper's words as the emulator has them: barriers that count arrivals and bytes, bulk copies, products of warpgroups.
#include <vector>

#include "check.hpp"
#include "cuda/row_codes.cuh"
#include "cuda/warpgroup.cuh"
#include "cuda_run.hpp"

using namespace semblance;
using namespace semblance::cuda;
using emulated::every_schedule;
using test::fault, test::holds, test::run;

namespace {

constexpr unsigned kInts = 64;

// Thread 0 brings the ints in two copies, the others read them; `waits` false: without waiting.
__global__ void bring(const int* in, int* out, bool waits) {
  __shared__ Barrier full;
  auto* shared = dynamic_shared<int>();
  if (threadIdx.x == 0) {
    barrier_open(&full, 1);
    barriers_opened();
  }
  shared[threadIdx.x] = -1;
  __syncthreads();
  if (threadIdx.x == 0) {
    barrier_expect(&full, kInts * sizeof(int));
    copy_bulk(shared, in, kInts / 2 * sizeof(int), &full);
    copy_bulk(shared + kInts / 2, in + kInts / 2, kInts / 2 * sizeof(int), &full);
  }
  if (waits) barrier_wait(&full, 0);
  out[threadIdx.x] = shared[threadIdx.x];
}

// A ring of one stage: the second warp gives back what the first one brought, round after round.
__global__ void ring(const int* in, int* out, unsigned rounds) {
  __shared__ Barrier full, empty;
  auto* shared = dynamic_shared<int>();
  if (threadIdx.x == 0) {
    barrier_open(&full, 1);
    barrier_open(&empty, kWarp);
    barriers_opened();
  }
  __syncthreads();
  for (unsigned round = 0; round < rounds; ++round) {
    if (threadIdx.x == 0) {
      if (round > 0) barrier_wait(&empty, (round - 1) % 2);
      barrier_expect(&full, 16);
      copy_bulk(shared, in + 4 * round, 16, &full);
    }
    if (warp() == 1) {
      barrier_wait(&full, round % 2);
      if (lane() < 4) out[4 * round + lane()] = shared[lane()];
      barrier_arrive(&empty);
    }
  }
}

__global__ void wait_for_nobody() {
  __shared__ Barrier barrier;
  if (threadIdx.x == 0) barrier_open(&barrier, 2);
  __syncthreads();
  if (threadIdx.x == 0) barrier_arrive(&barrier);
  barrier_wait(&barrier, 0);
}

__global__ void arrive_too_often() {
  __shared__ Barrier barrier;
  barrier_open(&barrier, 1);
  barrier_expect(&barrier, 16);
  barrier_arrive(&barrier);
}

__global__ void bring_to_an_odd_place(const int* in) {
  __shared__ Barrier barrier;
  copy_bulk(dynamic_shared<int>() + 1, in, 16, &barrier);
}

// Each warpgroup adds up what its threads wrote; the other one does not take part in its meeting.
__global__ void sums_of_groups(unsigned* out) {
  auto* shared = dynamic_shared<unsigned>();
  const unsigned group = threadIdx.x / 128, first = group * 128;
  shared[threadIdx.x] = threadIdx.x;
  group_sync(group);
  unsigned sum = 0;
  for (unsigned i = 0; i < 128; ++i) sum += shared[first + i];
  out[threadIdx.x] = sum;
}

// a (64, 64) and b (8, 64), small integers as bf16; out (64, 8). `waits` false: sums are read without waiting.
__global__ void group_product(const float* a, const float* b, float* out, bool waits) {
  auto* bytes = dynamic_shared<std::byte>();
  bytes += (1024 - reinterpret_cast<std::uintptr_t>(bytes) % 1024) % 1024;
  std::byte* const queries = bytes + kGroupChunkBytes;
  for (unsigned i = threadIdx.x; i < 64 * 64; i += blockDim.x)
    RowOf<std::byte, std::uint16_t>(bytes, i / 64, 1)[i % 64] = float_to_bf16(a[i]);
  for (unsigned i = threadIdx.x; i < 8 * 64; i += blockDim.x)
    RowOf<std::byte, std::uint16_t>(queries, i / 64, 1)[i % 64] = float_to_bf16(b[i]);
  __syncthreads();
  float sums[4] = {};
  group_begin();
  for (unsigned step = 0; step < kChunkBytes; step += 32)
    group_multiply_bf16<8>(sums, from(group_rows(bytes), step), from(group_rows(queries), step));
  group_commit();
  if (waits) group_wait<0>();
  for (unsigned i = 0; i < 4; ++i) out[(warp() * 16 + lane() / 4 + i / 2 * 8) * 8 + lane() % 4 * 2 + i % 2] = sums[i];
  group_wait<0>();
}

void check_bulk_copies() {
  std::vector<int> in(kInts), out(kInts);
  for (unsigned i = 0; i < kInts; ++i) in[i] = static_cast<int>(i);
  every_schedule([&] {
    run({1, kInts, kInts * sizeof(int)}, bring, in.data(), out.data(), true);
    CHECK(out == in);
  });
  bool late = false;
  if (!test::race_on_purpose) return;
  every_schedule([&] {
    run({1, kInts, kInts * sizeof(int)}, bring, in.data(), out.data(), false);
    late = late || out != in;
  });
  CHECK(late);  // who does not wait may read too early
}

void check_rings() {
  std::vector<int> in(4 * 9), out(4 * 9);
  for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<int>(i * i);
  every_schedule([&] {
    std::fill(out.begin(), out.end(), -1);
    run({1, 64, 16}, ring, in.data(), out.data(), 9U);
    CHECK(out == in);
  });
}

void check_faults() {
  const std::vector<int> in(4);
  every_schedule([&] {
    CHECK(holds(fault({1, 32}, wait_for_nobody), "at barrier_wait in line"));
    CHECK(holds(fault({1, 32}, wait_for_nobody), "waits for ever"));
    CHECK(holds(fault({1, 1}, arrive_too_often), "more threads arrive at a barrier"));
    CHECK(holds(fault({1, 1, 64}, bring_to_an_odd_place, in.data()), "a bulk copy is misaligned"));
  });
}

void check_groups() {
  every_schedule([] {
    std::vector<unsigned> out(256);
    run({1, 256, 1024}, sums_of_groups, out.data());
    for (unsigned i = 0; i < 256; ++i) CHECK(out[i] == (i < 128 ? 8128U : 8128U + 128U * 128U));
  });
}

void check_products() {
  std::vector<float> a(64 * 64), b(8 * 64), out(64 * 8);
  for (std::size_t i = 0; i < a.size(); ++i) a[i] = static_cast<float>(i * 7 % 17) - 8;
  for (std::size_t i = 0; i < b.size(); ++i) b[i] = static_cast<float>(i * 5 % 13) - 6;
  const std::size_t bytes = 1024 + 2 * kGroupChunkBytes;
  run({1, 128, bytes}, group_product, a.data(), b.data(), out.data(), false);
  CHECK(out == std::vector<float>(64 * 8));  // products are not there before they are waited for
  run({1, 128, bytes}, group_product, a.data(), b.data(), out.data(), true);
  for (std::size_t i = 0; i < 64; ++i)
    for (std::size_t j = 0; j < 8; ++j) {
      float expected = 0;
      for (std::size_t k = 0; k < 64; ++k) expected += a[64 * i + k] * b[64 * j + k];
      CHECK(out[8 * i + j] == expected);
    }
}

}  // namespace

int main(int argc, char**) {
  test::race_on_purpose |= argc > 1;
  check_bulk_copies();
  check_rings();
  check_faults();
  check_groups();
  check_products();
}
