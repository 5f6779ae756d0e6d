// Searches: walk or scan on the codes, reorder on the finer ones, and the one way out to ids and distances.
#include <algorithm>
#include <array>
#include <limits>
#include <numeric>

#include "core/error.hpp"
#include "index/input.hpp"
#include "index/search_scratch.hpp"
#include "index/vector_index.hpp"

namespace semblance {
namespace {

constexpr std::size_t kQueryGrain = 8, kScanGrain = 512;
constexpr int kTries = 4;
// In rows scanned, at 15 to 30 ns: a visit by neighbour codes (0.4 us), and one of the filtered walk, whose line of
// candidates has no end. Rows are scanned that many times faster for queries together.
constexpr double kVisitCost = 20.0, kTogetherGain = 2.5;
constexpr std::size_t kFarVisitCost = 128;
// Where fewer rows pass, they are scanned when a walk has found that they lie far: walking there takes milliseconds.
constexpr std::size_t kFarScan = std::size_t{1} << 17;
constexpr double kLeastOfShare = 0.5;    // of the visits, that must pass a filter
constexpr std::size_t kWalksAtOnce = 2;  // by neighbour codes; more gain nothing (measured: 2, 4, 8)

// Candidates that are worth a look on finer codes: codes misplace the last few of k. Four bits misplace so many where
// rows lie close together that all that a walk kept are looked at, which costs little beside the walk.
std::size_t rerank_count(std::size_t k, std::size_t ef, const RowSet& rows) {
  if (!rows.fine) return k;
  return std::max(&rows.precise() == &rows.codes ? 2 * k : ef, k + 16);
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
  if (allowed == nullptr) return {moment_.pin(), nullptr};
  const std::lock_guard lock(allowed->mutex);
  const std::shared_lock map_lock(map_mutex_);
  Snapshot out{moment_.pin(), allowed->slots};
  if (out.allowed && allowed->rows.lock() == out.moment.rows && allowed->version == out.moment.version) return out;
  auto slots = std::make_shared<SlotSet>();
  slots->bits = Bitset(out.moment.published);
  for (std::size_t i = 0; i < allowed->ids.size(); ++i) {
    stop_if_asked(i);
    const std::uint32_t slot = out.rows().find(allowed->ids[i]);
    if (slot >= out.moment.published || slots->bits.test(slot)) continue;
    slots->bits.set(slot);
    ++slots->count;
  }
  out.allowed = slots;
  if (!allowed->keep) return out;
  allowed->slots = slots;
  allowed->rows = out.moment.rows;
  allowed->version = out.moment.version;
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

// Leaves the closest candidates in scratch.found: `wanted` of them by the codes' own scores, or k by a scan of the
// finest codes; at least min(k, rows that may be returned).
void VectorIndex::walk(const Snapshot& snapshot, const Scorer& scorer, const SearchOptions& options, std::size_t wanted,
                       IndexSearchScratch& scratch) const {
  const RowSet& rows = snapshot.rows();
  const Graph& graph = *rows.graph;
  const Filter filter = snapshot.filter();
  const std::size_t n = rows.count.load(), ef = std::max(options.ef, wanted), possible = snapshot.possible();
  const std::size_t needed = std::min(options.k, possible);
  WalkScratch& own = scratch.walk;
  scratch.found.clear();
  if (needed == 0) return;
  if (possible == n) {
    own.begin(n, std::max(graph.degree(0), graph.degree(1)));
    search_level(graph, scorer, descend(graph, scorer, 0, own), 0, ef, own);
    for (std::size_t i = 0; i < own.closest.size() && scratch.found.size() < wanted; ++i)
      if (filter.test(own.closest[i].id)) scratch.found.push_back(own.closest[i]);
    if (scratch.found.size() >= needed) return;
  }
  if (walk_pays(snapshot, options, 1) && walk_past(snapshot, scorer, options, wanted, scratch)) return;
  scan(snapshot, rows.finest(), rows.fine ? scratch.fine_query : scratch.query, options.k, scratch);
}

// As walk, past rows that may not be returned, as far as it takes; false where a scan is better.
bool VectorIndex::walk_past(const Snapshot& snapshot, const Scorer& scorer, const SearchOptions& options,
                            std::size_t wanted, IndexSearchScratch& scratch) const {
  const RowSet& rows = snapshot.rows();
  const Graph& graph = *rows.graph;
  const std::size_t n = rows.count.load(), ef = std::max(options.ef, wanted), possible = snapshot.possible();
  WalkScratch& own = scratch.walk;
  own.begin(n, std::max(graph.degree(0), graph.degree(1)));
  const bool through = rows.links ? search_filtered_links({rows.links.get(), scorer, scratch.link_query.query,
                                                           snapshot.filter(), n, graph.entry(), ef, options.k},
                                                          possible / kFarVisitCost, own)
                                  : search_filtered(graph, scorer, descend(graph, scorer, 0, own),
                                                    {snapshot.filter(), ef, possible}, own);
  scratch.found = own.best.sorted();
  if (scratch.found.size() > wanted) scratch.found.resize(wanted);
  return through && scratch.found.size() >= std::min(options.k, possible);
}

void VectorIndex::rerank(const RowSet& rows, IndexSearchScratch& scratch) const {
  std::vector<Neighbour>& found = scratch.found;
  if (!rows.fine || found.empty()) return;
  scratch.slots.resize(found.size());
  scratch.scores.resize(found.size());
  for (std::size_t i = 0; i < found.size(); ++i) scratch.slots[i] = found[i].id;
  rows.fine->scorer(scratch.fine_query.query)(scratch.slots.data(), found.size(), scratch.scores.data());
  for (std::size_t i = 0; i < found.size(); ++i) found[i].distance = scratch.scores[i];
  std::sort(found.begin(), found.end());
}

void VectorIndex::search_one(const std::byte* query, const Snapshot& snapshot, const SearchOptions& options,
                             IndexSearchScratch& scratch) const {
  const RowSet& rows = snapshot.rows();
  const std::byte* input = as_unit(query, params_, scratch.unit);
  if (options.exact || !rows.graph) {
    rows.finest().codec->prepare(input, scratch.query);
    return scan(snapshot, rows.finest(), scratch.query, options.k, scratch);
  }
  rows.codes.codec->prepare(input, scratch.query);
  if (rows.fine) rows.fine->codec->prepare(input, scratch.fine_query);
  if (rows.links) rows.links->prepare(reinterpret_cast<const float*>(input), scratch.link_query);
  const std::size_t wanted = rerank_count(options.k, options.ef, rows);
  walk(snapshot, rows.codes.scorer(scratch.query.query), options, wanted, scratch);
  rerank(rows, scratch);
}

// A walk visits about ef / selectivity nodes and scores half their neighbours, or their neighbour codes; a scan scores
// the rows that pass, and cheaper for many queries at once.
bool VectorIndex::walk_pays(const Snapshot& snapshot, const SearchOptions& options, std::size_t queries) const {
  const RowSet& rows = snapshot.rows();
  const auto possible = static_cast<double>(snapshot.possible());
  const auto all = static_cast<double>(rows.count.load()) * static_cast<double>(std::max(options.ef, options.k));
  const double cost = rows.links ? kVisitCost : 0.5 * static_cast<double>(rows.graph->degree(0));
  return cost * (scans_together(rows, queries) ? kTogetherGain : 1.0) * all < possible * possible;
}

// Rows that were removed or are not allowed are walked over; where most are removed the filtered walk looks farther.
bool VectorIndex::walks_links(const Snapshot& snapshot, const SearchOptions& options) const {
  const RowSet& rows = snapshot.rows();
  return rows.links && !options.exact && snapshot.moment.live * 2 >= rows.count.load() && snapshot.moment.live > 0;
}

void VectorIndex::start_walk(const std::byte* query, const Snapshot& snapshot, const SearchOptions& options,
                             IndexSearchScratch& scratch) const {
  const RowSet& rows = snapshot.rows();
  const std::size_t n = rows.count.load(), possible = snapshot.possible();
  const std::byte* input = as_unit(query, params_, scratch.unit);
  rows.codes.codec->prepare(input, scratch.query);
  rows.links->prepare(reinterpret_cast<const float*>(input), scratch.link_query);
  const std::size_t wanted = std::max(options.ef, options.k), ef = (wanted * n + possible - 1) / possible;
  const DistanceProfile& profile = snapshot.moment.profile;
  LinkWalk::Task task{rows.links.get(),
                      rows.codes.scorer(scratch.query.query),
                      scratch.link_query.query,
                      snapshot.filter(),
                      n,
                      rows.graph->entry(),
                      ef,
                      options.k,
                      profile.rule(ef, options.k, score_origin()),
                      snapshot.moment.published,
                      score_origin()};
  if (snapshot.allowed) {
    task.profile = &profile;
    task.wanted = wanted;
    task.share = static_cast<double>(possible) / static_cast<double>(n);
  }
  scratch.link_walk.start(task);
}

// Where allowed rows lie far from the query, a walk comes across far fewer than their share of all rows promises, and
// those it finds may not be the closest.
bool VectorIndex::lies_far(const Snapshot& snapshot, const LinkWalk& walk) {
  if (!snapshot.allowed) return false;
  const double share = static_cast<double>(snapshot.possible()) / static_cast<double>(snapshot.rows().count.load());
  return kLeastOfShare * share * static_cast<double>(walk.visits()) > static_cast<double>(walk.passed());
}

// Takes turns between walks: while one scores, the block that the other one will need is on its way. Queries that walks
// do not answer are left, to be scanned for together.
void VectorIndex::search_by_links(Queries queries, const Snapshot& snapshot, const SearchOptions& options,
                                  Results out) const {
  struct Turn {
    std::unique_ptr<IndexSearchScratch> scratch;
    std::size_t query = 0;
    bool walking = false;
  };
  const std::size_t row_bytes = snapshot.rows().codes.codec->input_bytes(), k = options.k;
  const std::size_t needed = std::min(k, snapshot.possible());
  std::array<Turn, kWalksAtOnce> turns;
  std::vector<std::size_t> left;
  std::size_t begun = 0, walking = 0, steps = 0;
  const auto begin = [&](Turn& turn) {
    turn.walking = begun < queries.n;
    if (!turn.walking) return;
    turn.query = begun++;
    ++walking;
    start_walk(queries.data + turn.query * row_bytes, snapshot, options, *turn.scratch);
  };
  const auto end = [&](Turn& turn) {
    --walking;
    IndexSearchScratch& scratch = *turn.scratch;
    scratch.found = scratch.link_walk.best().sorted();
    const bool answered = scratch.found.size() >= needed && !lies_far(snapshot, scratch.link_walk);
    if (!answered && !(snapshot.possible() > kFarScan && walk_pays(snapshot, options, queries.n) &&
                       walk_past(snapshot, snapshot.rows().codes.scorer(scratch.query.query), options, k, scratch)))
      return left.push_back(turn.query);
    const Results own{out.ids + turn.query * k, out.distances + turn.query * k};
    if (!write_out(snapshot, scratch.found, k, own)) search_again(queries.data + turn.query * row_bytes, options, own);
  };
  for (Turn& turn : turns) {
    turn.scratch = take_scratch();
    begin(turn);
  }
  while (walking > 0) {
    for (std::size_t i = 0; i < turns.size(); ++i) {
      Turn& turn = turns[i];
      if (!turn.walking) continue;
      LinkWalk& walk = turn.scratch->link_walk;
      const Turn& other = turns[(i + 1) % turns.size()];
      stop_if_asked(++steps);
      walk.step(other.walking ? other.scratch->link_walk.next() : walk.ask_for_second());
      if (!walk.done()) continue;
      end(turn);
      begin(turn);
    }
  }
  for (Turn& turn : turns) give_scratch(std::move(turn.scratch));
  if (!left.empty()) search_by_scan(queries, left, snapshot, options, out);
}

// Takes out rows that were removed since the snapshot; what was replaced since stays, as it was.
void VectorIndex::drop_removed(const Snapshot& snapshot, std::vector<Neighbour>& found) const {
  const std::shared_lock lock(map_mutex_);
  const std::shared_ptr<const RowSet> current = moment_.pin().rows;
  std::erase_if(found, [&](const Neighbour& n) { return current->find(snapshot.rows().id(n.id)) == kNoSlot; });
}

// The only place where scores become distances and slots become ids. False where removals during the search took so
// much that fewer rows are left than there are.
bool VectorIndex::write_out(const Snapshot& snapshot, const std::vector<Neighbour>& found, std::size_t k,
                            Results out) const {
  std::vector<Neighbour> kept;
  const bool changed = moment_.pin().version != snapshot.moment.version;
  if (changed) drop_removed(snapshot, kept = found);
  const std::vector<Neighbour>& rows = changed ? kept : found;
  const std::size_t count = std::min(k, rows.size());
  for (std::size_t i = 0; i < count; ++i) {
    out.ids[i] = snapshot.rows().id(rows[i].id);
    out.distances[i] = to_distance(rows[i].distance);
  }
  std::fill(out.ids + count, out.ids + k, std::int64_t{-1});
  std::fill(out.distances + count, out.distances + k, std::numeric_limits<float>::infinity());
  return count == k || kept.size() == found.size() || !changed;
}

// One query on fresh snapshots until removals leave it whole; the last try holds writers off for its length.
void VectorIndex::search_again(const std::byte* query, const SearchOptions& options, Results out) const {
  std::unique_ptr<IndexSearchScratch> scratch = take_scratch();
  for (int tries = 0; tries < kTries; ++tries) {
    std::unique_lock<std::timed_mutex> still;
    if (tries + 1 == kTries) still = freeze();
    const Snapshot snapshot = this->snapshot(options.allowed);
    search_one(query, snapshot, options, *scratch);
    if (write_out(snapshot, scratch->found, options.k, out)) break;
  }
  give_scratch(std::move(scratch));
}

bool VectorIndex::scans(const Snapshot& snapshot, const SearchOptions& options, std::size_t queries) const {
  return options.exact || !snapshot.rows().graph || (snapshot.allowed && !walk_pays(snapshot, options, queries));
}

// Queries that share a snapshot.
void VectorIndex::search_some(Queries queries, const Snapshot& snapshot, const SearchOptions& options,
                              Results out) const {
  const RowSet& rows = snapshot.rows();
  if (scans(snapshot, options, queries.n)) {
    std::vector<std::size_t> all(queries.n);
    std::iota(all.begin(), all.end(), std::size_t{0});
    return search_by_scan(queries, all, snapshot, options, out);
  }
  if (walks_links(snapshot, options)) return search_by_links(queries, snapshot, options, out);
  const std::size_t row_bytes = rows.codes.codec->input_bytes(), k = options.k;
  std::unique_ptr<IndexSearchScratch> scratch = take_scratch();
  for (std::size_t q = 0; q < queries.n; ++q) {
    const Results own{out.ids + q * k, out.distances + q * k};
    search_one(queries.data + q * row_bytes, snapshot, options, *scratch);
    if (!write_out(snapshot, scratch->found, k, own)) search_again(queries.data + q * row_bytes, options, own);
  }
  give_scratch(std::move(scratch));
}

void VectorIndex::search(Queries queries, const SearchOptions& options, Monitor* monitor, Results out) const {
  const Snapshot shared = snapshot(queries.allowed == nullptr ? options.allowed : nullptr);
  const std::size_t row_bytes = shared.rows().codes.codec->input_bytes(), k = options.k;
  const auto body = [&](std::size_t begin, std::size_t end, std::size_t) {
    const auto some = [&](std::size_t first, std::size_t last, const Snapshot& snapshot, const SearchOptions& own) {
      search_some({queries.data + first * row_bytes, last - first}, snapshot, own,
                  {out.ids + first * k, out.distances + first * k});
    };
    if (queries.allowed == nullptr) return some(begin, end, shared, options);
    SearchOptions own = options;
    for (std::size_t q = begin; q < end; ++q) {  // a filter of its own, a moment of its own
      own.allowed = queries.allowed[q];
      some(q, q + 1, own.allowed == nullptr ? shared : snapshot(own.allowed), own);
    }
  };
  std::size_t grain = kQueryGrain;
  if (shared.allowed || options.exact ||
      !shared.rows().graph) {  // what is scanned costs less the more queries share it
    const std::size_t threads = resolve_threads(options.threads);
    grain = std::clamp((queries.n + threads - 1) / threads, kQueryGrain, kScanGrain);
  }
  parallel_for(queries.n, options.threads, grain, body, monitor);
}

}  // namespace semblance
