// ns a row of score_rows, for every table, format and score: rows in cache, and random rows out of cache.
// Usage: bench_rows [dim = 384] [MiB out of cache = 512] [rows a call = 32]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

#include "reference.hpp"
#include "thread_clock.hpp"

using namespace semblance;
using namespace semblance::kernels;

namespace {

constexpr int kRepeats = 9;
constexpr const char* kFormatNames[kRowFormats] = {"f32", "f16", "bf16", "i8", "i4", "i4x2", "bits"};
constexpr const char* kScoreNames[kScores] = {"ip", "l2", "hamming", "jaccard"};

struct Free {
  void operator()(std::byte* p) const { std::free(p); }
};

struct Data {
  RowFormat format;
  std::size_t dim, row_bytes, n;
  std::unique_ptr<std::byte[], Free> rows;
  std::vector<std::byte> query_bytes;
  Query query{};

  Data(RowFormat f, std::size_t d, std::size_t bytes)
      : format(f),
        dim(d),
        row_bytes(reference::row_bytes(f, d)),
        n(bytes / row_bytes),
        rows(static_cast<std::byte*>(std::aligned_alloc(64, n * row_bytes / 64 * 64 + 64))) {
    std::mt19937 random(1);
    std::vector<float> x(dim);
    std::normal_distribution<float> normal;
    const KernelTable& scalar = *table_for(Isa::scalar);
    for (std::size_t i = 0; i < n; ++i) {
      std::byte* row = rows.get() + i * row_bytes;
      if (i >= 1000) {
        std::copy_n(rows.get() + (i % 1000) * row_bytes, row_bytes, row);
      } else if (format == RowFormat::bits) {
        std::generate_n(row, row_bytes, [&] { return static_cast<std::byte>(random()); });
      } else {
        std::generate(x.begin(), x.end(), [&] { return normal(random); });
        scalar.encode_rows[static_cast<int>(format)](x.data(), 1, dim, row, row_bytes);
      }
    }
    query_bytes.resize(4 * dim);
    if (format >= RowFormat::i8)  // any bytes do as codes
      std::copy_n(rows.get(), row_bytes, query_bytes.data());
    else
      std::copy_n(reinterpret_cast<std::byte*>(x.data()), 4 * dim, query_bytes.data());
    query.values = query_bytes.data();
  }
};

// Median over repeats of ns a row; each call scores `batch` rows by id.
double ns_per_row(ScoreRows score, const Data& data, const std::vector<std::uint32_t>& ids, std::size_t batch) {
  const Rows rows{data.rows.get(), data.row_bytes, data.dim};
  std::vector<float> out(batch);
  std::vector<double> times;
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    const double start = bench::thread_seconds();
    for (std::size_t i = 0; i + batch <= ids.size(); i += batch)
      score(data.query, rows, ids.data() + i, batch, out.data());
    times.push_back((bench::thread_seconds() - start) * 1e9 / static_cast<double>(ids.size() / batch * batch));
  }
  std::nth_element(times.begin(), times.begin() + kRepeats / 2, times.end());
  return times[kRepeats / 2];
}

void bench_format(RowFormat format, std::size_t dim, std::size_t bytes, std::size_t batch) {
  const Data data(format, dim, bytes);
  std::mt19937 random(2);
  std::vector<std::uint32_t> near(65536), far(65536);
  const auto few = static_cast<std::uint32_t>(16 * 1024 / data.row_bytes + 1);  // within the first-level cache
  for (auto& id : near) id = random() % few;
  for (auto& id : far) id = random() % static_cast<std::uint32_t>(data.n);
  for (std::size_t s = 0; s < kScores; ++s)
    for (std::size_t i = 0; i < kIsas; ++i) {
      const KernelTable* table = table_for(static_cast<Isa>(i));
      if (table == nullptr || table->score_rows[static_cast<int>(format)][s] == nullptr) continue;
      const ScoreRows score = table->score_rows[static_cast<int>(format)][s];
      const double cached = ns_per_row(score, data, near, batch), random_rows = ns_per_row(score, data, far, batch);
      std::printf("%-5s %-8s %-11s %9.2f %9.2f %9.2f\n", kFormatNames[static_cast<int>(format)], kScoreNames[s],
                  table->name, cached, random_rows, static_cast<double>(data.row_bytes) / random_rows);
    }
}

}  // namespace

int main(int argc, char** argv) {
  const auto argument = [&](int i, std::size_t otherwise) {
    return argc > i ? static_cast<std::size_t>(std::atoll(argv[i])) : otherwise;
  };
  const std::size_t dim = argument(1, 384), bytes = argument(2, 512) << 20, batch = argument(3, 32);
  std::printf("dim %zu, %zu rows a call; ns a row, median of %d\n", dim, batch, kRepeats);
  std::printf("%-5s %-8s %-11s %9s %9s %9s\n", "rows", "score", "isa", "in cache", "random", "GB/s");
  for (std::size_t f = 0; f < kRowFormats; ++f) bench_format(static_cast<RowFormat>(f), dim, bytes, batch);
}
