// The words of kernels/cuda/words.cuh on the CPU.
#pragma once

#include <cuda_runtime.h>

#include "core/half.hpp"

namespace semblance::cuda {

inline std::byte* dynamic_shared() { return emulated::machine().shared; }

template <int kBytes>
void copy_async(void* shared, const void* global) {
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16);
  if ((reinterpret_cast<std::uintptr_t>(shared) | reinterpret_cast<std::uintptr_t>(global)) % kBytes != 0)
    emulated::machine().leave_with("an asynchronous copy is misaligned");
  emulated::Thread& self = *emulated::machine().current;
  self.copies.push_back({shared, global, kBytes, self.copy_group});
}
inline void copy_commit() { emulated::machine().current->copy_group += 1; }
template <int kLeft>
void copy_wait() {
  emulated::machine().finish_copies(kLeft);
}

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

template <class T>
struct Product {
  FragmentSums<T>* sums;
  const FragmentA* a;
  const FragmentB* b;
};

inline float product(std::uint32_t a, std::uint32_t b, float sum) {  // bf16, in the order of the columns
  for (int i = 0; i < 2; ++i)
    sum += __uint_as_float((a >> 16 * i & 0xFFFFU) << 16) * __uint_as_float((b >> 16 * i & 0xFFFFU) << 16);
  return sum;
}
inline int product(std::uint32_t a, std::uint32_t b, int sum) {
  return __dp4a(static_cast<int>(a), static_cast<int>(b), sum);
}

// This lane's four sums from every lane's fragments.
template <class T>
std::uint64_t multiplied(const emulated::Arrivals& all) {
  const auto of = [&](unsigned lane) { return reinterpret_cast<const Product<T>*>(all.value(lane)); };
  const unsigned g = all.self / 4, t = all.self % 4;
  for (unsigned i = 0; i < 4; ++i) {
    T& sum = of(all.self)->sums->values[i];
    for (unsigned half = 0; half < 2; ++half)
      for (unsigned k = 0; k < 4; ++k)
        sum = product(of(4 * g + k)->a->words[i / 2 + 2 * half], of(4 * (2 * t + i % 2) + k)->b->words[half], sum);
  }
  return 0;
}

inline void multiply_bf16(FragmentSums<float>& sums, const FragmentA& a, const FragmentB& b,
                          unsigned line = __builtin_LINE()) {
  const Product<float> own{&sums, &a, &b};
  emulated::machine().meet({"multiply_bf16", ~0U, line, multiplied<float>}, emulated::to_word(&own));
}
inline void multiply_s8(FragmentSums<int>& sums, const FragmentA& a, const FragmentB& b,
                        unsigned line = __builtin_LINE()) {
  const Product<int> own{&sums, &a, &b};
  emulated::machine().meet({"multiply_s8", ~0U, line, multiplied<int>}, emulated::to_word(&own));
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
  return static_cast<std::uint32_t>(
      emulated::machine().meet({"load_matrices", ~0U, line, matrix_word<kMatrix>}, emulated::to_word(row)));
}
inline void load_matrices(FragmentA& to, const void* shared_row, unsigned line = __builtin_LINE()) {
  to = {{load_matrix<0>(shared_row, line), load_matrix<1>(shared_row, line), load_matrix<2>(shared_row, line),
         load_matrix<3>(shared_row, line)}};
}
inline void load_matrices(FragmentB& to, const void* shared_row, unsigned line = __builtin_LINE()) {
  to = {{load_matrix<0>(shared_row, line), load_matrix<1>(shared_row, line)}};
}

using semblance::float_to_half;
using semblance::half_to_float;

}  // namespace semblance::cuda
