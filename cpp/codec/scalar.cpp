// i8 rows with a scale of their own, scored against an i8 query: integer dot products.
#include <cstring>

#include "codec/codec.hpp"
#include "core/active_kernels.hpp"

namespace semblance {
namespace {

constexpr auto kI8 = static_cast<std::size_t>(kernels::RowFormat::i8);
constexpr std::size_t kRowAlignment = 16;  // rows then cross one cache line fewer than unaligned ones

// Returns the sum. Pruning does this for every link: nothing may keep the compiler from doing 16 values at a time.
std::int32_t without_offset(const std::byte* __restrict codes, std::size_t dim, std::byte* __restrict out) {
  for (std::size_t i = 0; i < dim; ++i) out[i] = codes[i] ^ std::byte{0x80};
  std::int32_t sum = 0;
  for (std::size_t i = 0; i < dim; ++i) sum += std::to_integer<std::int32_t>(codes[i]);
  return sum - 128 * static_cast<std::int32_t>(dim);
}

class I8Codec final : public Codec {
 public:
  I8Codec(std::string name, std::size_t dim, Metric metric)
      : Codec(std::move(name), dim), score_(static_cast<std::size_t>(score_of(metric))) {}

  std::size_t input_bytes() const override { return dim() * sizeof(float); }
  std::size_t row_bytes() const override {
    return (kernels::i8_row_bytes(dim()) + kRowAlignment - 1) / kRowAlignment * kRowAlignment;
  }
  void encode(const std::byte* rows, std::size_t n, std::byte* codes) const override {
    require_table().encode_rows[kI8](reinterpret_cast<const float*>(rows), n, dim(), codes, row_bytes());
  }
  void decode(const std::byte* codes, std::size_t n, std::byte* rows) const override {
    require_table().decode_rows[kI8]({codes, row_bytes(), dim()}, n, reinterpret_cast<float*>(rows));
  }
  void prepare(const std::byte* query, PreparedQuery& out) const override {
    AlignedVector<std::byte> row(row_bytes());
    encode(query, 1, row.data());
    prepare_row(row.data(), out);
  }
  // A row's codes carry an offset of 128; a query's are signed.
  void prepare_row(const std::byte* codes, PreparedQuery& out) const override {
    out.values.resize(dim());
    float tail[2];
    std::memcpy(tail, codes + kernels::i8_tail_offset(dim()), sizeof tail);
    out.query = {out.values.data(), tail[0], tail[1], without_offset(codes, dim(), out.values.data())};
  }
  kernels::ScoreRows scorer() const override { return require_table().score_rows[kI8][score_]; }

 private:
  std::size_t score_;
};

}  // namespace

std::unique_ptr<Codec> make_i8_codec(std::string name, std::size_t dim, Metric metric) {
  return std::make_unique<I8Codec>(std::move(name), dim, metric);
}

}  // namespace semblance
