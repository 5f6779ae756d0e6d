// An index through its native face: right answers, refused ids, stops that change nothing, and searches beside writers
// (meant for AddressSanitizer and ThreadSanitizer as much as for itself).
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <limits>
#include <numeric>
#include <thread>
#include <vector>

#include "check.hpp"
#include "core/error.hpp"
#include "core/rng.hpp"
#include "index/vector_index.hpp"

using namespace semblance;

namespace {

constexpr std::size_t kDim = 16;

IndexParams params_of(Metric metric, bool has_graph, const char* codes, const char* rerank) {
  IndexParams params;
  params.dim = kDim;
  params.metric = metric;
  params.has_graph = has_graph;
  params.codes = codes;
  params.rerank = rerank;
  params.max_degree = 8;
  params.ef_construction = 40;
  params.seed = 1;
  return params;
}

// An index that walks by neighbour codes and keeps rows as they are.
IndexParams links_params() {
  IndexParams params = params_of(Metric::l2, true, "f32", "");
  params.link_codes = true;
  return params;
}

std::vector<float> vectors(std::size_t n, std::uint64_t seed) {
  std::vector<float> out(n * kDim);
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float>(uniform(seed, i)) - 0.5F;
  return out;
}

const std::byte* bytes(const std::vector<float>& rows, std::size_t row = 0) {
  return reinterpret_cast<const std::byte*>(rows.data() + row * kDim);
}

std::vector<std::int64_t> range(std::int64_t first, std::size_t n) {
  std::vector<std::int64_t> out(n);
  std::iota(out.begin(), out.end(), first);
  return out;
}

void add(VectorIndex& index, const std::vector<float>& rows, const std::vector<std::int64_t>& ids, bool replace = false,
         std::size_t threads = 2, Monitor* monitor = nullptr) {
  std::vector<std::int64_t> given(ids.size());
  index.add({bytes(rows), ids.data(), ids.size()}, replace, threads, monitor, given.data());
  CHECK(given == ids);
}

struct Found {
  std::vector<std::int64_t> ids;
  std::vector<float> distances;
};

Found search(const VectorIndex& index, const std::byte* queries, std::size_t n, const SearchOptions& options) {
  Found out{std::vector<std::int64_t>(n * options.k), std::vector<float>(n * options.k)};
  index.search({queries, n}, options, nullptr, {out.ids.data(), out.distances.data()});
  return out;
}

SearchOptions options_of(std::size_t k, bool exact = false, AllowedIds* allowed = nullptr) {
  SearchOptions options;
  options.k = k;
  options.ef = 200;
  options.exact = exact;
  options.allowed = allowed;
  options.threads = 2;
  return options;
}

double squared_distance(const float* a, const float* b) {
  double sum = 0;
  for (std::size_t j = 0; j < kDim; ++j) sum += (double{a[j]} - double{b[j]}) * (double{a[j]} - double{b[j]});
  return sum;
}

void answers_like_brute_force(bool has_graph) {
  constexpr std::size_t kRows = 500, kK = 10;
  const std::vector<float> rows = vectors(kRows, 1), queries = vectors(20, 2);
  VectorIndex index(params_of(Metric::l2, has_graph, "f32", ""));
  add(index, rows, range(100, kRows));
  CHECK(index.size() == kRows && index.check().problems.empty());
  std::size_t right = 0;
  for (std::size_t q = 0; q < 20; ++q) {
    std::vector<std::pair<double, std::int64_t>> truth;
    for (std::size_t i = 0; i < kRows; ++i)
      truth.emplace_back(squared_distance(&queries[q * kDim], &rows[i * kDim]), static_cast<std::int64_t>(100 + i));
    std::sort(truth.begin(), truth.end());
    const Found found = search(index, bytes(queries, q), 1, options_of(kK));
    for (std::size_t i = 0; i < kK; ++i) {
      right += found.ids[i] == truth[i].second;
      CHECK(std::abs(found.distances[i] - truth[i].first) < 1e-2);
    }
    const Found exact = search(index, bytes(queries, q), 1, options_of(kK, true));
    for (std::size_t i = 0; i < kK; ++i) CHECK(exact.ids[i] == truth[i].second);
  }
  CHECK(right >= 190);
}

void pads_where_rows_are_few() {
  VectorIndex index(params_of(Metric::cosine, true, "i8", "f16"));
  const std::vector<float> rows = vectors(3, 1);
  Found found = search(index, bytes(rows), 1, options_of(5));
  CHECK(std::count(found.ids.begin(), found.ids.end(), -1) == 5);
  add(index, rows, {7, 8, 9});
  found = search(index, bytes(rows), 1, options_of(5));
  CHECK(found.ids[0] == 7 && std::count(found.ids.begin(), found.ids.end(), -1) == 2);
  CHECK(std::isinf(found.distances[4]));
  AllowedIds allowed;
  allowed.ids = {9, 50};
  found = search(index, bytes(rows), 1, options_of(5, false, &allowed));
  CHECK(found.ids[0] == 9 && found.ids[1] == -1);
}

template <class E, class F>
void raises(F&& call) {
  bool raised = false;
  try {
    call();
  } catch (const E&) {
    raised = true;
  }
  CHECK(raised);
}

void refuses_ids() {
  VectorIndex index(params_of(Metric::l2, true, "f32", ""));
  const std::vector<float> rows = vectors(3, 1);
  add(index, rows, {1, 2, 3});
  raises<ArgumentError>([&] { add(index, rows, {4, 2, 5}); });
  raises<ArgumentError>([&] { add(index, rows, {4, 4, 5}, true); });
  raises<ArgumentError>([&] { add(index, rows, {4, -1, 5}, true); });
  CHECK(index.ids() == std::vector<std::int64_t>({1, 2, 3}) && !index.contains(4));
  const std::int64_t missing = 9;
  std::vector<float> out(kDim);
  raises<NotFoundError>([&] { index.get(&missing, 1, reinterpret_cast<std::byte*>(out.data())); });
}

// Lets the first `polls` calls pass.
struct StopAfter : Monitor {
  explicit StopAfter(int polls) : left(polls) {}
  bool poll(std::size_t, std::size_t) override { return left-- > 0; }
  int left;
};

void stops_unchanged(const IndexParams& params, int polls) {
  VectorIndex index(params);
  const std::vector<float> rows = vectors(100, 1), many = vectors(60000, 2);
  add(index, rows, range(0, 100));
  StopAfter monitor(polls);
  raises<Interrupted>([&] { add(index, many, range(100, 60000), false, 2, &monitor); });
  CHECK(index.ids() == range(0, 100) && index.size() == 100 && index.check().problems.empty());
  const Found found = search(index, bytes(rows), 100, options_of(1));
  CHECK(found.ids == range(0, 100));
  add(index, vectors(50, 3), range(100, 50));
  CHECK(index.size() == 150 && index.check().problems.empty());
  index.compact(2, nullptr);
  CHECK(index.ids() == range(0, 150) && index.check().rows == 150);
}

void equal_at_any_thread_count() {
  const std::vector<float> rows = vectors(1500, 4);
  std::vector<std::uint32_t> links;
  for (const std::size_t threads : {1U, 2U, 3U, 8U}) {
    VectorIndex index(params_of(Metric::cosine, true, "i8", "f16"));
    add(index, rows, range(0, 1500), false, threads);
    const Graph::Parts parts = index.moment().rows->graph->parts();
    const std::vector<std::uint32_t> own(parts.links, parts.links + 1500 * 8);
    if (links.empty()) links = own;
    CHECK(own == links);
  }
}

// Ids 0-199 stay, 200-399 are replaced, 400-599 come and go; one id at a time is removed for good.
struct Together {
  explicit Together(const IndexParams& params) : index(params), rows(vectors(1200, 5)) {
    add(index, rows, range(0, 1200));
    for (std::atomic<bool>& g : gone) g.store(false);
  }

