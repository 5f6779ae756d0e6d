#include "index/exact.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/active_kernels.hpp"
#include "index/candidates.hpp"
#include "index/input.hpp"

namespace semblance {
namespace {

constexpr std::size_t kQueryBlock = 32, kRowBlock = 512;
constexpr float kLargestInverse = 1e18F;  // of a row's length: products with shorter rows are no normal numbers

// Scores a block of queries against a block of rows.
class BlockScorer {
 public:
  explicit BlockScorer(const ExactProblem& p) : p_(p), binary_(is_binary(p.metric)) {
    if (binary_) codec_ = make_codec("b1", p.dim, p.metric);
    row_bytes_ = binary_ ? p.dim / 8 : p.dim * sizeof(float);
  }
  void operator()(const std::byte* queries, std::size_t n_queries, const std::byte* rows, std::size_t n_rows,
                  float* out) const {
    if (binary_) {
      for (std::size_t q = 0; q < n_queries; ++q)
        codec_->scorer()({queries + q * row_bytes_}, {rows, row_bytes_, p_.dim}, nullptr, n_rows, out + q * n_rows);
      return;
    }
    require_table().score_tile[p_.metric == Metric::l2 ? 1 : 0](
        reinterpret_cast<const float*>(queries), n_queries, reinterpret_cast<const float*>(rows), n_rows, p_.dim, out);
  }
  std::size_t row_bytes() const { return row_bytes_; }

 private:
  const ExactProblem& p_;
  bool binary_;
  std::size_t row_bytes_;
  std::unique_ptr<Codec> codec_;
};

float length(const float* row, std::size_t dim) {
  double sum = 0;
  for (std::size_t i = 0; i < dim; ++i) sum += double{row[i]} * double{row[i]};
  return static_cast<float>(std::min(1e38, 1.0 / std::sqrt(sum)));
}

}  // namespace

void search_exactly(const ExactProblem& p, Monitor* monitor) {
  const BlockScorer score(p);
  const bool cosine = p.metric == Metric::cosine;
  // Cosine divides scores by the rows' lengths instead of copying the rows; the queries are few and are normalised.
  std::vector<float> inverse(cosine ? p.n_rows : 0);
  const auto lengths = [&](std::size_t begin, std::size_t end, std::size_t) {
    for (std::size_t i = begin; i < end; ++i)
      inverse[i] = length(reinterpret_cast<const float*>(p.rows) + i * p.dim, p.dim);
  };
  if (cosine) parallel_for(p.n_rows, p.threads, 1024, lengths, monitor);
  const auto body = [&](std::size_t begin, std::size_t end, std::size_t) {
    const std::byte* queries = p.queries + begin * score.row_bytes();
    std::vector<float> unit(cosine ? (end - begin) * p.dim : 0);
    for (std::size_t q = 0; cosine && q < end - begin; ++q)
      normalise(reinterpret_cast<const float*>(queries) + q * p.dim, p.dim, &unit[q * p.dim]);
    if (cosine) queries = reinterpret_cast<const std::byte*>(unit.data());
    std::vector<TopK> best(end - begin);
    for (TopK& top : best) top.reset(p.k);
    std::vector<float> scores((end - begin) * kRowBlock), unit_rows;
    for (std::size_t first = 0; first < p.n_rows; first += kRowBlock) {
      const std::size_t count = std::min(kRowBlock, p.n_rows - first);
      stop_if_asked();
      const std::byte* rows = p.rows + first * score.row_bytes();
      const float* factors = cosine ? &inverse[first] : nullptr;
      if (cosine && std::any_of(factors, factors + count, [](float f) { return f > kLargestInverse; })) {
        unit_rows.resize(count * p.dim);
        for (std::size_t r = 0; r < count; ++r)
          normalise(reinterpret_cast<const float*>(rows) + r * p.dim, p.dim, &unit_rows[r * p.dim]);
        rows = reinterpret_cast<const std::byte*>(unit_rows.data());
        factors = nullptr;
      }
      score(queries, end - begin, rows, count, scores.data());
      for (std::size_t q = 0; q < end - begin; ++q)
        for (std::size_t r = 0; r < count; ++r) {
          const float s = scores[q * count + r];
          best[q].offer({factors != nullptr ? s * factors[r] : s, static_cast<std::uint32_t>(first + r)});
        }
    }
    for (std::size_t q = begin; q < end; ++q) {
      const std::vector<Neighbour>& found = best[q - begin].sorted();
      const bool one_minus = cosine || p.metric == Metric::ip;
      for (std::size_t i = 0; i < p.k; ++i) {
        const bool has = i < found.size();
        p.ids[q * p.k + i] = has ? std::int64_t{found[i].id} : -1;
        const float distance = !has        ? std::numeric_limits<float>::infinity()
                               : one_minus ? 1.0F + found[i].distance
                                           : found[i].distance;
        p.distances[q * p.k + i] = cosine ? std::max(0.0F, distance) : distance;
      }
    }
  };
  parallel_for(p.n_queries, p.threads, kQueryBlock, body, monitor);
}

}  // namespace semblance
