// Rows of i8 codes cut into halves: i4, the upper ones alone, and i4x2, both, of which a walk reads the upper ones.
#include <cstring>

#include "codec/codec.hpp"
#include "core/active_kernels.hpp"

namespace semblance {
namespace {

using kernels::RowFormat;

constexpr auto kI8 = static_cast<std::size_t>(RowFormat::i8);
constexpr std::size_t kRowAlignment = 16;  // rows then cross one cache line fewer than unaligned ones

class NibbleCodec final : public Codec {
 public:
  NibbleCodec(RowFormat format, std::string name, std::size_t dim, Metric metric)
      : Codec(std::move(name), dim),
        format_(static_cast<std::size_t>(format)),
        score_(static_cast<std::size_t>(score_of(metric))) {}

  std::size_t input_bytes() const override { return dim() * sizeof(float); }
  std::size_t row_bytes() const override {
    const std::size_t bytes = two_planes() ? kernels::i4x2_row_bytes(dim()) : kernels::i4_row_bytes(dim());
    return (bytes + kRowAlignment - 1) / kRowAlignment * kRowAlignment;
  }
  void encode(const std::byte* rows, std::size_t n, std::byte* codes) const override {
    require_table().encode_rows[format_](reinterpret_cast<const float*>(rows), n, dim(), codes, row_bytes());
  }
  void decode(const std::byte* codes, std::size_t n, std::byte* rows) const override {
    require_table().decode_rows[format_]({codes, row_bytes(), dim()}, n, reinterpret_cast<float*>(rows));
  }
  // Queries are i8 codes for both.
  void prepare(const std::byte* query, PreparedQuery& out) const override {
    AlignedVector<std::byte> row(kernels::i8_row_bytes(dim()));
    require_table().encode_rows[kI8](reinterpret_cast<const float*>(query), 1, dim(), row.data(), row.size());
    float tail[2];
    std::memcpy(tail, row.data() + kernels::i8_tail_offset(dim()), sizeof tail);
    take([&](std::size_t j) { return static_cast<std::int32_t>(row[j]) - 128; }, tail[0], tail[1], out);
  }
  void prepare_row(const std::byte* codes, PreparedQuery& out) const override {
    float tail[2];
    std::memcpy(tail, codes + plane(), sizeof tail);
    if (!two_planes()) {
      take([&](std::size_t j) { return 2 * half(codes, j) - 15; }, tail[0], tail[1], out);
      return;
    }
    const std::byte* lower = codes + kernels::i4_row_bytes(dim());
    std::memcpy(tail, lower + plane(), sizeof tail[0]);
    take([&](std::size_t j) { return 16 * half(codes, j) + half(lower, j) - 128; }, tail[0], tail[1], out);
  }
  kernels::ScoreRows scorer() const override { return require_table().score_rows[format_][score_]; }

 private:
  bool two_planes() const { return format_ == static_cast<std::size_t>(RowFormat::i4x2); }
  std::size_t plane() const { return kernels::i4_plane_bytes(dim()); }
  std::int32_t half(const std::byte* plane_of, std::size_t j) const {
    return j < plane() ? static_cast<std::int32_t>(plane_of[j]) & 15
                       : static_cast<std::int32_t>(plane_of[j - plane()]) >> 4;
  }
  template <class CodeOf>
  void take(const CodeOf& code_of, float scale, float squared_norm, PreparedQuery& out) const {
    out.values.assign(2 * plane(), std::byte{0});
    std::int32_t sum = 0;
    for (std::size_t j = 0; j < dim(); ++j) {
      const auto code = static_cast<std::int8_t>(code_of(j));
      out.values[j] = static_cast<std::byte>(code);
      sum += code;
    }
    out.query = {out.values.data(), scale, squared_norm, sum};
  }

  const std::size_t format_, score_;
};

}  // namespace

std::unique_ptr<Codec> make_i4_codec(std::string name, std::size_t dim, Metric metric) {
  return std::make_unique<NibbleCodec>(RowFormat::i4, std::move(name), dim, metric);
}
std::unique_ptr<Codec> make_i4x2_codec(std::string name, std::size_t dim, Metric metric) {
  return std::make_unique<NibbleCodec>(RowFormat::i4x2, std::move(name), dim, metric);
}

}  // namespace semblance
