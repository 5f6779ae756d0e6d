// Graph search as a card runs it: distances against their definition, recall against all pairs, filters, determinism.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <random>
#include <set>
#include <vector>

#include "check.hpp"
#include "cuda/device.cu"
#include "cuda/graph_search.cu"

using namespace semblance;
using cuda::GraphCodes;
using cuda::GraphScore;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Rows in one form of codes, and the values that those codes stand for.
struct Coded {
  std::vector<std::byte> bytes;
  std::vector<float> scales, values;
  cuda::GraphRows rows{};
};

Coded coded(GraphCodes codes, GraphScore score, const std::vector<float>& dense, std::size_t dim) {
  Coded out;
  const std::size_t count = dense.size() / dim, stride = cuda::graph_row_bytes(codes, dim);
  out.bytes.resize(count * stride);
  out.scales.resize(count, 1.0F);
  out.values.resize(dense.size());
  for (std::size_t i = 0; i < count; ++i) {
    const float* x = &dense[i * dim];
    std::byte* row = &out.bytes[i * stride];
    float largest = 0;
    for (std::size_t j = 0; j < dim; ++j) largest = std::max(largest, std::fabs(x[j]));
    out.scales[i] = largest / 127;
    for (std::size_t j = 0; j < dim; ++j) {
      float& value = out.values[i * dim + j];
      if (codes == GraphCodes::f32) {
        std::memcpy(row + 4 * j, &x[j], 4);
        value = x[j];
      } else if (codes == GraphCodes::f16) {
        const std::uint16_t half = float_to_half(x[j]);
        std::memcpy(row + 2 * j, &half, 2);
        value = half_to_float(half);
      } else if (codes == GraphCodes::i8) {
        const auto code = static_cast<std::int8_t>(std::lround(x[j] / out.scales[i]));
        std::memcpy(row + j, &code, 1);
        value = static_cast<float>(code) * out.scales[i];
      } else {
        value = x[j] > 0 ? 1.0F : 0.0F;
        if (x[j] > 0) row[j / 8] |= std::byte{1} << j % 8;
      }
    }
  }
  out.rows = {codes, score, static_cast<std::uint32_t>(dim), out.bytes.data(), out.scales.data(), nullptr};
  return out;
}

double distance(GraphScore score, const float* a, const float* b, std::size_t dim) {
  double dot = 0, squares = 0, differ = 0, either = 0;
  for (std::size_t j = 0; j < dim; ++j) {
    dot += double{a[j]} * b[j];
    squares += (double{a[j]} - b[j]) * (double{a[j]} - b[j]);
    differ += a[j] != b[j];
    either += a[j] != 0 || b[j] != 0;
  }
  if (score == GraphScore::product) return 1 - dot;
  if (score == GraphScore::squares) return squares;
  return score == GraphScore::hamming ? differ : either == 0 ? 0 : 1 - dot / either;
}

struct World {
  std::size_t dim, count, queries;
  std::vector<float> rows, asked;
  std::vector<std::uint32_t> links;
  std::uint32_t degree = 16;
  std::vector<std::int64_t> ids;

  World(std::size_t dim_, std::size_t count_, std::size_t queries_) : dim(dim_), count(count_), queries(queries_) {
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    for (std::size_t i = 0; i < count * dim; ++i) rows.push_back(normal(random));
    for (std::size_t i = 0; i < queries * dim; ++i) asked.push_back(normal(random));
    to_unit_length(rows);  // so that products and squares order alike, and one graph leads both
    to_unit_length(asked);
    for (std::size_t i = 0; i < count; ++i) ids.push_back(static_cast<std::int64_t>(1000 + 3 * i));
    make_links(random);
  }

  void to_unit_length(std::vector<float>& values) const {
    for (std::size_t i = 0; i < values.size(); i += dim) {
      float squares = 0;
      for (std::size_t j = i; j < i + dim; ++j) squares += values[j] * values[j];
      for (std::size_t j = i; j < i + dim; ++j) values[j] /= std::sqrt(squares);
    }
  }

  float nearness(std::size_t i, std::size_t j) const {
    float dot = 0;
    for (std::size_t l = 0; l < dim; ++l) dot += rows[i * dim + l] * rows[j * dim + l];
    return -dot;
  }

