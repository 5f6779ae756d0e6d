// The face of the kernels: row layouts, function-pointer types and the one table that dispatch chooses.
// Kernels are pure functions on pointers. They check nothing: every size and pointer was checked at the binding.
#pragma once

#include <cstddef>
#include <cstdint>

#include "link_kernels.hpp"
#include "table_kernels.hpp"

namespace semblance::kernels {

enum class Isa : std::uint8_t { scalar, neon, avx2, avx512, avx512vnni };
inline constexpr std::size_t kIsas = 5;

// How the values of one row are stored. A row starts at `data + id * stride`; no alignment is promised.
//   f32, f16, bf16   dim values
//   i8               dim bytes code + 128 (code in [-127, 127], value = scale * code), zero padding up to a multiple of
//                    four bytes, then f32 scale, f32 squared norm of the decoded row: see `i8_row_bytes`. dim is at
//                    most kMaxDimI8, so that 32-bit sums of products cannot overflow
//   i4               the upper halves h of a row's i8 codes, two a byte: byte b holds value b in its lower half and
//   value
//                    b + i4_plane_bytes in its upper one, missing values being 8. Then f32 scale and f32 squared norm
//                    of the decoded i8 row; value = scale * (2 h - 15), the scale being such that the inner product of
//                    the i4 row and the i8 row is that squared norm: estimates of inner products then miss only what
//                    lies across the row (as in RaBitQ, Gao and Long, SIGMOD 2024)
//   i4x2             an i4 row, then the lower halves in the same order, then f32 scale of the i8 row: all of an i8
//   row,
//                    whose front is read for a rough score (as in LVQ, Aguerrebere et al., VLDB 2023)
//   bits             dim packed bits, dim a multiple of 8
enum class RowFormat : std::uint8_t { f32, f16, bf16, i8, i4, i4x2, bits };
inline constexpr std::size_t kRowFormats = 7;

// Smaller is closer in all of them: ip is minus the inner product, l2 the squared distance, hamming the number of
// differing bits, jaccard 1 - |a and b| / |a or b| (0 where both are empty).
enum class Score : std::uint8_t { ip, l2, hamming, jaccard };
inline constexpr std::size_t kScores = 4;

struct Rows {
  const std::byte* data;
  std::size_t stride;  // bytes from one row to the next
  std::size_t dim;     // values in a row (bits for RowFormat::bits)
};

// A query in the form that a row format is scored against.
struct Query {
  const void* values;         // f32[dim] for f32, f16 and bf16 rows; i8[dim] for i8 rows; packed bits for bits;
                              // i8[2 * i4_plane_bytes(dim)] for i4 and i4x2 rows, zeros at the end
  float scale = 1.0F;         // i8, i4: value = scale * code
  float squared_norm = 0.0F;  // i8, i4: of the decoded query
  std::int32_t sum = 0;       // i8, i4: sum of the codes, which undoes the offset of the rows' codes
};

inline constexpr std::size_t kMaxDimI8 = 65536;  // 255 * 127 * 65536 < 2^31

// Always inlined: an out-of-line copy would be a weak symbol, built with the flags of whichever object came first.
[[gnu::always_inline]] inline constexpr std::size_t i8_tail_offset(std::size_t dim) { return (dim + 3) / 4 * 4; }
[[gnu::always_inline]] inline constexpr std::size_t i8_row_bytes(std::size_t dim) {
  return i8_tail_offset(dim) + 2 * sizeof(float);
}
[[gnu::always_inline]] inline constexpr std::size_t i4_plane_bytes(std::size_t dim) { return (dim + 7) / 8 * 4; }
[[gnu::always_inline]] inline constexpr std::size_t i4_row_bytes(std::size_t dim) {
  return i4_plane_bytes(dim) + 2 * sizeof(float);
}
[[gnu::always_inline]] inline constexpr std::size_t i4x2_row_bytes(std::size_t dim) {
  return i4_row_bytes(dim) + i4_plane_bytes(dim) + sizeof(float);
}

// Scores `count` rows: those named by `ids`, or rows 0..count-1 where `ids` is null. Prefetches rows ahead.
// Within one table a pair's score is the same bits whatever the batch around it, and the same bits as from score_tile;
// integer formats (i8, i4, i4x2, bits) give the same bits in every
// table, and i4x2 rows the same as the i8 rows of the same values.
using ScoreRows = void (*)(const Query&, const Rows&, const std::uint32_t* ids, std::size_t count, float* out);

// Scores every query (n_queries, dim) f32 against every row (n_rows, dim) f32, both contiguous; out is
// (n_queries, n_rows). l2 sums squared differences, so near duplicates lose no digits.
using ScoreTile = void (*)(const float* queries, std::size_t n_queries, const float* rows, std::size_t n_rows,
                           std::size_t dim, float* out);

// f32 (n, dim) -> codes, and back. Rounds to nearest even; i8, i4 and i4x2 write their
// tails.
using EncodeRows = void (*)(const float* rows, std::size_t n, std::size_t dim, std::byte* out, std::size_t stride);
using DecodeRows = void (*)(const Rows&, std::size_t n, float* out);

struct KernelTable {
  Isa isa;
  const char* name;
  ScoreRows score_rows[kRowFormats][kScores];  // null where the pair has no meaning
  ScoreTile score_tile[2];                     // ip, l2
  EncodeRows encode_rows[kRowFormats - 1];     // all but bits
  DecodeRows decode_rows[kRowFormats - 1];
  TableKernels table;
  LinkKernels links;
};

// The table in use: the best that the processor and the operating system support, or the one that SEMBLANCE_ISA names.
// Chosen at first use. Null only where SEMBLANCE_ISA names an instruction set that is unknown or not supported here.
const KernelTable* active_table() noexcept;

// The table of one instruction set, or null where this build or this machine lacks it.
const KernelTable* table_for(Isa) noexcept;

// What SEMBLANCE_ISA held when active_table() was first called (at most 63 characters of it), "" where it was unset.
const char* requested_isa() noexcept;

// "scalar", "neon", "avx2", "avx512", "avx512vnni"; `find_isa` is false for any other name.
const char* isa_name(Isa) noexcept;
bool find_isa(const char* name, Isa& isa) noexcept;

}  // namespace semblance::kernels
