#include <bit>

#include "core/rng.hpp"
#include "table/row_source.hpp"

namespace semblance {
namespace {

constexpr float kUnit = 0x1p-24F;                  // 24 random bits are exact in f32
constexpr float kUniformDeviation = 0.288675135F;  // of [0, 1): 1 / sqrt(12)
constexpr float kCoinsDeviation = 4.01040314F;     // sqrt(64 / 4 + 1 / 12)

float centred(std::uint64_t bits) { return static_cast<float>(bits >> 40) * kUnit - 0.5F; }

class SeededRows final : public RowSource {
 public:
  explicit SeededRows(const Seeded& parameters)
      : parameters_(parameters),
        scale_(parameters.deviation /
               (parameters.distribution == Distribution::normal ? kCoinsDeviation : kUniformDeviation)) {}

  std::size_t dim() const override { return parameters_.dim; }
  std::size_t row_bytes() const override { return parameters_.dim * sizeof(float); }

  void make(std::span<const std::int64_t> numbers, OutputRows out) const override {
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      const std::uint64_t row = mix64(parameters_.seed ^ mix64(static_cast<std::uint64_t>(numbers[i])));
      float* values = out.from(i).data;
      if (parameters_.distribution == Distribution::normal) {
        for (std::size_t j = 0; j < parameters_.dim; ++j) values[j] = normal(mix64(row + j)) * scale_;
      } else {
        for (std::size_t j = 0; j < parameters_.dim; ++j) values[j] = centred(mix64(row + j)) * scale_;
      }
    }
  }

 private:
  static float normal(std::uint64_t coins) {
    return static_cast<float>(std::popcount(coins) - 32) + centred(mix64(~coins));
  }

  Seeded parameters_;
  float scale_;
};

}  // namespace

std::unique_ptr<RowSource> seeded_rows(const Seeded& parameters) { return std::make_unique<SeededRows>(parameters); }

}  // namespace semblance
