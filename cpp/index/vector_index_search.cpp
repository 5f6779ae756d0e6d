// Searches: walk or scan on the codes, reorder on the finer ones, and the one way out to ids and distances.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>

#include "core/error.hpp"
#include "index/input.hpp"
#include "index/search_scratch.hpp"
#include "index/vector_index.hpp"

namespace semblance {
namespace {

constexpr std::size_t kQueryGrain = 8;
constexpr std::size_t kScanBlock = 128;  // rows a query is scored against at a time: their codes stay in cache
constexpr float kRangeSlack = 0.01F;     // codes find what lies this much beyond a radius; finer codes then decide

// Candidates that are worth a look on finer codes: codes misplace the last few of k.
std::size_t rerank_count(std::size_t k, bool fine) { return fine ? std::max(2 * k, k + 16) : k; }

// Calls visit(slots, count) with the slots of [0, n) that pass the filter, some hundred at a time.
template <class Visit>
void for_each_passing(const Filter& filter, std::size_t n, const Visit& visit) {
  std::uint32_t slots[kScanBlock + kWordBits];
  std::size_t count = 0;
  for (std::size_t w = 0; w < words_for(n); ++w) {
    for (std::uint64_t word = filter.word(w); word != 0; word &= word - 1)
      slots[count++] = static_cast<std::uint32_t>(w * kWordBits + static_cast<std::size_t>(std::countr_zero(word)));
    while (count > 0 && slots[count - 1] >= n) --count;
    if (count >= kScanBlock) visit(slots, std::exchange(count, 0));
  }
  if (count > 0) visit(slots, count);
}

void scan(const Filter& filter, const Scorer& scorer, std::size_t n, TopK& best) {
  float scores[kScanBlock + kWordBits];
  for_each_passing(filter, n, [&](const std::uint32_t* slots, std::size_t count) {
    scorer(slots, count, scores);
    for (std::size_t i = 0; i < count; ++i) best.offer({scores[i], slots[i]});
  });
}

// The query as the codecs take it: a unit vector under cosine.
const std::byte* ready(const std::byte* query, const IndexParams& params, std::vector<float>& unit) {
  if (params.metric != Metric::cosine) return query;
  unit.resize(params.dim);
  normalise(reinterpret_cast<const float*>(query), params.dim, unit.data());
  return reinterpret_cast<const std::byte*>(unit.data());
}

void keep_first_of_each_id(const RowSet& rows, std::vector<Neighbour>& found) {
  std::vector<std::int64_t> seen;
  std::erase_if(found, [&](const Neighbour& n) {
    const std::int64_t id = rows.id(n.id);
    if (std::find(seen.begin(), seen.end(), id) != seen.end()) return true;
    seen.push_back(id);
    return false;
  });
}

}  // namespace

float VectorIndex::to_distance(float score) const {
  switch (params_.metric) {
    case Metric::cosine:
      return std::max(0.0F, 1.0F + score);
    case Metric::ip:
      return 1.0F + score;
    case Metric::l2:
      return std::max(0.0F, score);
    default:
      return score;
  }
}

float VectorIndex::to_score(float distance) const {
  return params_.metric == Metric::cosine || params_.metric == Metric::ip ? distance - 1.0F : distance;
}

VectorIndex::Snapshot VectorIndex::snapshot(AllowedIds* allowed) const {
  if (allowed == nullptr) {
    const std::uint64_t version = version_.load();
    return {rows(), nullptr, version};
  }
  const std::lock_guard lock(allowed->mutex);
  const std::shared_lock map_lock(map_mutex_);
  Snapshot out{rows(), allowed->slots, version_.load()};
  if (out.allowed && allowed->version == out.version) return out;
  auto slots = std::make_shared<SlotSet>();
  slots->bits = Bitset(out.rows->count.load());
  for (const std::int64_t id : allowed->ids) {
    const std::uint32_t slot = out.rows->find(id);
    if (slot == kNoSlot || slots->bits.test(slot)) continue;
    slots->bits.set(slot);
    ++slots->count;
  }
  out.allowed = allowed->slots = slots;
  allowed->version = out.version;
  return out;
}

std::unique_ptr<IndexSearchScratch> VectorIndex::take_scratch() const {
  const std::lock_guard lock(scratch_mutex_);
  if (scratch_.empty()) return std::make_unique<IndexSearchScratch>();
  auto scratch = std::move(scratch_.back());
  scratch_.pop_back();
  return scratch;
}

void VectorIndex::give_scratch(std::unique_ptr<IndexSearchScratch> scratch) const {
  const std::lock_guard lock(scratch_mutex_);
  scratch_.push_back(std::move(scratch));
}

// Leaves the closest candidates in scratch.found, by the codes' own scores.
void VectorIndex::walk(const RowSet& rows, const Scorer& scorer, const SearchOptions& options, const SlotSet* allowed,
                       std::size_t wanted, IndexSearchScratch& scratch) const {
  const std::size_t n = rows.count.load(), live = rows.live_count.load();
  const std::size_t possible = allowed == nullptr ? live : std::min(allowed->count, live);
  const Filter filter{&rows.live, allowed == nullptr ? nullptr : &allowed->bits};
  WalkScratch& own = scratch.walk;
  scratch.found.clear();
  const std::size_t needed = std::min(options.k, possible);
  if (needed == 0) return;
  own.begin(n, std::max(rows.graph->degree(0), rows.graph->degree(1)));
  const auto enough = [&] { return scratch.found.size() >= needed; };
  if (possible == n) {
    search_level(*rows.graph, scorer, descend(*rows.graph, scorer, 0, own), 0, std::max(options.ef, wanted), own);
    for (std::size_t i = 0; i < own.pool.size() && scratch.found.size() < wanted; ++i)
      if (filter.test(own.pool[i].id)) scratch.found.push_back(own.pool[i]);
    if (enough()) return;
    own.begin(n, rows.graph->degree(0));
  }
  // A walk visits about ef / selectivity nodes and scores half their neighbours; a scan scores the allowed rows.
  const double walk_cost = 0.5 * static_cast<double>(options.ef * rows.graph->degree(0)) * static_cast<double>(n) /
                           static_cast<double>(possible);
  if (walk_cost < static_cast<double>(possible)) {
    const Neighbour start = descend(*rows.graph, scorer, 0, own);
    if (search_allowed(*rows.graph, scorer, start, filter, std::max(options.ef, wanted), possible, own)) {
      scratch.found = own.best.sorted();
      if (scratch.found.size() > wanted) scratch.found.resize(wanted);
      if (enough()) return;
    }
  }
  own.best.reset(wanted);
  scan(filter, scorer, n, own.best);
  scratch.found = own.best.sorted();
}

void VectorIndex::rerank(const RowSet& rows, IndexSearchScratch& scratch) const {
  std::vector<Neighbour>& found = scratch.found;
  if (rows.fine && !found.empty()) {
    scratch.slots.resize(found.size());
    scratch.scores.resize(found.size());
    for (std::size_t i = 0; i < found.size(); ++i) scratch.slots[i] = found[i].id;
    rows.fine->scorer(scratch.fine_query.query)(scratch.slots.data(), found.size(), scratch.scores.data());
    for (std::size_t i = 0; i < found.size(); ++i) found[i].distance = scratch.scores[i];
    std::sort(found.begin(), found.end());
  }
}

void VectorIndex::search_one(const std::byte* query, const RowSet& rows, const SearchOptions& options,
                             const SlotSet* allowed, IndexSearchScratch& scratch) const {
  const std::byte* input = ready(query, params_, scratch.unit);
  rows.codes.codec->prepare(input, scratch.query);
  if (rows.fine) rows.fine->codec->prepare(input, scratch.fine_query);
  const std::size_t wanted = rerank_count(options.k, rows.fine != nullptr);
  walk(rows, rows.codes.scorer(scratch.query.query), options, allowed, wanted, scratch);
  rerank(rows, scratch);
}

// Every row against every query on the finest codes: blocks of rows outside, so that a block serves all queries from
// cache.
void VectorIndex::search_exact(const std::byte* queries, std::size_t n, const RowSet& rows,
                               const SearchOptions& options, const SlotSet* allowed, std::int64_t* ids,
                               float* distances) const {
  const CodeRows& finest = rows.finest();
  const Filter filter{&rows.live, allowed == nullptr ? nullptr : &allowed->bits};
  std::vector<PreparedQuery> prepared(n);
  std::vector<TopK> best(n);
  std::vector<float> unit;
  for (std::size_t q = 0; q < n; ++q) {
    finest.codec->prepare(ready(queries + q * finest.codec->input_bytes(), params_, unit), prepared[q]);
    best[q].reset(options.k);
  }
  float scores[kScanBlock + kWordBits];
  for_each_passing(filter, rows.count.load(), [&](const std::uint32_t* slots, std::size_t count) {
    for (std::size_t q = 0; q < n; ++q) {
      finest.scorer(prepared[q].query)(slots, count, scores);
      for (std::size_t i = 0; i < count; ++i) best[q].offer({scores[i], slots[i]});
    }
  });
  for (std::size_t q = 0; q < n; ++q)
    write_out(rows, best[q].sorted(), options.k, false, ids + q * options.k, distances + q * options.k);
}

// The only place where scores become distances and slots become ids. Rows removed meanwhile stay out.
void VectorIndex::write_out(const RowSet& rows, const std::vector<Neighbour>& found, std::size_t k, bool unique,
                            std::int64_t* ids, float* distances) const {
  std::vector<Neighbour> distinct;
  if (unique) keep_first_of_each_id(rows, distinct = found);
  std::size_t written = 0;
  for (const Neighbour& n : unique ? distinct : found) {
    if (written == k) break;
    if (!rows.live.test(n.id)) continue;
    ids[written] = rows.id(n.id);
    distances[written++] = to_distance(n.distance);
  }
  std::fill(ids + written, ids + k, std::int64_t{-1});
  std::fill(distances + written, distances + k, std::numeric_limits<float>::infinity());
}

void VectorIndex::search(const std::byte* queries, std::size_t n, const SearchOptions& options, Monitor* monitor,
                         std::int64_t* ids, float* distances) const {
  const Snapshot pinned = snapshot(options.allowed);
  const std::shared_ptr<const RowSet>& rows = pinned.rows;
  const SlotSet* allowed = pinned.allowed.get();
  const std::size_t row_bytes = rows->codes.codec->input_bytes(), k = options.k;
  const bool exact = options.exact || !rows->graph;
  const auto body = [&](std::size_t begin, std::size_t end, std::size_t) {
    if (exact) {
      search_exact(queries + begin * row_bytes, end - begin, *rows, options, allowed, ids + begin * k,
                   distances + begin * k);
      return;
    }
    std::unique_ptr<IndexSearchScratch> scratch = take_scratch();
    for (std::size_t q = begin; q < end; ++q) {
      search_one(queries + q * row_bytes, *rows, options, allowed, *scratch);
      // Both versions of a row that was replaced during the walk may have been found.
      write_out(*rows, scratch->found, k, version_.load() != pinned.version, ids + q * k, distances + q * k);
    }
    give_scratch(std::move(scratch));
  };
  parallel_for(n, options.threads, kQueryGrain, body, monitor);
}

RangeResult VectorIndex::within(const std::byte* queries, std::size_t n, float radius, const SearchOptions& options,
                                Monitor* monitor) const {
  const Snapshot pinned = snapshot(options.allowed);
  const std::shared_ptr<const RowSet>& rows = pinned.rows;
  const SlotSet* allowed = pinned.allowed.get();
  const Filter filter{&rows->live, allowed == nullptr ? nullptr : &allowed->bits};
  const std::size_t row_bytes = rows->codes.codec->input_bytes();
  const bool exact = options.exact || !rows->graph;
  const CodeRows& first = exact ? rows->finest() : rows->codes;
  const float limit = to_score(radius);
  std::vector<std::vector<Neighbour>> found(n);
  const auto body = [&](std::size_t begin, std::size_t end, std::size_t) {
    std::unique_ptr<IndexSearchScratch> scratch = take_scratch();
    for (std::size_t q = begin; q < end; ++q) {
      const std::byte* input = ready(queries + q * row_bytes, params_, scratch->unit);
      first.codec->prepare(input, scratch->query);
      if (rows->fine) rows->fine->codec->prepare(input, scratch->fine_query);
      collect_within(*rows, first.scorer(scratch->query.query), filter, limit, exact, options.ef, *scratch);
      if (!exact) rerank(*rows, *scratch);
      std::erase_if(scratch->found, [&](const Neighbour& c) { return !(c.distance <= limit); });
      std::sort(scratch->found.begin(), scratch->found.end());
      found[q] = scratch->found;
    }
    give_scratch(std::move(scratch));
  };
  parallel_for(n, options.threads, 1, body, monitor);
  RangeResult result;
  result.offsets.push_back(0);
  for (const std::vector<Neighbour>& list : found) {
    for (const Neighbour& c : list) {
      result.ids.push_back(rows->id(c.id));
      result.distances.push_back(to_distance(c.distance));
    }
    result.offsets.push_back(static_cast<std::int64_t>(result.ids.size()));
  }
  return result;
}

// Leaves in scratch.found every row that passes the filter and scores within the limit (a little beyond it where finer
// codes will decide).
void VectorIndex::collect_within(const RowSet& rows, const Scorer& scorer, const Filter& filter, float limit,
                                 bool exact, std::size_t ef, IndexSearchScratch& scratch) const {
  std::vector<Neighbour>& found = scratch.found;
  found.clear();
  const std::size_t n = rows.count.load();
  if (n == 0) return;
  if (exact) {
    float scores[kScanBlock + kWordBits];
    for_each_passing(filter, n, [&](const std::uint32_t* slots, std::size_t count) {
      scorer(slots, count, scores);
      for (std::size_t i = 0; i < count; ++i)
        if (scores[i] <= limit) found.push_back({scores[i], slots[i]});
    });
    return;
  }
  const float size = params_.metric == Metric::cosine ? 1.0F : std::abs(limit);
  const float slack = rows.fine ? kRangeSlack * size : 0.0F;
  WalkScratch& own = scratch.walk;
  own.begin(n, std::max(rows.graph->degree(0), rows.graph->degree(1)));
  search_level(*rows.graph, scorer, descend(*rows.graph, scorer, 0, own), 0, ef, own);
  expand_within(*rows.graph, scorer, limit + slack, own);
  for (const Neighbour& c : own.frontier)
    if (filter.test(c.id)) found.push_back(c);
}

}  // namespace semblance
