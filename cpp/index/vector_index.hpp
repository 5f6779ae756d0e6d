// The index as callers see it: rows, ids, a graph or none, and searches that run while one writer at a time changes it.
//
// Readers take no lock that a writer holds: they pin the current RowSet and walk it. Writers are serialised by one
// mutex.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <vector>

#include "core/parallel.hpp"
#include "core/pinned.hpp"
#include "index/filter.hpp"
#include "index/hnsw.hpp"
#include "index/rows.hpp"

namespace semblance {

struct SearchOptions {
  std::size_t k = 10;
  std::size_t ef = 64;
  bool exact = false;
  AllowedIds* allowed = nullptr;
  std::size_t threads = 0;
};

struct RangeResult {
  std::vector<std::int64_t> offsets, ids;
  std::vector<float> distances;
};

// What check() found; `problems` is empty for a sound index.
struct CheckReport {
  std::size_t rows = 0, live = 0, reachable = 0;
  std::vector<std::string> problems;
};

// The lists of one level's nodes, made elsewhere: (count, degree of the level), padded with kNoSlot.
struct LevelLists {
  const std::uint32_t* nodes;  // in order; null = all
  const std::uint32_t* lists;
  std::size_t count;
};

// Rows of (n, input_bytes); ids null = consecutive from the largest so far + 1.
struct RowBatch {
  const std::byte* rows;
  const std::int64_t* ids;
  std::size_t n;
  const std::vector<LevelLists>* levels = nullptr;  // of an index without rows: how they are linked; null = find out
};

struct IndexSearchScratch;
class LinkWalk;

class VectorIndex {
 public:
  explicit VectorIndex(IndexParams params);
  ~VectorIndex();

  const IndexParams& params() const { return params_; }
  std::size_t size() const { return moment_.pin().live; }
  std::size_t input_bytes() const { return moment_.pin().rows->codes.codec->input_bytes(); }

  // Writes the ids that the rows got to `given`. All or nothing: the batch becomes visible at the end.
  void add(const RowBatch& batch, bool replace, std::size_t threads, Monitor* monitor, std::int64_t* given);
  std::size_t remove(const std::int64_t* ids, std::size_t n);
  void compact(std::size_t threads, Monitor* monitor);

  // Queries are (n, input_bytes). Results are (n, k), padded with id -1 and distance infinity.
  struct Queries {
    const std::byte* data;
    std::size_t n;
    AllowedIds* const* allowed = nullptr;  // one a query (null = all rows) in the place of options.allowed
  };
  struct Results {
    std::int64_t* ids;
    float* distances;
  };
  void search(Queries queries, const SearchOptions& options, Monitor* monitor, Results out) const;
  RangeResult within(Queries queries, float radius, const SearchOptions& options, Monitor* monitor) const;

  void get(const std::int64_t* ids, std::size_t n, std::byte* out) const;  // NotFoundError names the first missing id
  bool contains(std::int64_t id) const;
  std::vector<std::int64_t> ids() const;
  CheckReport check() const;

  // Keeps writers out while the parts are written to a file; readers go on.
  std::unique_lock<std::timed_mutex> freeze() const { return lock_unless_asked(write_mutex_); }
  Moment moment() const { return moment_.pin(); }
  // Takes the parts of a file: memory that must outlive the index. FormatError where they contradict each other.
  struct Parts {
    const std::byte* codes;
    const std::byte* fine;
    std::unique_ptr<LinkCodes> links;  // null where walks score rows
    const std::byte* blocks;           // of links
    const std::int64_t* ids;
    const std::uint64_t* live;  // words_for(n) words, a bit a row
    Graph::Parts graph;
    const double* profile;  // DistanceProfile::kNumbers, or null
    std::size_t n;
  };
  void restore(Parts parts);

