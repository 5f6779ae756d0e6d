// Encoding and decoding of every table: each 16-bit pattern, every exponent, ties, overflow, i8 rows with their tails.
#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "guarded.hpp"
#include "kernel_tables.hpp"
#include "reference.hpp"

using namespace semblance;
using namespace semblance::kernels;

namespace {

float from_bits(std::uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

using Encode16 = std::uint16_t (*)(float);
using Value16 = double (*)(std::uint16_t);

// Rows of 1 to 37 values, so that whole registers and every tail see all kinds of values.
void encode_16(const KernelTable& table, RowFormat format, Encode16 truth, const std::vector<float>& values) {
  const test::Guarded in(4 * 37), out(2 * 37);
  std::size_t dim = 1;
  for (std::size_t done = 0; done < values.size(); done += dim, dim = dim % 37 + 1) {
    dim = std::min(dim, values.size() - done);
    const auto* from = reinterpret_cast<const float*>(in.copy(values.data() + done, 4 * dim));
    std::byte* to = out.tail(2 * dim);
    table.encode_rows[static_cast<int>(format)](from, 1, dim, to, 2 * dim);
    for (std::size_t j = 0; j < dim; ++j) {
      std::uint16_t got;
      std::memcpy(&got, to + 2 * j, 2);
      CHECK(got == truth(from[j]));
    }
  }
}

void decode_16(const KernelTable& table, RowFormat format, Value16 truth) {
  const test::Guarded in(2 * 37), out(4 * 37);
  std::vector<std::uint16_t> patterns(65536);
  for (std::size_t i = 0; i < patterns.size(); ++i) patterns[i] = static_cast<std::uint16_t>(i);
  std::size_t dim = 1;
  for (std::size_t done = 0; done < patterns.size(); done += dim, dim = dim % 37 + 1) {
    dim = std::min(dim, patterns.size() - done);
    const std::byte* from = in.copy(patterns.data() + done, 2 * dim);
    auto* to = out.tail_of<float>(dim);
    table.decode_rows[static_cast<int>(format)]({from, 2 * dim, dim}, 1, to);
    for (std::size_t j = 0; j < dim; ++j) {
      const double want = truth(patterns[done + j]);
      const bool same = static_cast<double>(to[j]) == want && std::signbit(to[j]) == std::signbit(want);
      CHECK(std::isnan(want) ? std::isnan(to[j]) : same);
    }
  }
}

// Every exponent with random mantissas; the 16-bit values themselves, the ties between them, and their neighbours.
std::vector<float> telling_values(Value16 value) {
  std::mt19937 random(3);
  std::vector<float> values;
  for (std::uint32_t exponent = 0; exponent < 255; ++exponent)
    for (int i = 0; i < 16; ++i) values.push_back(from_bits((random() & 0x807FFFFFU) | exponent << 23));
  for (std::uint32_t bits = 0; bits < 0x7F7F; bits += 1 + bits % 3) {
    const double low = value(static_cast<std::uint16_t>(bits)), high = value(static_cast<std::uint16_t>(bits + 1));
    if (!std::isfinite(low) || !std::isfinite(high)) continue;
    const auto tie = static_cast<float>((low + high) / 2);
    for (float x : {static_cast<float>(low), tie, std::nextafter(tie, 0.0F), std::nextafter(tie, INFINITY)}) {
      values.push_back(x);
      values.push_back(-x);
    }
  }
  for (float x : {65504.0F, 65519.996F, 65520.0F, 65536.0F, FLT_MAX, FLT_MIN, FLT_TRUE_MIN, 0.0F, -0.0F})
    values.push_back(x);
  return values;
}

void specials(const KernelTable& table) {
  const float values[] = {INFINITY, -INFINITY, NAN, from_bits(0x7F800001U), from_bits(0xFFFFFFFFU)};
  for (RowFormat format : {RowFormat::f16, RowFormat::bf16}) {
    std::uint16_t codes[5];
    float back[5];
    table.encode_rows[static_cast<int>(format)](values, 1, 5, reinterpret_cast<std::byte*>(codes), 10);
    table.decode_rows[static_cast<int>(format)]({reinterpret_cast<std::byte*>(codes), 10, 5}, 1, back);
    CHECK(back[0] == INFINITY && back[1] == -INFINITY && std::isnan(back[2]) && std::isnan(back[3]) &&
          std::isnan(back[4]));
  }
}

void check_i8(const KernelTable& table, const std::vector<float>& x, std::size_t n, std::size_t padding) {
  const std::size_t dim = x.size() / n, bytes = i8_row_bytes(dim), stride = bytes + padding;
  const test::Guarded in(4 * x.size()), out(n * stride), back(4 * x.size());
  std::byte* to = out.tail((n - 1) * stride + bytes);
  std::memset(to, 0xA5, (n - 1) * stride + bytes);
  table.encode_rows[3](reinterpret_cast<const float*>(in.copy(x.data(), 4 * x.size())), n, dim, to, stride);
  auto* decoded = back.tail_of<float>(x.size());
  table.decode_rows[3]({to, stride, dim}, n, decoded);
  std::vector<std::byte> want(bytes);
  for (std::size_t i = 0; i < n; ++i) {
    reference::encode_i8(x.data() + i * dim, dim, want.data());
    CHECK(std::memcmp(to + i * stride, want.data(), bytes) == 0);
    for (std::size_t p = bytes; p < stride && i + 1 < n; ++p) CHECK(to[i * stride + p] == std::byte{0xA5});
    float scale;
    std::memcpy(&scale, want.data() + i8_tail_offset(dim), 4);
    for (std::size_t j = 0; j < dim; ++j) {
      CHECK(decoded[i * dim + j] == scale * static_cast<float>(std::to_integer<int>(want[j]) - 128));
      CHECK(std::fabs(decoded[i * dim + j] - x[i * dim + j]) <= 0.501F * scale + FLT_TRUE_MIN * 127.0F);
    }
  }
}

void i8_rows(const KernelTable& table) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  for (std::size_t dim : {1U, 2U, 3U, 4U, 5U, 15U, 16U, 17U, 31U, 32U, 33U, 383U, 384U, 1025U})
    for (float size : {1.0F, 1e-20F, 1e18F, 1e-42F, 0.0F}) {
      std::vector<float> x(3 * dim);
      for (float& each : x) each = size * normal(random);
      for (std::size_t padding : {0U, 3U}) check_i8(table, x, 3, padding);
    }
  check_i8(table, std::vector<float>(40, -2.5F), 2, 1);
  check_i8(table, {0.5F, 1.5F, 2.5F, -0.5F, -1.5F, -2.5F, 127.0F, 126.5F, -126.5F}, 1, 0);  // ties, at scale 1
  table.encode_rows[3](nullptr, 0, 8, nullptr, 16);
  table.decode_rows[3]({nullptr, 16, 8}, 0, nullptr);
}

void f32_rows(const KernelTable& table) {
  const std::vector<float> x = {1.0F, -2.0F, 3.5F, 0.0F, 5.0F, 6.0F};
  std::byte out[40];
  std::memset(out, 0x5A, sizeof out);
  table.encode_rows[0](x.data(), 2, 3, out, 17);
  CHECK(std::memcmp(out, x.data(), 12) == 0 && std::memcmp(out + 17, x.data() + 3, 12) == 0);
  CHECK(out[12] == std::byte{0x5A} && out[29] == std::byte{0x5A});
  float back[6];
  table.decode_rows[0]({out, 17, 3}, 2, back);
  CHECK(std::memcmp(back, x.data(), sizeof back) == 0);
}

}  // namespace

int main() {
  const auto f16 = telling_values(reference::f16_value), bf16 = telling_values(reference::bf16_value);
  for (const KernelTable* table : test::all_tables()) {
    encode_16(*table, RowFormat::f16, reference::f16_bits, f16);
    encode_16(*table, RowFormat::bf16, reference::bf16_bits, bf16);
    decode_16(*table, RowFormat::f16, reference::f16_value);
    decode_16(*table, RowFormat::bf16, reference::bf16_value);
    specials(*table);
    i8_rows(*table);
    f32_rows(*table);
  }
}
