// Packed bits, stored as they come.
#include <cstring>

#include "codec/codec.hpp"
#include "core/active_kernels.hpp"

namespace semblance {
namespace {

constexpr auto kBits = static_cast<std::size_t>(kernels::RowFormat::bits);

class BitsCodec final : public Codec {
 public:
  BitsCodec(std::string name, std::size_t dim, Metric metric)
      : Codec(std::move(name), dim), score_(static_cast<std::size_t>(score_of(metric))) {}

  std::size_t input_bytes() const override { return dim() / 8; }
  std::size_t row_bytes() const override { return dim() / 8; }
  void encode(const std::byte* rows, std::size_t n, std::byte* codes) const override {
    std::memcpy(codes, rows, n * row_bytes());
  }
  void decode(const std::byte* codes, std::size_t n, std::byte* rows) const override {
    std::memcpy(rows, codes, n * row_bytes());
  }
  void prepare(const std::byte* query, PreparedQuery& out) const override {
    out.values.assign(query, query + input_bytes());
    out.query = {out.values.data()};
  }
  void prepare_row(const std::byte* codes, PreparedQuery& out) const override { out.query = {codes}; }
  kernels::ScoreRows scorer() const override { return require_table().score_rows[kBits][score_]; }

 private:
  std::size_t score_;
};

}  // namespace

std::unique_ptr<Codec> make_bits_codec(std::string name, std::size_t dim, Metric metric) {
  return std::make_unique<BitsCodec>(std::move(name), dim, metric);
}

}  // namespace semblance