 private:
  void check_ids(const RowSet& rows, const std::int64_t* ids, std::size_t n, bool replace) const;
  void encode(RowSet& rows, const std::byte* input, std::size_t first, std::size_t n, std::size_t threads,
              Monitor* monitor) const;
  void link(RowSet& rows, std::size_t first, std::size_t last, std::size_t threads, Monitor* monitor) const;
  void adopt_links(RowSet& rows, const std::vector<LevelLists>& levels, std::size_t threads, Monitor* monitor) const;
  void begin_links(RowSet& rows, std::size_t threads, Monitor* monitor) const;
  void encode_links(RowSet& rows, std::size_t threads, Monitor* monitor) const;
  float score_origin() const;  // what makes scores distances
  DistanceProfile::Sample distances_around(const RowSet& rows, std::uint32_t row, IndexSearchScratch& scratch) const;
  DistanceProfile profile(const RowSet& rows, const DistanceProfile& before, std::size_t threads) const;
  void publish(Moment now, std::size_t first, std::size_t n);
  static std::uint32_t next_version(const Moment& now);
  // What a search works on: a moment, and the allowed slots as they were then.
  struct Snapshot {
    Moment moment;
    std::shared_ptr<const SlotSet> allowed;  // null = all

    const RowSet& rows() const { return *moment.rows; }
    Filter filter() const {
      return {rows().died.as<std::uint32_t>(), moment.version, moment.published, allowed ? &allowed->bits : nullptr};
    }
    // An upper bound of the rows that may be returned; exact without a filter.
    std::size_t possible() const { return allowed ? std::min(allowed->count, moment.live) : moment.live; }
  };
  Snapshot snapshot(AllowedIds* allowed) const;

  void search_some(Queries queries, const Snapshot& snapshot, const SearchOptions& options, Results out) const;
  void search_one(const std::byte* query, const Snapshot& snapshot, const SearchOptions& options,
                  IndexSearchScratch& scratch) const;
  bool scans(const Snapshot& snapshot, const SearchOptions& options, std::size_t queries) const;
  bool walk_pays(const Snapshot& snapshot, const SearchOptions& options, std::size_t queries) const;
  static bool scans_together(const RowSet& rows, std::size_t queries);
  static bool lies_far(const Snapshot& snapshot, const LinkWalk& walk);
  bool walks_links(const Snapshot& snapshot, const SearchOptions& options) const;
  void start_walk(const std::byte* query, const Snapshot& snapshot, const SearchOptions& options,
                  IndexSearchScratch& scratch) const;
  void search_by_links(Queries queries, const Snapshot& snapshot, const SearchOptions& options, Results out) const;
  void search_again(const std::byte* query, const SearchOptions& options, Results out) const;
  void search_by_scan(Queries queries, const std::vector<std::size_t>& which, const Snapshot& snapshot,
                      const SearchOptions& options, Results out) const;
  void scan(const Snapshot& snapshot, const CodeRows& rows, const PreparedQuery& query, std::size_t k,
            IndexSearchScratch& scratch) const;
  void walk(const Snapshot& snapshot, const Scorer& scorer, const SearchOptions& options, std::size_t wanted,
            IndexSearchScratch& scratch) const;
  bool walk_past(const Snapshot& snapshot, const Scorer& scorer, const SearchOptions& options, std::size_t wanted,
                 IndexSearchScratch& scratch) const;
  void within_one(const std::byte* query, float limit, const Snapshot& snapshot, const SearchOptions& options,
                  RangeResult& out) const;
  void scan_within(const Snapshot& snapshot, const Scorer& scorer, float limit, IndexSearchScratch& scratch) const;
  void walk_within(const Snapshot& snapshot, const Scorer& scorer, float limit, std::size_t ef,
                   IndexSearchScratch& scratch) const;
  void rerank(const RowSet& rows, IndexSearchScratch& scratch) const;
  bool write_out(const Snapshot& snapshot, const std::vector<Neighbour>& found, std::size_t k, Results out) const;
  void drop_removed(const Snapshot& snapshot, std::vector<Neighbour>& found) const;
  float to_distance(float score) const;
  float to_score(float distance) const;
  std::unique_ptr<IndexSearchScratch> take_scratch() const;
  void give_scratch(std::unique_ptr<IndexSearchScratch> scratch) const;

  const IndexParams params_;
  Pinned<Moment> moment_;
  mutable std::timed_mutex write_mutex_;  // writers
  mutable std::shared_mutex map_mutex_;   // the id map: writers exclusively for moments, look-ups shared
  std::int64_t next_id_ = 0;
  mutable std::mutex scratch_mutex_;
  mutable std::vector<std::unique_ptr<IndexSearchScratch>> scratch_;
};

}  // namespace semblance
