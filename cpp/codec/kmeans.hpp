// k-means for codebooks: the same centroids from the same seed, whatever the number of threads.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/matrix.hpp"
#include "core/parallel.hpp"

namespace semblance {

struct KMeans {
  std::size_t centroids = 256;
  std::size_t iterations = 25;  // at most; it ends early where no row changes its centroid
  std::size_t sample = 65536;   // rows trained on, drawn evenly without replacement; 0 = all
  std::uint64_t seed = 0;
  std::size_t threads = 0;
};

// Writes (centroids, dim) centroids of finite rows to `out`. Lloyd's iterations from a k-means++ start (Arthur and
// Vassilvitskii, SODA 2007). A centroid that loses all its rows moves to the row that is worst served, so with fewer
// distinct rows than centroids some centroids are equal. Needs at least as many rows as centroids, and one column.
void train_centroids(Matrix<const float> rows, const KMeans& options, float* out, Monitor* monitor = nullptr);

// nearest[i] = the centroid closest to row i, the first of equally close ones. At most 65536 centroids.
void assign_centroids(Matrix<const float> rows, Matrix<const float> centroids, std::uint16_t* nearest,
                      std::size_t threads, Monitor* monitor = nullptr);

}  // namespace semblance
