#include "reference.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

namespace semblance::reference {
namespace {

template <class T>
T load(const std::byte* p) {
  T x;
  std::memcpy(&x, p, sizeof x);
  return x;
}

// A binary floating-point format of 16 bits with an IEEE layout.
struct SmallFloat {
  int exponent_bits, mantissa_bits;
  int bias() const { return (1 << (exponent_bits - 1)) - 1; }
  int max_exponent() const { return (1 << exponent_bits) - 1; }

  double value(std::uint16_t bits) const {
    const double sign = (bits & 0x8000U) != 0 ? -1.0 : 1.0;
    const int exponent = (bits >> mantissa_bits) & max_exponent();
    const int mantissa = bits & ((1 << mantissa_bits) - 1);
    if (exponent == max_exponent()) return mantissa == 0 ? sign * INFINITY : NAN;
    const int whole = exponent == 0 ? mantissa : mantissa + (1 << mantissa_bits);
    return sign * std::ldexp(whole, std::max(exponent, 1) - bias() - mantissa_bits);
  }

  std::uint16_t bits(float x) const {
    const std::uint16_t sign = std::signbit(x) ? 0x8000U : 0U;
    const double magnitude = std::fabs(static_cast<double>(x));
    int exponent = magnitude == 0.0 ? 0 : std::max(std::ilogb(magnitude) + bias(), 1);
    if (exponent == 0) return sign;
    double whole = std::nearbyint(std::ldexp(magnitude, mantissa_bits + bias() - exponent));
    if (whole == std::ldexp(1.0, mantissa_bits + 1)) {  // rounded up to the next power of two
      whole /= 2;
      ++exponent;
    }
    if (exponent >= max_exponent()) return static_cast<std::uint16_t>(sign | max_exponent() << mantissa_bits);
    const auto mantissa = static_cast<int>(whole);
    const bool subnormal = mantissa < 1 << mantissa_bits;
    const int stored = subnormal ? mantissa : (exponent << mantissa_bits) + (mantissa - (1 << mantissa_bits));
    return static_cast<std::uint16_t>(sign | stored);
  }
};

constexpr SmallFloat kF16{5, 10}, kBf16{8, 7};

double query_value(RowFormat format, const Query& query, std::size_t j) {
  const auto* values = static_cast<const std::byte*>(query.values);
  if (format == RowFormat::i8 || format == RowFormat::i4 || format == RowFormat::i4x2)
    return static_cast<double>(query.scale) * static_cast<double>(load<std::int8_t>(values + j));
  return static_cast<double>(load<float>(values + 4 * j));
}

// The half of value j in a plane of an i4 row.
int half(const std::byte* plane, std::size_t dim, std::size_t j) {
  const std::size_t bytes = kernels::i4_plane_bytes(dim);
  return j < bytes ? std::to_integer<int>(plane[j]) & 15 : std::to_integer<int>(plane[j - bytes]) >> 4;
}

Truth score_bits(Score metric, const Query& query, const std::byte* row, std::size_t dim) {
  const auto* values = static_cast<const std::byte*>(query.values);
  int differing = 0, common = 0, united = 0;
  for (std::size_t j = 0; j < dim / 8; ++j) {
    const auto a = std::to_integer<unsigned>(values[j]), b = std::to_integer<unsigned>(row[j]);
    differing += std::popcount(a ^ b);
    common += std::popcount(a & b);
    united += std::popcount(a | b);
  }
  if (metric == Score::hamming) return {static_cast<double>(differing), static_cast<double>(dim)};
  return {united == 0 ? 0.0 : 1.0 - static_cast<double>(common) / united, 1.0};
}

}  // namespace

double f16_value(std::uint16_t bits) { return kF16.value(bits); }
double bf16_value(std::uint16_t bits) { return kBf16.value(bits); }
std::uint16_t f16_bits(float x) { return kF16.bits(x); }
std::uint16_t bf16_bits(float x) { return kBf16.bits(x); }

std::size_t row_bytes(RowFormat format, std::size_t dim) {
  switch (format) {
    case RowFormat::f32:
      return 4 * dim;
    case RowFormat::f16:
    case RowFormat::bf16:
      return 2 * dim;
    case RowFormat::i8:
      return kernels::i8_row_bytes(dim);
    case RowFormat::i4:
      return kernels::i4_row_bytes(dim);
    case RowFormat::i4x2:
      return kernels::i4x2_row_bytes(dim);
    case RowFormat::bits:
      return dim / 8;
  }
  return 0;
}

double value(RowFormat format, const std::byte* row, std::size_t dim, std::size_t j) {
  switch (format) {
    case RowFormat::f32:
      return static_cast<double>(load<float>(row + 4 * j));
    case RowFormat::f16:
      return f16_value(load<std::uint16_t>(row + 2 * j));
    case RowFormat::bf16:
      return bf16_value(load<std::uint16_t>(row + 2 * j));
    case RowFormat::i8:
      return static_cast<double>(load<float>(row + kernels::i8_tail_offset(dim))) *
             (std::to_integer<int>(row[j]) - 128);
    case RowFormat::i4:
      return static_cast<double>(load<float>(row + kernels::i4_plane_bytes(dim))) * (2 * half(row, dim, j) - 15);
    case RowFormat::i4x2:
      return static_cast<double>(load<float>(row + kernels::i4x2_row_bytes(dim) - 4)) *
             (16 * half(row, dim, j) + half(row + kernels::i4_row_bytes(dim), dim, j) - 128);
    case RowFormat::bits:
      break;
  }
  return std::numeric_limits<double>::quiet_NaN();
}

Truth score(RowFormat format, Score metric, const Query& query, const std::byte* row, std::size_t dim) {
  if (format == RowFormat::bits) return score_bits(metric, query, row, dim);
  Truth truth{0.0, 0.0};
  // i4 rows keep the norm of the row that they stand for, not their own.
  const bool by_norm = format == RowFormat::i4 && metric == Score::l2;
  if (by_norm) {
    truth.value = static_cast<double>(query.squared_norm) +
                  static_cast<double>(load<float>(row + kernels::i4_plane_bytes(dim) + 4));
    truth.magnitude = truth.value;
  }
  for (std::size_t j = 0; j < dim; ++j) {
    const double q = query_value(format, query, j), r = value(format, row, dim, j);
    truth.value += by_norm ? -2.0 * q * r : metric == Score::l2 ? (q - r) * (q - r) : -q * r;
    // The kernels of codes add up squared norms, so their errors follow those.
    truth.magnitude +=
        format >= RowFormat::i8 ? q * q + r * r : (metric == Score::l2 ? (q - r) * (q - r) : std::fabs(q * r));
  }
  if (by_norm) truth.value = std::max(truth.value, 0.0);
  return truth;
}

void encode_i8(const float* x, std::size_t dim, std::byte* out) {
  float largest = 0.0F;
  for (std::size_t j = 0; j < dim; ++j) largest = std::max(largest, std::fabs(x[j]));
  const float scale = largest / 127.0F;
  double squares = 0.0;
  std::memset(out, 0, kernels::i8_row_bytes(dim));
  for (std::size_t j = 0; j < dim; ++j) {
    const float code = scale > 0.0F ? std::clamp(std::nearbyint(x[j] / scale), -127.0F, 127.0F) : 0.0F;
    out[j] = static_cast<std::byte>(static_cast<int>(code) + 128);
    squares += static_cast<double>(code) * static_cast<double>(code);
  }
  const float tail[2] = {scale, static_cast<float>(static_cast<double>(scale) * static_cast<double>(scale) * squares)};
  std::memcpy(out + kernels::i8_tail_offset(dim), tail, sizeof tail);
}

void encode_i4(RowFormat format, const float* x, std::size_t dim, std::byte* out) {
  std::vector<std::byte> codes(kernels::i8_row_bytes(dim));
  encode_i8(x, dim, codes.data());
  const std::size_t plane = kernels::i4_plane_bytes(dim), lower = kernels::i4_row_bytes(dim);
  codes.resize(std::max(codes.size(), 2 * plane));
  float tail[2];
  std::memcpy(tail, codes.data() + kernels::i8_tail_offset(dim), sizeof tail);
  double squares = 0.0, along = 0.0;
  for (std::size_t j = 0; j < 2 * plane; ++j) {
    const unsigned code = j < dim ? std::to_integer<unsigned>(codes[j]) : 128U;
    const unsigned shift = j < plane ? 0 : 4;
    const std::byte upper{static_cast<unsigned char>((code >> 4U) << shift)};
    const std::byte rest{static_cast<unsigned char>((code & 15U) << shift)};
    std::byte &first = out[j % plane], &second = out[lower + j % plane];
    first = j < plane ? upper : first | upper;
    if (format == RowFormat::i4x2) second = j < plane ? rest : second | rest;
    const double value = static_cast<double>(code) - 128.0;
    squares += value * value;
    along += value * (2.0 * static_cast<double>(code >> 4U) - 15.0);
  }
  const double scale = static_cast<double>(tail[0]);
  const float front[2] = {along > 0.0 ? static_cast<float>(scale * squares / along) : 0.0F, tail[1]};
  std::memcpy(out + plane, front, sizeof front);
  if (format == RowFormat::i4x2) std::memcpy(out + kernels::i4x2_row_bytes(dim) - 4, tail, 4);
}

}  // namespace semblance::reference
