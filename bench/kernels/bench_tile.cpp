// GFLOP/s of score_tile for every table, counting two operations a dimension for ip and three for l2.
// Usage: bench_tile [dim = 384] [queries = 128] [rows = 20000]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "kernel_table.hpp"
#include "thread_clock.hpp"

using namespace semblance::kernels;

int main(int argc, char** argv) {
  const auto argument = [&](int i, std::size_t otherwise) {
    return argc > i ? static_cast<std::size_t>(std::atoll(argv[i])) : otherwise;
  };
  const std::size_t dim = argument(1, 384), n_queries = argument(2, 128), n_rows = argument(3, 20000);
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> queries(n_queries * dim), rows(n_rows * dim), out(n_queries * n_rows);
  for (float& x : queries) x = normal(random);
  for (float& x : rows) x = normal(random);
  std::printf("dim %zu, %zu queries, %zu rows; one thread, median of 5\n", dim, n_queries, n_rows);
  for (std::size_t i = 0; i < kIsas; ++i) {
    const KernelTable* table = table_for(static_cast<Isa>(i));
    if (table == nullptr) continue;
    for (int metric : {0, 1}) {
      std::vector<double> times;
      for (int repeat = 0; repeat < 5; ++repeat) {
        const double start = semblance::bench::thread_seconds();
        table->score_tile[metric](queries.data(), n_queries, rows.data(), n_rows, dim, out.data());
        times.push_back(semblance::bench::thread_seconds() - start);
      }
      std::nth_element(times.begin(), times.begin() + 2, times.end());
      const double operations =
          (metric == 0 ? 2.0 : 3.0) * static_cast<double>(dim * n_queries) * static_cast<double>(n_rows);
      std::printf("%-3s %-11s %8.1f GFLOP/s %9.2f ms\n", metric == 0 ? "ip" : "l2", table->name,
                  operations / times[2] * 1e-9, times[2] * 1e3);
    }
  }
}
