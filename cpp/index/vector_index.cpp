// Changes and look-ups by id; searches are in vector_index_search.cpp.
#include "index/vector_index.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>

#include "core/error.hpp"
#include "core/sort.hpp"
#include "index/input.hpp"
#include "index/search_scratch.hpp"

namespace semblance {
namespace {

constexpr std::size_t kEncodeGrain = 64;
constexpr std::size_t kLeastDead = 4096;  // removed rows that adding compacts away once they are half as many as live

bool is_wasteful(const Moment& now) {
  const std::size_t dead = now.published - now.live;
  return dead >= kLeastDead && dead * 2 > now.live;
}

}  // namespace

VectorIndex::VectorIndex(IndexParams params)
    : params_(std::move(params)), moment_(Moment{std::make_shared<RowSet>(params_)}) {}

VectorIndex::~VectorIndex() = default;

void VectorIndex::check_ids(const RowSet& rows, const std::int64_t* ids, std::size_t n, bool replace) const {
  std::vector<std::int64_t> sorted(ids, ids + n);
  sort_in_parts(sorted);
  if (n > 0 && sorted[0] < 0) throw ArgumentError(expected("ids", "ids of at least 0", std::to_string(sorted[0])));
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  if (twice != sorted.end()) throw ArgumentError(expected("ids", "each id once", std::to_string(*twice) + " twice"));
  if (replace) return;
  for (std::size_t i = 0; i < n; ++i) {
    stop_if_asked(i);
    if (rows.find(ids[i]) != kNoSlot)
      throw ArgumentError(expected("ids", "ids that are not in the index (upsert replaces)", std::to_string(ids[i])));
  }
}

void VectorIndex::encode(RowSet& rows, const std::byte* input, std::size_t first, std::size_t n, std::size_t threads,
                         Monitor* monitor) const {
  const std::size_t row_bytes = rows.codes.codec->input_bytes();
  const auto body = [&](std::size_t begin, std::size_t end, std::size_t) {
    const std::byte* source = input + begin * row_bytes;
    std::vector<float> unit;
    if (params_.metric == Metric::cosine) {
      unit.resize((end - begin) * params_.dim);
      for (std::size_t i = 0; i < end - begin; ++i)
        normalise(reinterpret_cast<const float*>(source) + i * params_.dim, params_.dim, &unit[i * params_.dim]);
      source = reinterpret_cast<const std::byte*>(unit.data());
    }
    if (rows.codes.own) rows.codes.codec->encode(source, end - begin, rows.codes.arena.row(first + begin));
    if (rows.fine) rows.fine->codec->encode(source, end - begin, rows.fine->arena.row(first + begin));
  };
  parallel_for(n, threads, kEncodeGrain, body, monitor);
}

void VectorIndex::add(const RowBatch& batch, bool replace, std::size_t threads, Monitor* monitor, std::int64_t* given) {
  if (batch.n > 0 && is_wasteful(moment_.pin())) {
    StillMonitor still(monitor, 0, batch.n);
    compact(threads, &still);
  }
  const auto writing = freeze();
  Moment now = moment_.pin();
  if (now.published == 0) now.rows = std::make_shared<RowSet>(params_);  // nobody sees how its first rows are coded
  RowSet& rows = *now.rows;
  const std::size_t first = rows.count.load(), n = batch.n;
  if (batch.ids != nullptr) {
    check_ids(rows, batch.ids, n, replace);
  } else if (n > 0 && next_id_ > std::numeric_limits<std::int64_t>::max() - static_cast<std::int64_t>(n)) {
    throw ArgumentError(expected("ids", "explicit ids, the consecutive ones being used up", "none"));
  }
  if (n > kMaxRows - first) {
    throw CapacityError(expected("index", "at most " + std::to_string(kMaxRows) + " rows",
                                 std::to_string(first) + " and " + std::to_string(n) + " more"));
  }
  if (n == 0) return;
  rows.grow(first + n);
  StillMonitor still(monitor, 0, n);
  encode(rows, batch.rows, first, n, threads, &still);
  for (std::size_t i = 0; i < n; ++i) {
    given[i] = batch.ids != nullptr ? batch.ids[i] : next_id_ + static_cast<std::int64_t>(i);
    *rows.ids.as<std::int64_t>(first + i) = given[i];
  }
  if (rows.graph) rows.graph->grow(first + n);
  rows.count.store(first + n);
  try {
    if (batch.levels != nullptr) {
      adopt_links(rows, *batch.levels, threads, monitor);
    } else {
      link(rows, first, first + n, threads, monitor);
    }
    now.profile = profile(rows, now.profile, threads);
    if (monitor != nullptr && !monitor->poll(n, n)) throw Interrupted();
    publish(std::move(now), first, n);
  } catch (...) {
    // Some of the rows may be linked already: they stay as dead ones until compaction.
    for (std::size_t slot = first; slot < first + n; ++slot) rows.bury(slot, 1);
    throw;
  }
}

// The next change's number. Once in 2^32 changes the numbers start again, all old deaths becoming the first.
std::uint32_t VectorIndex::next_version(const Moment& now) {
  if (now.version < std::numeric_limits<std::uint32_t>::max()) return now.version + 1;
  for (std::size_t slot = 0; slot < now.rows->count.load(); ++slot)
    if (!now.rows->alive(slot)) now.rows->bury(slot, 1);
  return 2;
}

// Births and deaths are written down first and take effect together, when the moment is replaced: under the lock of the
// map, so that whoever looks ids up for a moment finds the slots that they had in it.
void VectorIndex::publish(Moment now, std::size_t first, std::size_t n) {
  RowSet& rows = *now.rows;
  now.version = next_version(now);
  const std::unique_lock lock(map_mutex_);
  const std::int64_t* ids = rows.ids.as<std::int64_t>();
  rows.map.reserve(n, ids);
  for (std::size_t slot = first; slot < first + n; ++slot) {
    const std::uint32_t old = rows.find(ids[slot]);
    if (old != kNoSlot) {
      rows.map.replace(ids[slot], static_cast<std::uint32_t>(slot), ids);
      rows.bury(old, now.version);
    } else {
      rows.map.put(ids[slot], static_cast<std::uint32_t>(slot));
    }
    next_id_ = std::max(next_id_, ids[slot] == std::numeric_limits<std::int64_t>::max() ? ids[slot] : ids[slot] + 1);
  }
  now.live = rows.map.size();
  now.published = first + n;
  moment_.swap(std::move(now));
}

std::size_t VectorIndex::remove(const std::int64_t* ids, std::size_t n) {
  const auto writing = freeze();
  Moment now = moment_.pin();
  RowSet& rows = *now.rows;
  now.version = next_version(now);
  std::vector<std::uint32_t> slots;
  for (std::size_t i = 0; i < n; ++i) {
    stop_if_asked(i);  // not below: all or nothing
    if (const std::uint32_t slot = rows.find(ids[i]); slot != kNoSlot) slots.push_back(slot);
  }
  std::sort(slots.begin(), slots.end());
  slots.erase(std::unique(slots.begin(), slots.end()), slots.end());
  const std::unique_lock lock(map_mutex_);
  for (const std::uint32_t slot : slots) {
    rows.bury(slot, now.version);
    rows.map.erase(rows.id(slot), rows.ids.as<std::int64_t>());
  }
  now.live = rows.map.size();
  moment_.swap(std::move(now));
  return slots.size();
}

void VectorIndex::compact(std::size_t threads, Monitor* monitor) {
  const auto writing = freeze();
  const Moment now = moment_.pin();
  const RowSet& old = *now.rows;
  const std::size_t n = now.live;
  auto fresh = std::make_shared<RowSet>(params_);
  fresh->grow(n);
  if (fresh->graph) fresh->graph->grow(n);
  fresh->map.reserve(n, nullptr);
  std::size_t slot = 0;
  for (std::uint32_t from = 0; from < now.published; ++from) {
    stop_if_asked(from);
    if (!old.alive(from)) continue;
    if (old.codes.own)
      std::memcpy(fresh->codes.arena.row(slot), old.codes.arena.row(from), old.codes.arena.row_bytes());
    if (old.fine) std::memcpy(fresh->fine->arena.row(slot), old.fine->arena.row(from), old.fine->arena.row_bytes());
    *fresh->ids.as<std::int64_t>(slot) = old.id(from);
    fresh->map.put(old.id(from), static_cast<std::uint32_t>(slot++));
  }
  fresh->count.store(n);
  link(*fresh, 0, n, threads, monitor);
  if (monitor != nullptr && !monitor->poll(n, n)) throw Interrupted();
  const DistanceProfile profile = this->profile(*fresh, {}, threads);
  const std::unique_lock lock(map_mutex_);
  moment_.swap({std::move(fresh), n, n, next_version(now), profile});
}

void VectorIndex::get(const std::int64_t* ids, std::size_t n, std::byte* out) const {
  std::vector<std::uint32_t> slots(n);
  std::shared_ptr<const RowSet> rows;
  {
    const std::shared_lock lock(map_mutex_);
    rows = moment_.pin().rows;
    for (std::size_t i = 0; i < n; ++i) {
      slots[i] = rows->find(ids[i]);
      if (slots[i] == kNoSlot)
        throw NotFoundError(expected("ids", "ids that are in the index", std::to_string(ids[i])));
    }
  }
  const CodeRows& finest = rows->finest();
  const std::size_t row_bytes = finest.codec->input_bytes();
  for (std::size_t i = 0; i < n; ++i) {
    stop_if_asked(i);
    finest.codec->decode(finest.arena.row(slots[i]), 1, out + i * row_bytes);
  }
}

bool VectorIndex::contains(std::int64_t id) const {
  const std::shared_lock lock(map_mutex_);
  return moment_.pin().rows->find(id) != kNoSlot;
}

std::vector<std::int64_t> VectorIndex::ids() const {
  const Snapshot snapshot{moment_.pin(), nullptr};
  const Filter filter = snapshot.filter();
  std::vector<std::int64_t> out;
  out.reserve(snapshot.moment.live);
  for (std::uint32_t slot = 0; slot < filter.published; ++slot)
    if (filter.alive(slot)) out.push_back(snapshot.rows().id(slot));
  return out;
}

}  // namespace semblance
