// The slow truth that every kernel is tested against: one value at a time, in double precision, straight from the
// definitions in kernel_table.hpp. Linked by tests and benchmarks only.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernel_table.hpp"

namespace semblance::reference {

using kernels::Query;
using kernels::RowFormat;
using kernels::Score;

struct Truth {
  double value;
  double magnitude;  // sum of the magnitudes of what was added up: rounding errors are bounded by a share of it
};

// What score_rows gives for one row.
Truth score(RowFormat, Score, const Query&, const std::byte* row, std::size_t dim);

// The j-th value of a row of any format but bits.
double value(RowFormat, const std::byte* row, std::size_t dim, std::size_t j);

std::size_t row_bytes(RowFormat, std::size_t dim);

double f16_value(std::uint16_t bits);
double bf16_value(std::uint16_t bits);
// Nearest value, ties to even; x is finite.
std::uint16_t f16_bits(float x);
std::uint16_t bf16_bits(float x);

// One i8 row with its padding and tail; codes are x / scale in f32, to the nearest integer, ties to even.
void encode_i8(const float* x, std::size_t dim, std::byte* out);
// One i4 or i4x2 row: the halves of the i8 codes.
void encode_i4(RowFormat, const float* x, std::size_t dim, std::byte* out);

}  // namespace semblance::reference
