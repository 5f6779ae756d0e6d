// Rows as the products read them: codes padded with zeros to whole chunks, and a tail that turns a sum of products of
// codes into a score. The formulas and their order are those of kernels/cpu, so that i8 gives the same bits.
//
// Rows lie in groups of 64, a group chunk by chunk, so that one copy of 8 kB brings a chunk of 64 rows to shared memory
// as the tensor cores read it: within a row's chunk pieces of 16 bytes change places by the row's number, and eight
// rows' same piece lies in eight different banks (the 128-byte swizzle of wgmma and of tensor maps).
#pragma once

#include <cstddef>
#include <cstdint>

#include "warp.cuh"

namespace semblance::cuda {

inline constexpr unsigned kChunkBytes = 128;  // of a row that one step of a product reads
inline constexpr unsigned kPieceBytes = 16, kPieces = kChunkBytes / kPieceBytes;
inline constexpr unsigned kGroupRows = 64, kGroupChunkBytes = kGroupRows * kChunkBytes;

__host__ __device__ constexpr std::size_t round_up(std::size_t x, std::size_t step) {
  return (x + step - 1) / step * step;
}

// Where a row's chunk begins, and where in it a piece lies.
__host__ __device__ constexpr std::size_t chunk_at(std::size_t row, unsigned chunk, unsigned chunks) {
  return (row / kGroupRows * chunks + chunk) * kGroupChunkBytes + row % kGroupRows * kChunkBytes;
}
__host__ __device__ constexpr unsigned piece_at(unsigned row, unsigned piece) {
  return (piece ^ row % kPieces) * kPieceBytes;
}

// A row's codes one by one, wherever they lie.
template <class Byte, class Code>
class RowOf {
 public:
  __device__ RowOf(Byte* codes, std::size_t row, unsigned chunks)
      : first_(codes + chunk_at(row, 0, chunks)), turn_(static_cast<unsigned>(row) % kPieces) {}
  __device__ Code& operator[](std::size_t j) const {
    const std::size_t byte = j * sizeof(Code), within = byte % kChunkBytes;
    const unsigned piece = piece_at(turn_, static_cast<unsigned>(within / kPieceBytes));
    return *reinterpret_cast<Code*>(first_ + byte / kChunkBytes * kGroupChunkBytes + piece + within % kPieceBytes);
  }

 private:
  Byte* first_;
  unsigned turn_;
};

struct FlatTail {
  float scale;  // value = scale * code; 1 for floats
  float squared_norm;
};

// Coded rows or queries: `n` of them from row `first` on.
struct CodedRows {
  const std::byte* codes;
  const FlatTail* tails;
  std::uint32_t first, n;
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
  template <class Row>
  __device__ static FlatTail encode(const float* row, std::size_t dim, double factor, const Row& out) {
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
  template <class Row>
  __device__ static FlatTail encode(const float* row, std::size_t dim, double factor, const Row& out) {
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
  template <class Row>
  __device__ static FlatTail encode(const float* row, std::size_t dim, double factor, const Row& out) {
    float largest = 0.0F, poison = 0.0F;
    for (std::size_t j = lane(); j < dim; j += kWarp) {
      const float x = scaled(row[j], factor);
      largest = fmaxf(largest, fabsf(x));
      poison += x * 0.0F;  // NaN where x is no finite number, which no code says
    }
    const float scale = warp_max(largest) / 127.0F + warp_sum(poison);
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
