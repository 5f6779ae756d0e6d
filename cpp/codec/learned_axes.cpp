// Principal axes of a sample of differences and how many bits each is worth.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "codec/difference_codec.hpp"
#include "core/rng.hpp"

namespace semblance {
namespace {

constexpr std::size_t kWord = kernels::kLinkPadding;
constexpr std::size_t kMostAxes = 192, kIterations = 8, kAxesGrain = 4, kRowsGrain = 16;
constexpr std::size_t kGroupsALine = 4;                   // of a cache line of 64 bytes
constexpr double kErrors[] = {0.009497, 0.1175, 0.3634};  // mean squares, of levels of four, two and one bit
constexpr float kLeastSpread = 1e-6F;
constexpr double kWorthLearning = 0.9;  // of what signs cost
constexpr double kVisitsAnError = 10.0, kFewestVisits = 0.95;

using Floats [[gnu::vector_size(kWord * 4)]] = float;

// Sixteen sums, so that the order of additions is no matter of the compiler.
float dot(const float* a, const float* b, std::size_t n) {
  Floats sums{};
  std::size_t i = 0;
  for (; i + kWord <= n; i += kWord) {
    Floats x, y;
    __builtin_memcpy(&x, a + i, sizeof x);
    __builtin_memcpy(&y, b + i, sizeof y);
    sums += x * y;
  }
  float sum = 0.0F;
  for (std::size_t k = 0; k < kWord; ++k) sum += sums[k];
  for (; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

void add_scaled(float* __restrict to, const float* __restrict x, float factor, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) to[i] += factor * x[i];
}

// Axes fit what they were learned of better than anything else: the last fifth of a sample is kept for measuring.
std::size_t learned_from(const DifferenceSample& sample) { return sample.count - sample.count / 5; }

class AxisLearner {
 public:
  AxisLearner(const DifferenceSample& sample, std::size_t threads, Monitor* monitor)
      : sample_(sample),
        dim_(sample.dim),
        count_(std::min(kMostAxes, dim_ / kWord * kWord)),
        threads_(threads),
        monitor_(monitor) {}

  // Rows of length 1, those of most variance first, and their variances.
  void run() {
    sum_products();
    axes_.resize(count_ * dim_);
    for (std::size_t i = 0; i < axes_.size(); ++i) axes_[i] = mix64(i) & 1U ? 1.0F : -1.0F;
    make_orthonormal(axes_);
    for (std::size_t i = 0; i < kIterations; ++i) {
      AlignedVector<float> next = multiplied(axes_);
      make_orthonormal(next);
      axes_.swap(next);
    }
    sort_axes();
  }
  const AlignedVector<float>& axes() const { return axes_; }
  const std::vector<float>& variances() const { return variances_; }

 private:
  void sum_products() {
    products_.assign(dim_ * dim_, 0.0F);
    const auto body = [&](std::size_t begin, std::size_t end, std::size_t) {
      for (const AlignedVector<float>* part : {&sample_.first, &sample_.second})
        for (std::size_t s = 0; s < learned_from(sample_); ++s)
          for (std::size_t i = begin; i < end; ++i)
            add_scaled(&products_[i * dim_ + begin], part->data() + s * dim_ + begin, (*part)[s * dim_ + i],
                       dim_ - begin);
    };
    parallel_for(dim_, threads_, kRowsGrain, body, monitor_);
    const float scale = 1.0F / static_cast<float>(2 * learned_from(sample_));
    for (std::size_t i = 0; i < dim_; ++i)
      for (std::size_t j = i; j < dim_; ++j) products_[j * dim_ + i] = products_[i * dim_ + j] *= scale;
  }

  AlignedVector<float> multiplied(const AlignedVector<float>& rows) const {
    AlignedVector<float> out(rows.size(), 0.0F);
    const auto body = [&](std::size_t begin, std::size_t end, std::size_t) {
      for (std::size_t i = 0; i < dim_; ++i)
        for (std::size_t k = begin; k < end; ++k)
          add_scaled(&out[k * dim_], &products_[i * dim_], rows[k * dim_ + i], dim_);
    };
    parallel_for(count_, threads_, kAxesGrain, body, monitor_);
    return out;
  }

  // Gram and Schmidt, twice: once leaves what rounding did. Axes that depend on others become zeros.
  void make_orthonormal(AlignedVector<float>& rows) const {
    for (std::size_t k = 0; k < count_; ++k) {
      float* row = &rows[k * dim_];
      const float before = dot(row, row, dim_);
      for (int turn = 0; turn < 2; ++turn)
        for (std::size_t j = 0; j < k; ++j) add_scaled(row, &rows[j * dim_], -dot(row, &rows[j * dim_], dim_), dim_);
      const float left = dot(row, row, dim_);
      const float scale = left > 1e-10F * before ? 1.0F / std::sqrt(left) : 0.0F;
      for (std::size_t i = 0; i < dim_; ++i) row[i] *= scale;
    }
  }

  void sort_axes() {
    const AlignedVector<float> images = multiplied(axes_);
    std::vector<float> along(count_);
    for (std::size_t k = 0; k < count_; ++k) along[k] = std::max(0.0F, dot(&axes_[k * dim_], &images[k * dim_], dim_));
    std::vector<std::size_t> order(count_);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return along[a] > along[b]; });
    AlignedVector<float> sorted(axes_.size());
    for (std::size_t k = 0; k < count_; ++k) {
      std::copy_n(&axes_[order[k] * dim_], dim_, &sorted[k * dim_]);
      variances_.push_back(along[order[k]]);
    }
    axes_.swap(sorted);
  }

