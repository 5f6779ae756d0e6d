#include "codec/rotation.hpp"

#include <bit>

#include "core/active_kernels.hpp"
#include "core/rng.hpp"

namespace semblance {
namespace {

constexpr std::size_t kRounds = 4;

std::size_t padded(std::size_t dim) {
  return (dim + kernels::kLinkPadding - 1) / kernels::kLinkPadding * kernels::kLinkPadding;
}

}  // namespace

RandomRotation::RandomRotation(std::size_t dim, std::uint64_t seed)
    : dim_(padded(dim)), window_(std::bit_floor(dim_)), signs_(kRounds * dim_) {
  for (std::size_t i = 0; i < signs_.size(); ++i) signs_[i] = mix64(seed ^ mix64(i)) & 1U ? 1.0F : -1.0F;
}

void RandomRotation::apply(float* x, AlignedVector<float>& room) const {
  room.resize(dim_);
  require_table().links.rotate({signs_.data(), dim_, window_, kRounds}, x, room.data());
}

}  // namespace semblance