  void look(std::uint64_t seed) {
    AllowedIds allowed;
    allowed.ids = range(0, 1200);
    for (std::size_t turn = 0; !done.load(); ++turn) {
      const auto at = static_cast<std::size_t>(uniform(seed, turn) * 1199.0);
      std::vector<bool> before(1200);
      for (std::size_t i = 600; i < 1200; ++i) before[i] = gone[i].load();
      SearchOptions options = options_of(10, turn % 4 == 3, turn % 2 == 1 ? &allowed : nullptr);
      options.threads = 1 + turn % 2;
      const Found found = search(index, bytes(rows, at), 1, options);
      for (std::size_t i = 0; i < found.ids.size(); ++i) {
        CHECK(found.ids[i] >= -1 && found.ids[i] < 1200);
        CHECK(found.ids[i] < 600 || !before[static_cast<std::size_t>(found.ids[i])]);
        CHECK(i == 0 || found.distances[i - 1] <= found.distances[i]);
      }
      // A scan finds a row that stays at every moment; a walk over a changing graph nearly always.
      const bool same = at >= 200 || found.ids[0] == static_cast<std::int64_t>(at);
      CHECK(same || (!options.exact && index.params().has_graph));
      looks.fetch_add(1);
      if (!same) misses.fetch_add(1);
      index.within({bytes(rows, at), 1}, 0.5F, options, nullptr);
      const std::int64_t kept = static_cast<std::int64_t>(at % 200);
      std::vector<float> out(kDim);
      index.get(&kept, 1, reinterpret_cast<std::byte*>(out.data()));
      CHECK(std::equal(out.begin(), out.end(), rows.begin() + kept * static_cast<std::ptrdiff_t>(kDim)));
      CHECK(index.contains(kept) && index.ids().size() >= 200);
    }
  }

