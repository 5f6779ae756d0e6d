// Exact search as a card runs it, against brute force over the same codes.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "check.hpp"
#include "cuda/device.cu"
#include "cuda/flat_search.cu"

using namespace semblance;
using namespace semblance::cuda;
using emulated::every_schedule;

namespace {

std::vector<float> random_rows(std::size_t n, std::size_t dim, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> rows(n * dim);
  for (float& x : rows) x = normal(random);
  return rows;
}

// What a format keeps of a row, in double.
std::vector<double> kept(const FlatShape& shape, const float* row) {
  std::vector<double> out(row, row + shape.dim);
  if (shape.unit) {
    double squares = 0;
    for (const double x : out) squares += x * x;
    for (double& x : out) x = static_cast<float>(x / std::sqrt(squares));
  }
  double largest = 0;
  for (const double x : out) largest = std::max(largest, std::abs(x));
  const float scale = static_cast<float>(largest) / 127.0F;
  for (double& x : out) {
    if (shape.format == RowFormat::bf16) x = bf16_to_float(float_to_bf16(static_cast<float>(x)));
    if (shape.format == RowFormat::i8) x = std::rint(static_cast<float>(x) / scale) * double{scale};
  }
  return out;
}

struct Case {
  FlatShape shape;
  std::size_t n, queries, k;
  const std::vector<std::uint32_t>* allowed = nullptr;
  FlatKernel kernel = FlatKernel::automatic;
  std::size_t list_bytes = std::size_t{1} << 28;
};

// Both kernels where both take the rows; the emulated card is a Hopper.
std::vector<FlatKernel> kernels_of(RowFormat format) {
  if (format == RowFormat::f32) return {FlatKernel::automatic};
  return {FlatKernel::tiles, FlatKernel::stream};
}

struct Answer {
  std::vector<std::uint32_t> rows;
  std::vector<float> scores;
  bool operator==(const Answer&) const = default;
};

Answer search(const FlatRows& flat, const std::vector<float>& queries, const Case& c) {
  Answer out{std::vector<std::uint32_t>(c.queries * c.k), std::vector<float>(c.queries * c.k)};
  flat.search({queries.data(), c.queries, c.k, c.allowed ? c.allowed->data() : nullptr, out.rows.data(),
               out.scores.data(), c.kernel, c.list_bytes},
              nullptr);
  return out;
}

bool allows(const Case& c, std::size_t row) {
  return c.allowed == nullptr || ((*c.allowed)[row / 32] >> (row % 32) & 1U) != 0;
}

std::vector<double> true_scores(const Case& c, const std::vector<double>& query, const std::vector<float>& rows) {
  std::vector<double> scores(c.n);
  for (std::size_t r = 0; r < c.n; ++r) {
    const std::vector<double> row = kept(c.shape, &rows[r * c.shape.dim]);
    for (std::size_t j = 0; j < c.shape.dim; ++j)
      scores[r] += c.shape.score == Score::l2 ? (query[j] - row[j]) * (query[j] - row[j]) : -query[j] * row[j];
  }
  return scores;
}

// Rounding may swap rows that are as good as equally far.
void check_answer(const Case& c, const Answer& answer, const std::vector<float>& queries,
                  const std::vector<float>& rows) {
  for (std::size_t q = 0; q < c.queries; ++q) {
    const std::vector<double> scores = true_scores(c, kept(c.shape, &queries[q * c.shape.dim]), rows);
    std::vector<double> best;
    for (std::size_t r = 0; r < c.n; ++r)
      if (allows(c, r)) best.push_back(scores[r]);
    std::sort(best.begin(), best.end());
    std::vector<bool> seen(c.n);
    for (std::size_t i = 0; i < c.k; ++i) {
      const std::uint32_t row = answer.rows[q * c.k + i];
      const float score = answer.scores[q * c.k + i];
      if (i >= best.size()) {
        CHECK(row == kNoRow && std::isinf(score));
        continue;
      }
      const double tolerance = 2e-6 * (static_cast<double>(c.shape.dim) + std::abs(best[i]));
      CHECK(row < c.n && !seen[row] && allows(c, row));
      CHECK(std::abs(score - best[i]) < tolerance && std::abs(score - scores[row]) < tolerance);
      seen[row] = true;
    }
  }
}

void check_case(Case c, unsigned seed) {
  const std::vector<float> rows = random_rows(c.n, c.shape.dim, seed);
  const std::vector<float> queries = random_rows(c.queries, c.shape.dim, seed + 1);
  FlatRows flat(c.shape);
  flat.append({rows.data(), c.n / 3, false}, nullptr);
  flat.append({rows.data() + c.n / 3 * c.shape.dim, c.n - c.n / 3, true}, nullptr);
  CHECK(flat.size() == c.n);
  for (const FlatKernel kernel : kernels_of(c.shape.format)) {
    c.kernel = kernel;
    check_answer(c, search(flat, queries, c), queries, rows);
  }
}

void all_formats_and_scores() {
  unsigned seed = 1;
  for (const RowFormat format : {RowFormat::f32, RowFormat::bf16, RowFormat::i8})
    for (const Score score : {Score::ip, Score::l2})
      for (const bool unit : {false, true}) {
        check_case({{format, score, 100, unit}, 700, 5, 10}, ++seed);
        check_case({{format, score, 70, unit}, 1500, 20, 3}, ++seed);
      }
}

void shapes_of_batches() {
  check_case({{RowFormat::bf16, Score::ip, 64, true}, 600, 130, 10}, 30);
  check_case({{RowFormat::bf16, Score::l2, 64, false}, 600, 60, 10}, 37);
  check_case({{RowFormat::i8, Score::l2, 100, false}, 260, 300, 3}, 38);
  check_case({{RowFormat::bf16, Score::ip, 3000, false}, 200, 70, 5}, 46);  // more chunks than stages, narrow tiles
  check_case({{RowFormat::f32, Score::l2, 33, false}, 300, 129, 1}, 31);
  check_case({{RowFormat::i8, Score::ip, 200, false}, 2500, 1, 1024}, 32);
  check_case({{RowFormat::f32, Score::ip, 16, true}, 3000, 2, 1024}, 33);
  check_case({{RowFormat::i8, Score::l2, 40, false}, 300, 5, 20}, 36);  // a list is cut twice in a row
  check_case({{RowFormat::bf16, Score::l2, 1, false}, 1, 1, 4}, 34);
  check_case({{RowFormat::bf16, Score::l2, 8, false}, 0, 3, 4}, 35);
}

void more_queries_than_go_at_once() {
  Case c{{RowFormat::bf16, Score::ip, 8, false}, 70, 600, 20};
  c.list_bytes = 0;
  check_case(c, 39);
}

// Rows so long that eight queries do not fit in shared memory.
void rows_that_do_not_stream() {
  Case c{{RowFormat::bf16, Score::ip, 16384, false}, 20, 1, 3};
  const std::vector<float> rows = random_rows(c.n, c.shape.dim, 47), queries = random_rows(1, c.shape.dim, 48);
  FlatRows flat(c.shape);
  flat.append({rows.data(), c.n, false}, nullptr);
  check_answer(c, search(flat, queries, c), queries, rows);
  c.kernel = FlatKernel::stream;
  bool refused = false;
  try {
    search(flat, queries, c);
  } catch (const Failure&) {
    refused = true;
  }
  CHECK(refused);
}

// A list is cut down many times when every row is closer than the ones before.
void rows_in_the_worst_order() {
  const std::size_t n = 6000, dim = 4;
  std::vector<float> rows(n * dim);
  for (std::size_t r = 0; r < n; ++r) rows[r * dim] = static_cast<float>(n - r);
  const std::vector<float> query(dim);
  const Case c{{RowFormat::f32, Score::l2, dim, false}, n, 1, 10};
  FlatRows flat(c.shape);
  flat.append({rows.data(), n, false}, nullptr);
  const Answer answer = search(flat, query, c);
  for (std::size_t i = 0; i < c.k; ++i) {
    CHECK(answer.rows[i] == n - 1 - i);
    CHECK(answer.scores[i] == static_cast<float>((i + 1) * (i + 1)));
  }
}

// Scores that differ by less than a tensor core's rounding of f32 values.
void close_scores() {
  const std::size_t n = 900, dim = 8;
  std::vector<float> rows(n * dim), query(dim);
  for (std::size_t r = 0; r < n; ++r) rows[r * dim] = 1.0F + 1e-6F * static_cast<float>(r);
  query[0] = 1.0F;
  const Case c{{RowFormat::f32, Score::ip, dim, false}, n, 1, 5};
  FlatRows flat(c.shape);
  flat.append({rows.data(), n, false}, nullptr);
  const Answer answer = search(flat, query, c);
  for (std::size_t i = 0; i < c.k; ++i) CHECK(answer.rows[i] == n - 1 - i);
}

void ties_go_to_the_lower_row() {
  const std::size_t n = 1000, dim = 8;
  const std::vector<float> rows(n * dim, 1.0F), queries(12 * dim, 1.0F);
  for (const RowFormat format : {RowFormat::f32, RowFormat::bf16, RowFormat::i8}) {
    const Case c{{format, Score::ip, dim, false}, n, 12, 40};
    FlatRows flat(c.shape);
    flat.append({rows.data(), n, false}, nullptr);
    const Answer answer = search(flat, queries, c);
    for (std::size_t i = 0; i < answer.rows.size(); ++i) CHECK(answer.rows[i] == i % c.k);
  }
}

void filters() {
  std::vector<std::uint32_t> few(30), none(30);
  for (const std::size_t row : {3U, 131U, 500U, 899U}) few[row / 32] |= 1U << row % 32;
  check_case({{RowFormat::bf16, Score::ip, 40, true}, 900, 3, 8, &few}, 40);
  check_case({{RowFormat::f32, Score::l2, 40, false}, 900, 3, 2, &few}, 41);
  check_case({{RowFormat::i8, Score::l2, 40, false}, 900, 3, 2, &none}, 42);
}

void values_that_are_no_distance() {
  const std::size_t dim = 4;
  std::vector<float> rows(3 * dim, 1.0F), query(dim, NAN);
  FlatRows flat({RowFormat::f32, Score::l2, dim, false});
  flat.append({rows.data(), 3, false}, nullptr);
  const Answer answer = search(flat, query, {flat.shape(), 3, 1, 2});
  CHECK(answer.rows[0] == kNoRow && std::isinf(answer.scores[0]));
}

// A card's NaN has all bits set; a row of zeros has no direction.
void queries_that_are_no_vectors() {
  const std::size_t n = 20, dim = 8;
  const std::vector<float> rows = random_rows(n, dim, 5);
  for (const RowFormat format : {RowFormat::f32, RowFormat::bf16, RowFormat::i8})
    for (const FlatKernel kernel : kernels_of(format))
      for (const float bad : {std::nanf(""), __uint_as_float(0x7FFFFFFFU), __uint_as_float(0x7F800000U), 0.0F}) {
        std::vector<float> queries(dim, bad);
        if (bad != 0.0F) std::fill(queries.begin() + 1, queries.end(), 1.0F);
        const Case c{{format, Score::ip, dim, bad == 0.0F}, n, 1, 3, nullptr, kernel};
        FlatRows flat(c.shape);
        flat.append({rows.data(), n, false}, nullptr);
        CHECK(search(flat, queries, c).rows == std::vector<std::uint32_t>(3, kNoRow));
      }
}

// More keys than the pool of a merge holds at once, on a card of many multiprocessors.
void lists_of_many_parts() {
  const int before = std::exchange(emulated::multiprocessors, 16);
  every_schedule([] { check_case({{RowFormat::i8, Score::ip, 8, false}, 9000, 1, 1024}, 50); });
  emulated::multiprocessors = before;
}

void the_same_bits_in_every_order_and_batch(RowFormat format, FlatKernel kernel) {
  const Case c{{format, Score::ip, 40, true}, 1100, 130, 10, nullptr, kernel};
  const std::vector<float> rows = random_rows(c.n, 40, 50), queries = random_rows(c.queries, 40, 51);
  FlatRows flat(c.shape);
  flat.append({rows.data(), c.n, false}, nullptr);
  const Answer all = search(flat, queries, c);
  for (const std::size_t count : {1UL, 9UL, 33UL, 100UL}) {
    Case part = c;
    part.queries = count;
    const Answer last = search(flat, {queries.end() - static_cast<std::ptrdiff_t>(count * 40), queries.end()}, part);
    CHECK(std::equal(last.rows.rbegin(), last.rows.rend(), all.rows.rbegin()));
    CHECK(std::equal(last.scores.rbegin(), last.scores.rend(), all.scores.rbegin()));
  }
  Case few = c;
  few.queries = 9;
  const Answer first = search(flat, queries, few);
  every_schedule([&] { CHECK(search(flat, queries, few) == first); });
}

// Sums of whole numbers are exact, whoever takes them.
void whole_numbers_are_the_same_in_both_kernels() {
  for (const Score score : {Score::ip, Score::l2}) {
    Case c{{RowFormat::i8, score, 300, false}, 900, 70, 20};
    const std::vector<float> rows = random_rows(c.n, 300, 52), queries = random_rows(c.queries, 300, 53);
    FlatRows flat(c.shape);
    flat.append({rows.data(), c.n, false}, nullptr);
    c.kernel = FlatKernel::tiles;
    const Answer tiles = search(flat, queries, c);
    c.kernel = FlatKernel::stream;
    CHECK(search(flat, queries, c) == tiles);
  }
}

void memory_that_is_not_there() {
  const Case c{{RowFormat::bf16, Score::ip, 64, false}, 500, 2, 5};
  const std::vector<float> rows = random_rows(c.n, 64, 60), queries = random_rows(c.queries, 64, 61);
  FlatRows flat(c.shape);
  flat.append({rows.data(), c.n, false}, nullptr);
  const Answer before = search(flat, queries, c);
  emulated::memory_left = 1000;
  Cause cause = Cause::failed;
  try {
    flat.append({rows.data(), c.n, false}, nullptr);
  } catch (const Failure& failure) {
    cause = failure.cause;
  }
  emulated::memory_left = SIZE_MAX;
  CHECK(cause == Cause::out_of_memory && flat.size() == c.n);
  CHECK(search(flat, queries, c) == before);
}

}  // namespace

