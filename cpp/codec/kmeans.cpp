#include "codec/kmeans.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <span>
#include <vector>

#include "core/active_kernels.hpp"
#include "core/rng.hpp"

namespace semblance {
namespace {

constexpr std::size_t kTileRows = 64;    // scored at once against all centroids
constexpr std::size_t kGrainRows = 256;  // also the rows between two looks at Ctrl-C

// `count` different numbers below n, in ascending order: every number's turn comes with the same chance (Vitter's
// selection sampling), by counter, so that the draw is the seed's alone.
std::vector<std::size_t> draw(std::size_t n, std::size_t count, std::uint64_t seed) {
  std::vector<std::size_t> drawn;
  drawn.reserve(count);
  for (std::size_t i = 0; i < n && drawn.size() < count; ++i)
    if (static_cast<double>(n - i) * uniform(seed, i) <= static_cast<double>(count - drawn.size())) drawn.push_back(i);
  return drawn;
}

struct Nearest {
  std::vector<std::uint16_t> centroid;
  std::vector<float> distance;  // squared
};

class Trainer {
 public:
  Trainer(Matrix<const float> rows, const KMeans& options, Matrix<float> centroids)
      : rows_(rows), options_(options), centroids_(centroids) {
    nearest_.centroid.assign(rows.rows, 0);
    nearest_.distance.assign(rows.rows, std::numeric_limits<float>::max());
  }

  // k-means++: each next centroid is a row drawn with a chance that grows with its squared distance from those before.
  void start(Monitor* monitor) {
    StillMonitor still(monitor, 0, options_.iterations);
    copy_row(0, static_cast<std::size_t>(uniform(options_.seed, 0) * static_cast<double>(rows_.rows - 1)));
    for (std::size_t c = 1; c < centroids_.rows; ++c) {
      shorten_distances(c - 1, still);
      copy_row(c, draw_by_distance(c));
    }
  }

  void iterate(Monitor* monitor) {
    std::vector<std::uint16_t> before;
    for (std::size_t i = 0; i < options_.iterations; ++i) {
      StillMonitor still(monitor, i, options_.iterations);
      assign(still);
      if (nearest_.centroid == before) return;
      before = nearest_.centroid;
      move_centroids(still);
    }
  }

 private:
  void copy_row(std::size_t centroid, std::size_t row) {
    std::copy_n(rows_.row(row), rows_.cols, centroids_.row(centroid));
  }

  void shorten_distances(std::size_t centroid, StillMonitor& still) {
    const auto score = require_table().score_tile[1];
    parallel_for(
        rows_.rows, options_.threads, kGrainRows * 16,
        [&](std::size_t begin, std::size_t end, std::size_t) {
          std::vector<float> found(end - begin);
          score(centroids_.row(centroid), 1, rows_.row(begin), end - begin, rows_.cols, found.data());
          for (std::size_t i = begin; i < end; ++i)
            nearest_.distance[i] = std::min(nearest_.distance[i], found[i - begin]);
        },
        &still);
  }

  std::size_t draw_by_distance(std::size_t counter) const {
    double total = 0;
    for (const float distance : nearest_.distance) total += static_cast<double>(distance);
    double left = total * uniform(options_.seed, counter);
    for (std::size_t i = 0; i < rows_.rows; ++i) {
      left -= static_cast<double>(nearest_.distance[i]);
      if (left <= 0) return i;
    }
    return rows_.rows - 1;
  }

  void assign(StillMonitor& still);

  // Each centroid is summed by one thread, over its rows in their order: no result depends on how many threads there
  // are.
  void move_centroids(StillMonitor& still) {
    const std::vector<std::size_t> begins = group_rows();
    parallel_for(
        centroids_.rows, options_.threads, 1,
        [&](std::size_t begin, std::size_t end, std::size_t) {
          for (std::size_t c = begin; c < end; ++c) move(c, {order_.data() + begins[c], begins[c + 1] - begins[c]});
        },
        &still);
    replace_empty(begins);
  }