  const DifferenceSample& sample_;
  const std::size_t dim_, count_, threads_;
  Monitor* monitor_;
  AlignedVector<float> products_, axes_;
  std::vector<float> variances_;
};

// How to spend `groups` on axes: the product of two differences errs by the error of a level times the spread, on
// either side.
std::array<std::uint32_t, 3> spend(const std::vector<float>& variances, std::size_t groups) {
  std::vector<double> sums(variances.size() / kWord + 1, 0.0);
  for (std::size_t w = 0; w + 1 < sums.size(); ++w) {
    sums[w + 1] = sums[w];
    for (std::size_t k = w * kWord; k < (w + 1) * kWord; ++k) sums[w + 1] += double{variances[k]} * variances[k];
  }
  std::array<std::uint32_t, 3> best{};
  double least = sums.back() * 2;
  for (std::size_t fine = 0; fine * 16 <= groups; ++fine) {
    for (std::size_t middle = 0; fine * 16 + middle * 8 <= groups; ++middle) {
      const std::size_t coarse = (groups - fine * 16 - middle * 8) / 4;
      if (fine + middle + coarse >= sums.size()) continue;
      const double error = kErrors[0] * sums[fine] + kErrors[1] * (sums[fine + middle] - sums[fine]) +
                           kErrors[2] * (sums[fine + middle + coarse] - sums[fine + middle]) + sums.back() -
                           sums[fine + middle + coarse];
      if (error >= least) continue;
      least = error;
      best = {static_cast<std::uint32_t>(fine), static_cast<std::uint32_t>(middle), static_cast<std::uint32_t>(coarse)};
    }
  }
  return best;
}

// A sample as a codec places it, and what the products of its differences really are.
struct PlacedSample {
  std::size_t stride;
  AlignedVector<float> nodes, neighbours;  // the second differences, and both together: their difference is the first
  std::vector<float> products;