// One of each kernel, tile and end of a list: what threads do beside each other does not depend on the values.
void where_races_are_told() {
  for (const RowFormat format : {RowFormat::f32, RowFormat::bf16, RowFormat::i8})
    for (const std::size_t queries : {1UL, 20UL}) check_case({{format, Score::ip, 70, true}, 600, queries, 3}, 60);
  check_case({{RowFormat::bf16, Score::l2, 16, false}, 600, 130, 3}, 61);
  check_case({{RowFormat::i8, Score::ip, 400, false}, 1100, 60, 3}, 62);
  lists_of_many_parts();
}

int main() {
  if (emulated::races::kTold) return where_races_are_told(), 0;
  all_formats_and_scores();
  shapes_of_batches();
  more_queries_than_go_at_once();
  rows_that_do_not_stream();
  rows_in_the_worst_order();
  close_scores();
  ties_go_to_the_lower_row();
  filters();
  values_that_are_no_distance();
  queries_that_are_no_vectors();
  lists_of_many_parts();
  for (const RowFormat format : {RowFormat::f32, RowFormat::bf16, RowFormat::i8})
    for (const FlatKernel kernel : kernels_of(format)) the_same_bits_in_every_order_and_batch(format, kernel);
  whole_numbers_are_the_same_in_both_kernels();
  memory_that_is_not_there();
}