  // Sorts the rows by centroid into `order_`; returns where each centroid's begin, and the end.
  std::vector<std::size_t> group_rows() {
    std::vector<std::size_t> begins(centroids_.rows + 1, 0);
    for (const std::uint16_t c : nearest_.centroid) ++begins[std::size_t{c} + 1];
    std::partial_sum(begins.begin(), begins.end(), begins.begin());
    std::vector<std::size_t> next(begins.begin(), begins.end() - 1);
    order_.resize(rows_.rows);
    for (std::size_t i = 0; i < rows_.rows; ++i) order_[next[nearest_.centroid[i]]++] = i;
    return begins;
  }

  void move(std::size_t centroid, std::span<const std::size_t> members) {
    if (members.empty()) return;
    std::vector<double> sum(rows_.cols, 0.0);
    for (const std::size_t i : members)
      for (std::size_t j = 0; j < rows_.cols; ++j) sum[j] += static_cast<double>(rows_.row(i)[j]);
    for (std::size_t j = 0; j < rows_.cols; ++j)
      centroids_.row(centroid)[j] = static_cast<float>(sum[j] / static_cast<double>(members.size()));
  }

  void replace_empty(const std::vector<std::size_t>& begins) {
    for (std::size_t c = 0; c < centroids_.rows; ++c) {
      if (begins[c] != begins[c + 1]) continue;
      const auto worst = std::max_element(nearest_.distance.begin(), nearest_.distance.end());
      copy_row(c, static_cast<std::size_t>(worst - nearest_.distance.begin()));
      *worst = 0;
    }
  }

  Matrix<const float> rows_;
  const KMeans& options_;
  Matrix<float> centroids_;
  Nearest nearest_;
  std::vector<std::size_t> order_;
};

void nearest_of(Matrix<const float> rows, Matrix<const float> centroids, std::size_t begin, std::size_t end,
                const auto& take) {
  const auto score = require_table().score_tile[1];
  std::vector<float> scores(kTileRows * centroids.rows);
  for (std::size_t first = begin; first < end; first += kTileRows) {
    const std::size_t count = std::min(kTileRows, end - first);
    score(rows.row(first), count, centroids.data, centroids.rows, rows.cols, scores.data());
    for (std::size_t i = 0; i < count; ++i) {
      const float* row = scores.data() + i * centroids.rows;
      const float* least = std::min_element(row, row + centroids.rows);
      take(first + i, static_cast<std::uint16_t>(least - row), *least);
    }
  }
}

void Trainer::assign(StillMonitor& still) {
  parallel_for(
      rows_.rows, options_.threads, kGrainRows,
      [&](std::size_t begin, std::size_t end, std::size_t) {
        nearest_of(rows_, {centroids_.data, centroids_.rows, centroids_.cols}, begin, end,
                   [&](std::size_t i, std::uint16_t centroid, float distance) {
                     nearest_.centroid[i] = centroid;
                     nearest_.distance[i] = distance;
                   });
      },
      &still);
}

}  // namespace

void train_centroids(Matrix<const float> rows, const KMeans& options, float* out, Monitor* monitor) {
  const std::size_t wanted = std::max(options.sample, options.centroids);
  std::vector<float> sample;
  if (options.sample > 0 && rows.rows > wanted) {
    sample.reserve(wanted * rows.cols);
    for (const std::size_t i : draw(rows.rows, wanted, mix64(options.seed)))
      sample.insert(sample.end(), rows.row(i), rows.row(i) + rows.cols);
    rows = {sample.data(), wanted, rows.cols};
  }
  Trainer trainer(rows, options, {out, options.centroids, rows.cols});
  trainer.start(monitor);
  trainer.iterate(monitor);
}

void assign_centroids(Matrix<const float> rows, Matrix<const float> centroids, std::uint16_t* nearest,
                      std::size_t threads, Monitor* monitor) {
  parallel_for(
      rows.rows, threads, kGrainRows,
      [&](std::size_t begin, std::size_t end, std::size_t) {
        nearest_of(rows, centroids, begin, end, [&](std::size_t i, std::uint16_t c, float) { nearest[i] = c; });
      },
      monitor);
}

}  // namespace semblance