  void make_links(std::mt19937& random) {
    links.assign(count * degree, cuda::kNoLink);
    for (std::size_t i = 0; i < count; ++i) {  // the nearest rows, and a few anywhere; lists of several lengths
      std::vector<std::pair<float, std::uint32_t>> near;
      for (std::size_t j = 0; j < count; ++j)
        if (j != i) near.push_back({nearness(i, j), static_cast<std::uint32_t>(j)});
      std::partial_sort(near.begin(), near.begin() + 10, near.end());
      for (std::size_t l = 0; l < 10; ++l) links[i * degree + l] = near[l].second;
      for (std::size_t l = 10; l < 10 + i % 7; ++l)
        links[i * degree + l] = static_cast<std::uint32_t>(random() % count);
    }
  }
};

struct Answer {
  std::vector<std::int64_t> ids;
  std::vector<float> distances;
};

struct Question {
  const Coded* walk;
  const Coded* fine = nullptr;
  std::uint32_t k = 10, ef = 64, walks = 1, width = 2;
  const std::vector<std::uint32_t>* allowed = nullptr;  // bits of walks, rows of scans
  bool scans = false;
  std::uint32_t parts = 3;
  bool unit = false;
};

cuda::GraphView view(const World& world, const Question& q) {
  cuda::GraphRows none{};
  return {q.walk->rows,
          q.fine ? q.fine->rows : none,
          world.links.data(),
          world.ids.data(),
          static_cast<std::uint32_t>(world.count),
          world.degree,
          5};
}

// Packed bits for bit metrics.
std::vector<std::byte> packed(const std::vector<float>& values) {
  std::vector<std::byte> bits(values.size() / 8);
  for (std::size_t i = 0; i < values.size(); ++i)
    if (values[i] > 0) bits[i / 8] |= std::byte{1} << i % 8;
  return bits;
}

Answer ask(const World& world, const Question& q) {
  Answer out{std::vector<std::int64_t>(world.queries * q.k, -7), std::vector<float>(world.queries * q.k, -7.0F)};
  const GraphScore score = (q.fine ? q.fine : q.walk)->rows.score;
  const bool is_packed = q.walk->rows.codes == GraphCodes::bits && q.walk->rows.centre == nullptr;
  const std::vector<std::byte> bits = packed(world.asked);
  const void* values = is_packed ? static_cast<const void*>(bits.data()) : world.asked.data();
  const cuda::GraphQueries queries{values, world.queries, q.unit};
  const cuda::GraphHits hits{out.ids.data(), out.distances.data(), score == GraphScore::product ? 1.0F : 0.0F, false};
  const std::uint32_t* allowed = q.allowed ? q.allowed->data() : nullptr;
  if (q.scans) {
    const auto count = static_cast<std::uint32_t>(q.allowed->size());
    cuda::scan_rows(view(world, q), queries, {q.k, q.ef, allowed, count, q.parts}, hits, nullptr);
  } else {
    cuda::search_graph(view(world, q), queries, {q.k, q.ef, q.walks, q.width, 32, allowed}, hits, nullptr);
  }
  return out;
}

std::vector<float> query_values(const World& world, GraphCodes codes) {
  std::vector<float> values = world.asked;
  if (codes == GraphCodes::bits)
    for (float& x : values) x = x > 0 ? 1.0F : 0.0F;
  return values;
}

// Distances belong to their ids, come in order, no id twice; returns the share of the true k closest that was found.
double check_answer(const World& world, const Question& q, const Answer& answer, const std::vector<bool>* passes) {
  const Coded& rows = q.fine ? *q.fine : *q.walk;
  const std::vector<float> asked = query_values(world, rows.rows.codes);
  std::size_t found = 0, wanted = 0;
  for (std::size_t i = 0; i < world.queries; ++i) {
    std::vector<double> all;
    for (std::size_t j = 0; j < world.count; ++j)
      if (!passes || (*passes)[j])
        all.push_back(distance(rows.rows.score, &asked[i * world.dim], &rows.values[j * world.dim], world.dim));
    std::sort(all.begin(), all.end());
    const std::size_t k = std::min<std::size_t>(q.k, all.size());
    std::set<std::int64_t> seen;
    for (std::size_t j = 0; j < q.k; ++j) {
      const std::int64_t id = answer.ids[i * q.k + j];
      const float d = answer.distances[i * q.k + j];
      if (id == -1) {
        CHECK(d == kInfinity);
        continue;
      }
      CHECK(id % 3 == 1000 % 3 && id >= 1000 && seen.insert(id).second);
      const auto row = static_cast<std::size_t>((id - 1000) / 3);
      CHECK(!passes || (*passes)[row]);
      const double exact = distance(rows.rows.score, &asked[i * world.dim], &rows.values[row * world.dim], world.dim);
      CHECK(std::fabs(d - exact) <= 1e-5 * (1 + std::fabs(exact)));
      CHECK(j == 0 || answer.distances[i * q.k + j - 1] <= d);
      found += d <= all[k - 1] + 1e-5 * (1 + std::fabs(all[k - 1]));
    }
    wanted += k;
  }
  return static_cast<double>(found) / static_cast<double>(wanted);
}

