// Memory that runs out at every allocation in turn: a change that meets it leaves the index as it was, a search gives
// the right answer or an error, and the next one works.
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <limits>
#include <new>
#include <numeric>
#include <vector>

#include "check.hpp"
#include "core/error.hpp"
#include "core/parallel.hpp"
#include "core/rng.hpp"
#include "index/vector_index.hpp"

namespace {

constexpr long kPlenty = std::numeric_limits<long>::max() / 2;
std::atomic<long> allowed{kPlenty};  // allocations, by any thread, until one fails
std::atomic<bool> for_good{false};   // and all after it, or that one alone

void* allocate(std::size_t size, std::size_t alignment) {
  const long left = allowed.fetch_sub(1);
  if (left <= 0 && (left == 0 || for_good.load())) throw std::bad_alloc();
  void* memory = alignment > alignof(std::max_align_t)
                     ? std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment)
                     : std::malloc(std::max<std::size_t>(size, 1));
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(std::size_t size) { return allocate(size, 1); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

using namespace semblance;

namespace {

constexpr std::size_t kDim = 16, kRows = 60, kMore = 20, kQueries = 8, kK = 10;

struct Layout {
  bool has_graph, link_codes;
  const char *codes, *rerank;
};
constexpr Layout kLayouts[] = {
    {true, false, "i8", "f32"}, {true, false, "i4", "i8"}, {true, true, "f32", ""}, {false, false, "f32", ""}};

IndexParams params_of(const Layout& layout) {
  IndexParams params;
  params.dim = kDim;
  params.metric = Metric::l2;
  params.has_graph = layout.has_graph;
  params.link_codes = layout.link_codes;
  params.codes = layout.codes;
  params.rerank = layout.rerank;
  params.max_degree = 8;
  params.ef_construction = 20;
  return params;
}

std::vector<float> vectors(std::size_t n, std::uint64_t seed) {
  std::vector<float> out(n * kDim);
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float>(uniform(seed, i)) - 0.5F;
  return out;
}

const std::byte* bytes(const std::vector<float>& rows) { return reinterpret_cast<const std::byte*>(rows.data()); }

struct Answers {
  std::vector<std::int64_t> ids, found = std::vector<std::int64_t>(kQueries * kK);
  std::vector<float> distances = std::vector<float>(kQueries * kK);
  bool operator==(const Answers&) const = default;
};

Answers ask(const VectorIndex& index, bool exact, AllowedIds* filter = nullptr) {
  static const std::vector<float> queries = vectors(kQueries, 9);
  Answers out;
  out.ids = index.ids();
  std::sort(out.ids.begin(), out.ids.end());
  SearchOptions options{kK, 60, exact, filter, 2};
  index.search({bytes(queries), kQueries}, options, nullptr, {out.found.data(), out.distances.data()});
  return out;
}

// The blocks that walks read name the neighbours that the graph has.
bool blocks_follow_links(const RowSet& rows) {
  if (!rows.links) return true;
  std::vector<std::uint32_t> list(rows.graph->degree(0));
  for (std::uint32_t node = 0; node < rows.count.load(); ++node) {
    const std::size_t count = rows.graph->neighbours(0, node, list.data());
    for (std::size_t i = 0; i < list.size(); ++i)
      if (rows.links->id(node, i) != (i < count ? list[i] : rows.links->id(node, count))) return false;
  }
  return true;
}

void add(VectorIndex& index, std::size_t n, std::uint64_t seed, std::int64_t first, bool replace) {
  const std::vector<float> rows = vectors(n, seed);
  std::vector<std::int64_t> ids(n);
  std::iota(ids.begin(), ids.end(), first);
  index.add({bytes(rows), ids.data(), n}, replace, 2, nullptr, ids.data());
}

// Rows that the base level's links lead to from the entry.
std::size_t unreachable_live_rows(const RowSet& rows) {
  if (!rows.graph) return 0;
  std::vector<std::uint32_t> queue{rows.graph->entry()}, list(rows.graph->degree(0));
  std::vector<bool> seen(rows.count.load());
  seen[queue[0]] = true;
  while (!queue.empty()) {
    const std::uint32_t node = queue.back();
    queue.pop_back();
    const std::size_t count = rows.graph->neighbours(0, node, list.data());
    for (std::size_t i = 0; i < count; ++i)
      if (!seen[list[i]]) seen[list[i]] = true, queue.push_back(list[i]);
  }
  std::size_t lost = 0;
  for (std::size_t slot = 0; slot < seen.size(); ++slot) lost += rows.alive(slot) && !seen[slot];
  return lost;
}

void check_sound(const VectorIndex& index) {
  const Moment now = index.moment();
  CHECK(index.check().problems.empty());
  CHECK(unreachable_live_rows(*now.rows) == 0);
  CHECK(blocks_follow_links(*now.rows));
}

// Whether the work was done; where it was not, for lack of memory.
template <class Work>
bool done(const Work& work) {
  try {
    work();
    return true;
  } catch (const std::bad_alloc&) {
  } catch (const CapacityError&) {
  }
  return false;
}

// An index as a file would hold it, blocks that are older than their links included: the next change encodes them.
void check_restored(const VectorIndex& index) {
  const Moment now = index.moment();
  const RowSet& rows = *now.rows;
  if (!rows.links) return;
  const std::size_t n = rows.count.load();
  std::vector<std::uint64_t> live(words_for(n));
  for (std::size_t slot = 0; slot < n; ++slot)
    live[slot / kWordBits] |= std::uint64_t{rows.alive(slot)} << (slot % kWordBits);
  VectorIndex::Parts parts{};
  parts.codes = rows.codes.arena.data();
  parts.links = make_link_codes(index.params(), nullptr);
  parts.blocks = rows.links->data();
  parts.ids = rows.ids.as<std::int64_t>();
  parts.live = live.data();
  parts.graph = rows.graph->parts();
  parts.n = n;
  VectorIndex restored(index.params());
  restored.restore(std::move(parts));
  add(restored, 3, 5, 5000, false);
  CHECK(restored.size() == index.size() + 3 && blocks_follow_links(*restored.moment().rows));
}

// Lets every allocation of a change fail in turn, alone or with all after it, until none is left to fail.
template <class Change>
void fails_everywhere(const Layout& layout, std::size_t size, const Change& change) {
  for (const bool all_after : {true, false}) {
    for (long turn = 0, left = -1; left < 0; turn += 1 + turn / 24) {
      VectorIndex index(params_of(layout));
      add(index, kRows, 0, 0, false);
      const std::int64_t some[] = {3, 50};
      index.remove(some, 2);
      const Answers before = ask(index, true);
      for_good.store(all_after);
      allowed.store(turn);
      const bool succeeded = done([&] { change(index); });
      left = allowed.exchange(kPlenty);
      CHECK(succeeded || left < 0);
      if (!succeeded) {
        CHECK(ask(index, true) == before && index.check().problems.empty());
        check_restored(index);
        change(index);
      }
      CHECK(index.size() == size);
      check_sound(index);
    }
  }
}

void changes_are_whole_or_absent(const Layout& layout) {
  constexpr std::size_t kLive = kRows - 2;
  for (const std::size_t n : {std::size_t{3}, kMore})
    fails_everywhere(layout, kLive + n, [&](VectorIndex& index) { add(index, n, 1, 1000, false); });
  fails_everywhere(layout, kLive + 1, [](VectorIndex& index) { add(index, 4, 2, 48, true); });
  fails_everywhere(layout, kLive - 2, [](VectorIndex& index) {
    const std::int64_t gone[] = {1, 2, 999, 3};
    index.remove(gone, 4);
  });
  fails_everywhere(layout, kLive, [](VectorIndex& index) { index.compact(2, nullptr); });
}

void searches_answer_or_fail(const Layout& layout) {
  VectorIndex index(params_of(layout));
  add(index, kRows, 0, 0, false);
  for (const bool exact : {false, true}) {
    for (const bool filtered : {false, true}) {
      for (long turn = 0, left = -1; left < 0; ++turn) {
        AllowedIds even;
        for (std::int64_t id = 0; id < static_cast<std::int64_t>(kRows); id += 2) even.ids.push_back(id);
        AllowedIds* const filter = filtered ? &even : nullptr;
        static Answers wanted;
        if (turn == 0) wanted = ask(index, exact, filter), even.slots.reset(), even.rows.reset();
        for_good.store(turn % 2 == 0);
        allowed.store(turn / 2);
        const bool answered = done([&] { CHECK(ask(index, exact, filter) == wanted); });
        left = allowed.exchange(kPlenty);
        CHECK(answered || left < 0);
        CHECK(ask(index, exact, filter) == wanted);
      }
    }
  }
}

// Where memory runs out while links are exchanged and again while that is repaired, rows may be out of reach: the next
// change, small as it is, brings them back. Lists of few links, so that many are given up.
void a_failed_repair_is_made_up_for() {
  constexpr std::size_t kMany = 240, kFew = 24;
  IndexParams params = params_of(kLayouts[1]);
  params.max_degree = 6;
  const std::vector<float> rows = vectors(kMany + kFew, 3);
  const std::vector<float> last(rows.end() - kFew * kDim, rows.end());
  std::vector<std::int64_t> ids(kMany + kFew);
  std::iota(ids.begin(), ids.end(), 0);
  std::size_t refused = 0, torn = 0;
  for (const bool all_after : {true, false}) {
    for (long turn = 0, left = -1; left < 0; turn += all_after ? 1 : 8) {
      VectorIndex index(params);
      index.add({bytes(rows), ids.data(), kMany}, false, 1, nullptr, ids.data());
      std::int64_t given[kFew];
      for_good.store(all_after);
      allowed.store(turn);
      refused += !done([&] { index.add({bytes(last), ids.data() + kMany, kFew}, false, 1, nullptr, given); });
      left = allowed.exchange(kPlenty);
      torn += index.moment().rows->graph->torn();
      add(index, 1, 5, 5000, false);
      check_sound(index);
    }
  }
  CHECK(refused > 0 && torn > 0);
}

// Without memory for a thread or for its ticket a job has fewer helpers, and none of its tickets outlives it.
void jobs_do_without_helpers() {
  constexpr std::size_t kItems = 400, kThreads = 140;  // more tickets than a block of the queue holds
  std::vector<std::atomic<int>> seen(kItems);
  const ChunkBody body = [&](std::size_t begin, std::size_t, std::size_t) { seen[begin].fetch_add(1); };
  int runs = 0;
  parallel_for(2, 2, 1, [](std::size_t, std::size_t, std::size_t) {});  // makes the pool
  for (const bool all_after : {true, false}) {
    for (long turn = 0, left = -1; left < 0; ++turn) {
      for_good.store(all_after);
      allowed.store(turn);
      const bool finished = done([&] { parallel_for(kItems, kThreads, 1, body); });
      left = allowed.exchange(kPlenty);
      ++runs;
      CHECK(finished);
      for (const auto& count : seen) CHECK(count.load() == runs);
    }
    parallel_for(kItems, kThreads, 1, body);  // starts the threads that there was no memory for
    ++runs;
  }
  CHECK(runs > 4);
}

}  // namespace

int main() {
  jobs_do_without_helpers();
  a_failed_repair_is_made_up_for();
  for (const Layout& layout : kLayouts) {
    changes_are_whole_or_absent(layout);
    searches_answer_or_fail(layout);
  }
}
