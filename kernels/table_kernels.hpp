// Kernels of quantised embedding tables: row layouts, function-pointer types and their part of the kernel table.
//
// A row is a head and `dim` codes; it starts at any address. Heads and codes as in FBGEMM's table-batched embeddings:
//   f32, f16, bf16   no head, dim values
//   i8               fp16 scale, fp16 bias, dim bytes
//   i4               fp16 scale, fp16 bias, two codes a byte, the even one in the low half
//   i2               fp16 scale, fp16 bias, four codes a byte, the first one lowest
//   fp8              fp16 scale, fp16 bias, dim bytes of sign, 4 exponent bits (bias 7), 3 mantissa bits
// A value is fma(code, scale, bias). Every output element is one chain of fused multiply-adds over the rows of its bag
// in their order, so no result depends on the instruction set, the number of threads or the vector width.
#pragma once

#include <cstddef>
#include <cstdint>

namespace semblance::kernels {

// Always inlined: an out-of-line copy would be a weak symbol, built with the flags of whichever object came first.
#define SEMBLANCE_INLINE [[gnu::always_inline]] inline

enum class TableFormat : std::uint8_t { f32, f16, bf16, i8, i4, i2, fp8 };
inline constexpr std::size_t kTableFormats = 7;

SEMBLANCE_INLINE constexpr bool has_row_head(TableFormat format) { return format >= TableFormat::i8; }
SEMBLANCE_INLINE constexpr std::size_t row_head_bytes(TableFormat format) { return has_row_head(format) ? 4 : 0; }
SEMBLANCE_INLINE constexpr std::size_t row_code_bytes(TableFormat format, std::size_t dim) {
  constexpr std::size_t kBits[kTableFormats] = {32, 16, 16, 8, 4, 2, 8};
  return (dim * kBits[static_cast<std::size_t>(format)] + 7) / 8;
}
SEMBLANCE_INLINE constexpr std::size_t table_row_bytes(TableFormat format, std::size_t dim) {
  return row_head_bytes(format) + row_code_bytes(format, dim);
}

// Where a row is. Two addresses are no rows: a null row is a row of zeros, a padding row is not there at all.
using RowPointer = const std::byte*;
SEMBLANCE_INLINE bool is_zero_row(RowPointer row) { return row == nullptr; }
SEMBLANCE_INLINE bool is_padding_row(RowPointer row) { return reinterpret_cast<std::uintptr_t>(row) == 1; }
SEMBLANCE_INLINE RowPointer padding_row() { return reinterpret_cast<RowPointer>(std::uintptr_t{1}); }
SEMBLANCE_INLINE bool is_no_row(RowPointer row) { return reinterpret_cast<std::uintptr_t>(row) <= 1; }

struct Bags {
  const RowPointer* rows;       // of all bags, rows[offsets[b] - offsets[0]] is the first of bag b
  const float* weights;         // one a row, or null for ones
  const std::int64_t* offsets;  // count + 1
  std::size_t count;
  bool resume;  // the first bag goes on from what `out` holds; the others start afresh
};

// Sums (or takes the largest of) every bag's rows into out[b * out_stride .. + dim]. A bag without rows gives 0 (-inf).
using PoolRows = void (*)(const Bags&, std::size_t dim, float* out, std::size_t out_stride);

// The rows of some examples in one or several fields, of one format and width.
struct RowGrid {
  const RowPointer* rows;  // of field f and example e: rows[f * field_step + e * example_step]
  std::size_t examples, fields, field_step, example_step;
};
// One field after the other, or one example after the other.
SEMBLANCE_INLINE RowGrid grid_by_field(const RowPointer* rows, std::size_t examples, std::size_t fields) {
  return {rows, examples, fields, examples, 1};
}
SEMBLANCE_INLINE RowGrid grid_by_example(const RowPointer* rows, std::size_t examples, std::size_t fields) {
  return {rows, examples, fields, 1, fields};
}

// out[e * out_stride + f * dim .. + dim] = the row of example e and field f. Padding is a row of zeros here.
using GatherRows = void (*)(const RowGrid&, std::size_t dim, float* out, std::size_t out_stride);

// out[i] = fma(scale, dot(query, codes), bias * query_sum), summed in 16 lanes whatever the instruction set.
using ScoreTableRows = void (*)(const RowPointer* rows, std::size_t count, std::size_t dim, const float* query,
                                float query_sum, float* out);

struct TableKernels {
  PoolRows pool_sum[kTableFormats];
  PoolRows pool_max[kTableFormats];
  GatherRows gather[kTableFormats];
  ScoreTableRows score[kTableFormats];
};

}  // namespace semblance::kernels