bool same(const Answer& a, const Answer& b) {
  return a.ids == b.ids && std::memcmp(a.distances.data(), b.distances.data(), a.distances.size() * sizeof(float)) == 0;
}

void check_form(const World& world, GraphCodes codes, GraphScore score) {
  const Coded rows = coded(codes, score, world.rows, world.dim);
  const Question q{.walk = &rows};
  CHECK(check_answer(world, q, ask(world, q), nullptr) >= 0.95);
}

void check_forms() {
  const World world(40, 400, 3), narrow(8, 300, 2), wide(136, 300, 2);
  for (const GraphCodes codes : {GraphCodes::f32, GraphCodes::f16, GraphCodes::i8})
    for (const GraphScore score : {GraphScore::product, GraphScore::squares}) check_form(world, codes, score);
  for (const GraphScore score : {GraphScore::hamming, GraphScore::jaccard}) check_form(world, GraphCodes::bits, score);
  for (const World* other : {&narrow, &wide})
    for (const GraphCodes codes : {GraphCodes::f32, GraphCodes::f16, GraphCodes::i8, GraphCodes::bits})
      check_form(*other, codes, codes == GraphCodes::bits ? GraphScore::hamming : GraphScore::squares);
}

void check_reordering() {
  const World world(40, 400, 3);
  const Coded fine = coded(GraphCodes::f32, GraphScore::squares, world.rows, 40);
  const Coded i8 = coded(GraphCodes::i8, GraphScore::squares, world.rows, 40);
  Coded bits = coded(GraphCodes::bits, GraphScore::hamming, world.rows, 40);
  const std::vector<float> centre(40, 0.0F);
  bits.rows.centre = centre.data();
  const Question by_i8{.walk = &i8, .fine = &fine}, by_bits{.walk = &bits, .fine = &fine, .ef = 256};
  CHECK(check_answer(world, by_i8, ask(world, by_i8), nullptr) >= 0.9);
  CHECK(check_answer(world, by_bits, ask(world, by_bits), nullptr) >= 0.8);
}

// The same bits whatever order the threads and blocks run in, with one walk and with several, which meet.
void check_determinism() {
  const World world(24, 400, 2);
  const Coded rows = coded(GraphCodes::f16, GraphScore::squares, world.rows, 24);
  const Coded fine = coded(GraphCodes::f32, GraphScore::squares, world.rows, 24);
  for (const Question& q :
       {Question{.walk = &rows, .walks = 1, .width = 3}, Question{.walk = &rows, .walks = 4, .width = 3},
        Question{.walk = &rows, .fine = &fine, .walks = 3, .width = 4}}) {
    std::optional<Answer> first;
    emulated::every_schedule([&] {
      const Answer now = ask(world, q);
      if (first) CHECK(same(*first, now));
      first = now;
    });
    CHECK(check_answer(world, q, *first, nullptr) >= 0.95);
  }
}

// Cosine: a query's length, however small or large, says nothing.
void check_lengths() {
  World world(24, 300, 1);
  const Coded rows = coded(GraphCodes::f32, GraphScore::product, world.rows, 24);
  const Coded fine = coded(GraphCodes::f16, GraphScore::product, world.rows, 24);
  const Question q{.walk = &rows, .fine = &fine, .unit = true};
  const Answer expected = ask(world, q);
  CHECK(check_answer(world, q, expected, nullptr) >= 0.95);
  for (const int power : {-80, -40, 40, 60}) {
    World other = world;
    for (float& x : other.asked) x = std::ldexp(x, power);
    CHECK(same(ask(other, q), expected));
  }
}

