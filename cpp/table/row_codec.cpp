#include "table/row_codec.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>

#include "core/error.hpp"
#include "core/half.hpp"

namespace semblance {
namespace {

constexpr std::array<const char*, kernels::kTableFormats> kNames = {"f32", "f16", "bf16", "i8", "i4", "i2", "fp8"};
constexpr float kLargestHalf = 65504.0F;
constexpr float kLargestE4m3 = 448.0F;
constexpr std::size_t kGrainValues = 1 << 16;

void put_half(std::byte* p, std::uint16_t half) { std::memcpy(p, &half, sizeof half); }

void put_head(std::byte* row, std::uint16_t scale, std::uint16_t bias) {
  put_half(row, scale);
  put_half(row + 2, bias);
}

template <std::uint16_t (*kNarrow)(float)>
void encode_halves(const float* x, std::size_t dim, std::byte* out) {
  for (std::size_t j = 0; j < dim; ++j) put_half(out + 2 * j, kNarrow(x[j]));
}

template <unsigned kBits>
void encode_integers(const float* x, std::size_t dim, std::byte* out) {
  constexpr float kLevels = (1U << kBits) - 1U;
  constexpr std::size_t kPerByte = 8 / kBits;
  const auto [least, largest] = std::minmax_element(x, x + dim);
  const std::uint16_t bias_half = float_to_half_down(*least);
  const float bias = half_to_float(bias_half);
  std::uint16_t scale_half = float_to_half_up((*largest - bias) / kLevels);
  if (scale_half == 0x8000U || scale_half == 0) scale_half = 0x3C00U;  // a constant row: any scale will do
  const float scale = half_to_float(scale_half);
  put_head(out, scale_half, bias_half);
  auto* codes = reinterpret_cast<unsigned char*>(out + 4);
  std::memset(codes, 0, (dim + kPerByte - 1) / kPerByte);
  for (std::size_t j = 0; j < dim; ++j) {
    const float level = std::min((x[j] - bias) / scale, kLevels);
    const auto code = static_cast<unsigned>(level + 0.5F);
    codes[j / kPerByte] = static_cast<unsigned char>(codes[j / kPerByte] | code << (j % kPerByte * kBits));
  }
}

void encode_fp8(const float* x, std::size_t dim, std::byte* out) {
  float largest = 0;
  for (std::size_t j = 0; j < dim; ++j) largest = std::max(largest, std::fabs(x[j]));
  const std::uint16_t scale_half = largest > 0 ? float_to_half_up(largest / kLargestE4m3) : std::uint16_t{0x3C00U};
  const float scale = half_to_float(scale_half);
  put_head(out, scale_half, 0);
  for (std::size_t j = 0; j < dim; ++j) out[4 + j] = static_cast<std::byte>(float_to_e4m3(x[j] / scale));
}

void encode_row(TableFormat format, const float* x, std::size_t dim, std::byte* out) {
  switch (format) {
    case TableFormat::f32:
      std::memcpy(out, x, dim * sizeof(float));
      return;
    case TableFormat::f16:
      return encode_halves<float_to_half>(x, dim, out);
    case TableFormat::bf16:
      return encode_halves<float_to_bfloat>(x, dim, out);
    case TableFormat::i8:
      return encode_integers<8>(x, dim, out);
    case TableFormat::i4:
      return encode_integers<4>(x, dim, out);
    case TableFormat::i2:
      return encode_integers<2>(x, dim, out);
    case TableFormat::fp8:
      return encode_fp8(x, dim, out);
  }
}

// The largest magnitude whose code, head included, is finite.
float largest_value(TableFormat format) {
  if (format == TableFormat::f32) return std::numeric_limits<float>::max();
  if (format == TableFormat::bf16) return 0x1.FEp127F;
  if (format == TableFormat::fp8) return kLargestHalf * kLargestE4m3;
  return kLargestHalf;
}

void check_row(TableFormat format, const float* x, std::size_t dim, std::size_t row) {
  const float limit = largest_value(format);
  bool fits = true;
  for (std::size_t j = 0; j < dim; ++j) fits &= std::fabs(x[j]) <= limit;  // false for NaN
  if (fits) return;
  const float worst = *std::find_if(x, x + dim, [&](float v) { return !(std::fabs(v) <= limit); });
  throw ArgumentError(expected("weights", std::string("finite values within the range of ") + table_format_name(format),
                               std::to_string(worst) + " in row " + std::to_string(row)));
}

}  // namespace

const char* table_format_name(TableFormat format) { return kNames[static_cast<std::size_t>(format)]; }

std::optional<TableFormat> find_table_format(std::string_view name) {
  const auto* found = std::find(kNames.begin(), kNames.end(), name);
  if (found == kNames.end()) return std::nullopt;
  return static_cast<TableFormat>(found - kNames.begin());
}

void encode_table_rows(TableFormat format, Matrix<const float> rows, std::byte* out, std::size_t threads,
                       Monitor* monitor) {
  const std::size_t row_bytes = kernels::table_row_bytes(format, rows.cols);
  parallel_for(
      rows.rows, threads, kGrainValues / std::max<std::size_t>(rows.cols, 1) + 1,
      [&](std::size_t begin, std::size_t end, std::size_t) {
        for (std::size_t i = begin; i < end; ++i) {
          check_row(format, rows.row(i), rows.cols, i);
          encode_row(format, rows.row(i), rows.cols, out + i * row_bytes);
        }
      },
      monitor);
}

}  // namespace semblance
