#include "codec/difference_codec.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <string>

#include "core/active_kernels.hpp"
#include "core/error.hpp"

namespace semblance {

void SignCodec::place(const float* row, float* out, Scratch& scratch) const {
  AlignedVector<float>& rotated = scratch.rotated;
  rotated.assign(rotation_.rotated_dim(), 0.0F);
  std::copy_n(row, dim_, rotated.data());
  rotation_.apply(rotated.data(), scratch.room);
  std::copy_n(rotated.data(), values(), out);
}

kernels::LinkQuery SignCodec::tabulate(const float* placed, std::uint8_t* tables) const {
  return require_table().links.tabulate(placed, values(), tables);
}

kernels::DifferenceSums SignCodec::write(const float* neighbour, const float* node, unsigned shift,
                                         std::uint8_t* lane) const {
  return require_table().links.write_signs(neighbour, node, values(), shift, lane);
}

namespace {

std::size_t axes_of(const Axes& axes) {
  return (std::size_t{axes.words[0]} + axes.words[1] + axes.words[2]) * kernels::kLinkPadding;
}

std::size_t groups_of(const Axes& axes) {
  return kernels::LinkAxes{nullptr, 0.0F, axes.words[0], axes.words[1], axes.words[2]}.groups();
}

}  // namespace

LevelCodec::LevelCodec(std::size_t dim, Axes axes)
    : DifferenceCodec(axes_of(axes), groups_of(axes)),
      codec_(make_i8_codec("i8", dim, Metric::ip)),
      axes_(std::move(axes)),
      reach_(std::sqrt(std::inner_product(axes_.spread.begin(), axes_.spread.end(), axes_.spread.begin(), 0.0F))) {}

std::unique_ptr<LevelCodec> LevelCodec::checked(std::size_t dim, Axes axes) {
  const auto require = [](bool holds, const char* name, const std::string& want, const std::string& got) {
    if (!holds) throw FormatError(expected(name, want, got));
  };
  std::uint64_t count = 0;
  for (const std::uint32_t words : axes.words) count += std::uint64_t{words} * kernels::kLinkPadding;
  require(count > 0 && count == axes.spread.size(), "axes.words", std::to_string(axes.spread.size()) + " axes, some",
          std::to_string(count));
  const std::size_t most = SignCodec(dim, 0).groups();
  require(groups_of(axes) <= most, "axes.words", "at most " + std::to_string(most) + " groups",
          std::to_string(groups_of(axes)));
  const std::size_t row_bytes = basis_row_bytes(dim);
  for (std::size_t i = 0; i < count; ++i) {
    float tail[2];
    std::memcpy(tail, &axes.basis[i * row_bytes + kernels::i8_tail_offset(dim)], sizeof tail);
    require(std::isfinite(tail[0]) && std::isfinite(tail[1]), "axes.basis", "finite numbers", std::to_string(tail[0]));
    require(std::isfinite(axes.offset[i]), "axes.offset", "finite numbers", std::to_string(axes.offset[i]));
    require(axes.spread[i] > 0.0F && std::isfinite(axes.spread[i]), "axes.spread", "finite numbers above 0",
            std::to_string(axes.spread[i]));
  }
  return std::make_unique<LevelCodec>(dim, std::move(axes));
}

void LevelCodec::place(const float* row, float* out, Scratch& scratch) const {
  codec_->prepare(reinterpret_cast<const std::byte*>(row), scratch.query);
  const kernels::Rows basis{axes_.basis.data(), codec_->row_bytes(), codec_->dim()};
  codec_->scorer()(scratch.query.query, basis, nullptr, values(), out);
  for (std::size_t i = 0; i < values(); ++i) out[i] = -out[i] - axes_.offset[i];  // scores are minus inner products
}

kernels::LinkQuery LevelCodec::tabulate(const float* placed, std::uint8_t* tables) const {
  return require_table().links.tabulate_levels(plan(), placed, tables);
}

kernels::DifferenceSums LevelCodec::write(const float* neighbour, const float* node, unsigned shift,
                                          std::uint8_t* lane) const {
  return require_table().links.write_levels(plan(), neighbour, node, shift, lane);
}

}  // namespace semblance