// A query's bits do not hang on how its work was shared, nor on how full the card is.
void check_shares() {
  World world(200, 300, 6);
  for (std::size_t i = 0; i < world.asked.size(); ++i) world.asked[i] *= static_cast<float>(3 + i / 200);
  const Coded rows = coded(GraphCodes::f16, GraphScore::product, world.rows, 200);
  const Coded fine = coded(GraphCodes::f32, GraphScore::product, world.rows, 200);
  std::vector<std::uint32_t> all(world.count);
  for (std::uint32_t i = 0; i < world.count; ++i) all[i] = i;
  Question q{.walk = &rows, .fine = &fine, .allowed = &all, .scans = true, .parts = 1, .unit = true};
  const Answer alone = ask(world, q);
  for (q.parts = 2; q.parts < 8; q.parts += 5) CHECK(same(ask(world, q), alone));
  const int multiprocessors = emulated::multiprocessors;
  for (const std::uint32_t walks : {1U, 3U}) {
    const Question walk{.walk = &rows, .fine = &fine, .walks = walks, .unit = true};
    std::optional<Answer> first;
    for (const int places : {1, 2, 9}) {  // few threads, many, and many with much under way
      emulated::multiprocessors = places;
      const Answer now = ask(world, walk);
      if (first) CHECK(same(*first, now));
      first = now;
    }
  }
  emulated::multiprocessors = multiprocessors;
}

// More keys than the end takes at a time, and the same rows in several of its rounds.
void check_many_found() {
  const World world(8, 700, 1);
  const Coded rows = coded(GraphCodes::f32, GraphScore::squares, world.rows, 8);
  const Coded i8 = coded(GraphCodes::i8, GraphScore::squares, world.rows, 8);
  for (const Question& q : {Question{.walk = &rows, .k = 520, .ef = 520, .walks = 3, .width = 4},
                            Question{.walk = &i8, .fine = &rows, .k = 520, .ef = 520, .walks = 3, .width = 4}})
    CHECK(check_answer(world, q, ask(world, q), nullptr) > 0.99);
}

void check_filters() {
  const World world(24, 400, 2);
  const Coded rows = coded(GraphCodes::f32, GraphScore::squares, world.rows, 24);
  for (const std::size_t step : {2U, 40U, 401U}) {
    std::vector<bool> passes(world.count);
    std::vector<std::uint32_t> bits((world.count + 31) / 32), list;
    for (std::size_t i = step - 1; i < world.count; i += step) {
      passes[i] = true;
      bits[i / 32] |= 1U << i % 32;
      list.push_back(static_cast<std::uint32_t>(i));
    }
    const Question walk{.walk = &rows, .ef = 256, .allowed = &bits};
    const double recall = check_answer(world, walk, ask(world, walk), &passes);
    CHECK(step > 2 || recall >= 0.95);
    const Question scan{.walk = &rows, .allowed = &list, .scans = true};
    CHECK(list.empty() || check_answer(world, scan, ask(world, scan), &passes) == 1.0);
  }
}

// More than there is, the most that may be asked for, and a set of rows seen that fills up again and again.
void check_limits() {
  const World world(8, 300, 2);
  const Coded rows = coded(GraphCodes::f32, GraphScore::squares, world.rows, 8);
  const Question all{.walk = &rows, .k = 1024, .ef = 1024};
  const Answer answer = ask(world, all);
  CHECK(check_answer(world, all, answer, nullptr) > 0.99);
  CHECK(std::count(answer.ids.begin(), answer.ids.end(), -1) >= 2 * (1024 - 300));
  const World larger(8, 2000, 2);
  const Coded many = coded(GraphCodes::f32, GraphScore::squares, larger.rows, 8);
  const Question narrow{.walk = &many, .k = 32, .ef = 32, .width = 1};
  const Answer one = ask(larger, narrow);
  CHECK(check_answer(larger, narrow, one, nullptr) > 0.6 && same(one, ask(larger, narrow)));
  const Question wide{.walk = &many, .k = 10, .ef = 512, .width = 8};
  CHECK(check_answer(larger, wide, ask(larger, wide), nullptr) > 0.99);
}

}  // namespace

int main() {
  check_forms();
  check_reordering();
  check_determinism();
  check_lengths();
  check_shares();
  check_many_found();
  check_filters();
  check_limits();
  return 0;
}
