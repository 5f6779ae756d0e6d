// f32, f16 and bf16 rows, scored against an f32 query.
#include <cstring>

#include "codec/codec.hpp"
#include "core/active_kernels.hpp"

namespace semblance {
namespace {

using kernels::RowFormat;

class DenseCodec final : public Codec {
 public:
  DenseCodec(RowFormat format, std::string name, std::size_t dim, Metric metric)
      : Codec(std::move(name), dim),
        format_(static_cast<std::size_t>(format)),
        score_(static_cast<std::size_t>(score_of(metric))) {}

  std::size_t input_bytes() const override { return dim() * sizeof(float); }
  std::size_t row_bytes() const override { return dim() * (is_f32() ? sizeof(float) : sizeof(std::uint16_t)); }

  void encode(const std::byte* rows, std::size_t n, std::byte* codes) const override {
    require_table().encode_rows[format_](reinterpret_cast<const float*>(rows), n, dim(), codes, row_bytes());
  }
  void decode(const std::byte* codes, std::size_t n, std::byte* rows) const override {
    require_table().decode_rows[format_]({codes, row_bytes(), dim()}, n, reinterpret_cast<float*>(rows));
  }
  void prepare(const std::byte* query, PreparedQuery& out) const override {
    out.values.assign(query, query + input_bytes());
    out.query = {out.values.data()};
  }
  void prepare_row(const std::byte* codes, PreparedQuery& out) const override {
    if (is_f32()) {
      out.query = {codes};
      return;
    }
    out.values.resize(input_bytes());
    decode(codes, 1, out.values.data());
    out.query = {out.values.data()};
  }
  bool scores_as_decoded() const override { return true; }
  kernels::ScoreRows scorer() const override { return require_table().score_rows[format_][score_]; }

 private:
  bool is_f32() const { return format_ == static_cast<std::size_t>(RowFormat::f32); }
  std::size_t format_, score_;
};

}  // namespace

std::unique_ptr<Codec> make_dense_codec(RowFormat format, std::string name, std::size_t dim, Metric metric) {
  return std::make_unique<DenseCodec>(format, std::move(name), dim, metric);
}

}  // namespace semblance