  void change(std::size_t turns) {
    for (std::size_t turn = 0; turn < turns; ++turn) {
      const auto first = static_cast<std::int64_t>(200 + 10 * (turn % 20));
      add(index,
          std::vector<float>(rows.begin() + first * static_cast<std::ptrdiff_t>(kDim),
                             rows.begin() + (first + 10) * static_cast<std::ptrdiff_t>(kDim)),
          range(first, 10), true, 1 + turn % 3);
      const std::vector<std::int64_t> some = range(first + 200, 10);
      index.remove(some.data(), some.size());
      add(index, vectors(10, turn), some);
      const auto last = static_cast<std::int64_t>(600 + turn % 600);
      index.remove(&last, 1);
      gone[static_cast<std::size_t>(last)].store(true);
    }
  }

  void tidy() {
    while (!done.load()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(300));  // the lock of writers is not a fair one
      index.compact(1, nullptr);
      CHECK(index.check().problems.empty());
      const auto frozen = index.freeze();
      const Moment held = index.moment();
      for (std::uint32_t slot = 0; slot < held.published; ++slot) CHECK(held.rows->id(slot) >= 0);
    }
  }

  VectorIndex index;
  std::vector<float> rows;
  std::atomic<bool> gone[1200];
  std::atomic<bool> done{false};
  std::atomic<int> looks{0}, misses{0};
};

void searches_beside_writers(const IndexParams& params, std::size_t turns) {
  Together all(params);
  std::vector<std::thread> threads;
  for (std::uint64_t seed = 0; seed < 3; ++seed) threads.emplace_back([&all, seed] { all.look(seed); });
  threads.emplace_back([&all] { all.tidy(); });
  all.change(turns);
  all.done.store(true);
  for (std::thread& thread : threads) thread.join();
  CHECK(all.index.check().problems.empty());
  CHECK(all.misses.load() * 50 <= all.looks.load());
  const Found found = search(all.index, bytes(all.rows), 200, options_of(1, true));
  CHECK(found.ids == range(0, 200));
}

// A filter is about ids: what it remembers of one index must not be taken for another, larger one.
void one_filter_in_two_indexes() {
  VectorIndex small(params_of(Metric::l2, true, "f32", "")), large(params_of(Metric::l2, true, "f32", ""));
  const std::vector<float> rows = vectors(1000, 6);
  add(small, rows, range(0, 50));
  add(large, rows, range(20, 1000));
  AllowedIds allowed;
  allowed.ids = {3, 30, 900};
  for (int turn = 0; turn < 3; ++turn) {
    Found found = search(small, bytes(rows), 1, options_of(3, false, &allowed));
    CHECK(std::count(found.ids.begin(), found.ids.end(), -1) == 1);
    CHECK(std::count(found.ids.begin(), found.ids.end(), 3) == 1);
    found = search(large, bytes(rows), 1, options_of(3, turn == 1, &allowed));
    CHECK(std::count(found.ids.begin(), found.ids.end(), -1) == 1);
    CHECK(std::count(found.ids.begin(), found.ids.end(), 900) == 1);
  }
}

}  // namespace

int main() {
  answers_like_brute_force(true);
  answers_like_brute_force(false);
  pads_where_rows_are_few();
  refuses_ids();
  equal_at_any_thread_count();
  searches_beside_writers(params_of(Metric::l2, true, "i8", "f32"), 40);
  searches_beside_writers(params_of(Metric::l2, false, "i8", "f32"), 40);
  searches_beside_writers(params_of(Metric::l2, true, "i4", "f32"), 40);
  searches_beside_writers(links_params(), 40);
  one_filter_in_two_indexes();
  for (const int polls : {0, 1, 3}) {
    stops_unchanged(params_of(Metric::l2, true, "i8", "f32"), polls);
    stops_unchanged(links_params(), polls);
  }
}