  PlacedSample(const DifferenceCodec& codec, const DifferenceSample& sample) : stride(codec.values()) {
    DifferenceCodec::Scratch scratch;
    AlignedVector<float> node(stride), neighbour(stride);
    for (std::size_t s = learned_from(sample); s < sample.count; ++s) {
      const float *first = &sample.first[s * sample.dim], *second = &sample.second[s * sample.dim];
      codec.place(second, node.data(), scratch);
      codec.place(first, neighbour.data(), scratch);
      for (std::size_t i = 0; i < stride; ++i) neighbour[i] += node[i];
      nodes.insert(nodes.end(), node.begin(), node.end());
      neighbours.insert(neighbours.end(), neighbour.begin(), neighbour.end());
      products.push_back(dot(first, second, sample.dim));
    }
  }
};

// The root of the mean squared error of estimated products, of differences of length 1. The codec reads the first of
// the sample's values.
double measure(const DifferenceCodec& codec, const PlacedSample& sample) {
  std::vector<std::uint8_t> lane(codec.groups() * kernels::kLinkGroupBytes);
  double sum = 0.0;
  for (std::size_t s = 0; s < sample.products.size(); ++s) {
    const float *node = &sample.nodes[s * sample.stride], *neighbour = &sample.neighbours[s * sample.stride];
    const kernels::DifferenceSums sums = codec.write(neighbour, node, 0, lane.data());
    const float stretch = sums.size > 0.0F ? sums.square / sums.size : 0.0F;
    const double error = double{stretch} * sums.coded_node - sample.products[s];
    sum += error * error;
  }
  return std::sqrt(sum / static_cast<double>(sample.products.size()));
}

Axes made_of(const AxisLearner& learned, std::array<std::uint32_t, 3> words, std::size_t dim) {
  const std::size_t count = (std::size_t{words[0]} + words[1] + words[2]) * kWord;
  const std::unique_ptr<Codec> codec = make_i8_codec("i8", dim, Metric::ip);
  Axes axes;
  axes.words = words;
  axes.basis.resize(count * codec->row_bytes());
  codec->encode(reinterpret_cast<const std::byte*>(learned.axes().data()), count, axes.basis.data());
  axes.offset.assign(count, 0.0F);
  axes.spread.resize(count);
  for (std::size_t k = 0; k < count; ++k) axes.spread[k] = std::max(kLeastSpread, std::sqrt(learned.variances()[k]));
  return axes;
}

std::size_t groups_of(std::array<std::uint32_t, 3> words) {
  return kernels::LinkAxes{nullptr, 0.0F, words[0], words[1], words[2]}.groups();
}

}  // namespace

// What a walk costs is the lines that its visits read, and it takes the more visits for the same recall the more
// estimates err: by 10 for each time the length of a difference (measured on images and on sentences).
std::unique_ptr<LevelCodec> learn_levels(const DifferenceSample& sample, const SignCodec& signs, double other_lines,
                                         std::size_t threads, Monitor* monitor) {
  AxisLearner learner(sample, threads, monitor);
  learner.run();
  const double error = measure(signs, PlacedSample(signs, sample));
  const std::vector<float>& variances = learner.variances();
  const LevelCodec all(sample.dim,
                       made_of(learner, {0, 0, static_cast<std::uint32_t>(variances.size() / kWord)}, sample.dim));
  const PlacedSample placed(all, sample);
  double least = kWorthLearning * (other_lines + static_cast<double>(signs.groups()) / kGroupsALine);
  std::array<std::uint32_t, 3> best{};
  for (std::size_t groups = kGroupsALine; groups < signs.groups(); groups += kGroupsALine) {
    const std::array<std::uint32_t, 3> words = spend(variances, groups);
    if (groups_of(words) == 0) continue;
    const LevelCodec codec(sample.dim, made_of(learner, words, sample.dim));
    const double visits = std::max(kFewestVisits, 1.0 + kVisitsAnError * (measure(codec, placed) - error));
    const double cost = visits * (other_lines + static_cast<double>(codec.groups()) / kGroupsALine);
    if (cost >= least) continue;
    least = cost;
    best = words;
  }
  if (groups_of(best) == 0) return nullptr;
  Axes axes = made_of(learner, best, sample.dim);
  DifferenceCodec::Scratch scratch;
  LevelCodec(sample.dim, axes).place(sample.mean.data(), axes.offset.data(), scratch);
  // Rows at the end of what a float holds have no zero that it could be.
  if (!std::all_of(axes.offset.begin(), axes.offset.end(), [](float x) { return std::isfinite(x); })) return nullptr;
  return std::make_unique<LevelCodec>(sample.dim, std::move(axes));
}

}  // namespace semblance
