// The words of kernels/cuda/warp.cuh on the CPU.
#pragma once

#include <cuda_runtime.h>

#include "../../../cpp/core/half.hpp"

namespace semblance::cuda {

template <class T>
T* dynamic_shared() {
  return reinterpret_cast<T*>(emulated::machine().shared);
}

// Nothing is copied before it is waited for.
inline void copy_async_16(void* shared, const void* from, bool valid) {
  if ((reinterpret_cast<std::uintptr_t>(shared) | reinterpret_cast<std::uintptr_t>(from)) % 16 != 0)
    emulated::machine().leave_with("an asynchronous copy is misaligned");
  static constexpr std::byte kZeros[16] = {};
  emulated::races::writes(shared, 16);  // from now on
  emulated::Thread& self = *emulated::machine().current;
  self.copies.push_back({shared, valid ? from : kZeros, 16, self.copy_group});
}
inline void copy_async_commit() { emulated::machine().current->copy_group += 1; }
template <int kGroups>
void copy_async_wait() {
  emulated::machine().finish_copies(kGroups);
}

template <class T>
struct Product {
  T* sums;
  const std::uint32_t *a, *b;
};

// Of the values in four bytes, in the order of the columns.
struct Bf16 {
  static float add(float sum, std::uint32_t a, std::uint32_t b) {
    for (int i = 0; i < 2; ++i)
      sum += __uint_as_float((a >> 16 * i & 0xFFFFU) << 16) * __uint_as_float((b >> 16 * i & 0xFFFFU) << 16);
    return sum;
  }
};
struct Tf32 {
  static float value(std::uint32_t bits) { return __uint_as_float(bits & 0xFFFFE000U); }
  static float add(float sum, std::uint32_t a, std::uint32_t b) { return sum + value(a) * value(b); }
};
struct Int8 {
  static int add(int sum, std::uint32_t a, std::uint32_t b) {
    return __dp4a(static_cast<int>(a), static_cast<int>(b), sum);
  }
};

// This lane's four sums from every lane's fragments.
template <class Words, class T>
std::uint64_t multiplied(const emulated::Arrivals& all) {
  const auto of = [&](unsigned lane) { return reinterpret_cast<const Product<T>*>(all.value(lane)); };
  const unsigned g = all.self / 4, t = all.self % 4;
  for (unsigned i = 0; i < 4; ++i) {
    T& sum = of(all.self)->sums[i];
    for (unsigned half = 0; half < 2; ++half)
      for (unsigned k = 0; k < 4; ++k)
        sum = Words::add(sum, of(4 * g + k)->a[i / 2 + 2 * half], of(4 * (2 * t + i % 2) + k)->b[half]);
  }
  return 0;
}

template <class Words, class T>
void multiply(const char* name, const Product<T>& own, unsigned line) {
  emulated::machine().meet({name, ~0U, line, multiplied<Words, T>}, emulated::to_word(&own));
}
inline void multiply_bf16(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
                          unsigned line = __builtin_LINE()) {
  multiply<Bf16, float>("multiply_bf16", {c, a, b}, line);
}
inline void multiply_tf32(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
                          unsigned line = __builtin_LINE()) {
  multiply<Tf32, float>("multiply_tf32", {c, a, b}, line);
}
inline void multiply_i8(std::int32_t (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
                        unsigned line = __builtin_LINE()) {
  multiply<Int8, std::int32_t>("multiply_i8", {c, a, b}, line);
}

template <unsigned kMatrix>
std::uint64_t matrix_word(const emulated::Arrivals& all) {
  const auto* row = reinterpret_cast<const std::byte*>(all.value(8 * kMatrix + all.self / 4));
  std::uint32_t word;
  std::memcpy(&word, row + 4 * (all.self % 4), sizeof word);
  return word;
}
template <unsigned kMatrix>
std::uint32_t load_matrix(const void* row, unsigned line) {
  if (reinterpret_cast<std::uintptr_t>(row) % 16 != 0) emulated::machine().leave_with("a matrix row is misaligned");
  if (threadIdx.x % emulated::kWarp / 8 == kMatrix) emulated::races::reads(row, 16);
  return static_cast<std::uint32_t>(
      emulated::machine().meet({"load_matrices", ~0U, line, matrix_word<kMatrix>}, emulated::to_word(row)));
}
inline void load_matrices_x4(std::uint32_t (&out)[4], const void* shared, unsigned line = __builtin_LINE()) {
  out[0] = load_matrix<0>(shared, line);
  out[1] = load_matrix<1>(shared, line);
  out[2] = load_matrix<2>(shared, line);
  out[3] = load_matrix<3>(shared, line);
}
inline void load_matrices_x2(std::uint32_t (&out)[2], const void* shared, unsigned line = __builtin_LINE()) {
  out[0] = load_matrix<0>(shared, line);
  out[1] = load_matrix<1>(shared, line);
}

using semblance::float_to_half;
using semblance::half_to_float;
template <int kWhich>
float half_of(std::uint32_t pair) {
  return half_to_float(static_cast<std::uint16_t>(pair >> 16 * kWhich));
}

}  // namespace semblance::cuda
