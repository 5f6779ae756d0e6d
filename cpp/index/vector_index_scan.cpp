// Scans: every row that may be returned against some queries.
#include <algorithm>
#include <cstring>
#include <vector>

#include "core/active_kernels.hpp"
#include "index/passing.hpp"
#include "index/search_scratch.hpp"
#include "index/vector_index.hpp"

namespace semblance {
namespace {

constexpr std::size_t kFewQueries = 4;             // are scored on codes: decoding rows for them does not pay
constexpr std::size_t kRowsAhead = 2;              // asked for while one is decoded
constexpr std::size_t kDecodedBytes = 256 * 1024;  // of rows at a time: they stay in the second-level cache

// Queries against blocks of rows, on the codes as they are.
class CodeScan {
 public:
  CodeScan(const CodeRows& rows, const std::vector<PreparedQuery>& queries) : rows_(rows), queries_(queries) {}

  void operator()(const std::uint32_t* slots, std::size_t count, std::vector<TopK>& best) {
    float scores[kMostPassing];
    for (std::size_t q = 0; q < queries_.size(); ++q) {
      rows_.scorer(queries_[q].query)(slots, count, scores);
      for (std::size_t i = 0; i < count; ++i) best[q].offer({scores[i], slots[i]});
    }
  }

 private:
  const CodeRows& rows_;
  const std::vector<PreparedQuery>& queries_;
};

// The same on decoded rows, which are read once for all queries.
class DecodedScan {
 public:
  DecodedScan(const CodeRows& rows, Metric metric, const std::vector<PreparedQuery>& queries)
      : rows_(rows),
        dim_(rows.codec->dim()),
        step_(std::clamp<std::size_t>(kDecodedBytes / (dim_ * sizeof(float)), 8, kMostPassing)),
        score_(require_table().score_tile[metric == Metric::l2 ? 1 : 0]),
        queries_(queries.size() * dim_),
        decoded_(step_ * dim_),
        scores_(queries.size() * step_) {
    for (std::size_t q = 0; q < queries.size(); ++q)
      std::memcpy(queries_.data() + q * dim_, queries[q].query.values, dim_ * sizeof(float));
  }

  void operator()(const std::uint32_t* slots, std::size_t count, std::vector<TopK>& best) {
    for (std::size_t first = 0; first < count; first += step_)
      some(slots + first, std::min(step_, count - first), best);
  }

 private:
  void some(const std::uint32_t* slots, std::size_t count, std::vector<TopK>& best) {
    for (std::size_t i = 0; i < count; ++i) {
      if (i + kRowsAhead < count) prefetch(slots[i + kRowsAhead]);
      rows_.codec->decode(rows_.arena.row(slots[i]), 1, reinterpret_cast<std::byte*>(decoded_.data() + i * dim_));
    }
    score_(queries_.data(), best.size(), decoded_.data(), count, dim_, scores_.data());
    for (std::size_t q = 0; q < best.size(); ++q)
      for (std::size_t i = 0; i < count; ++i) best[q].offer({scores_[q * count + i], slots[i]});
  }

  void prefetch(std::uint32_t slot) const {
    const std::byte* row = rows_.arena.row(slot);
    for (std::size_t b = 0; b < rows_.arena.row_bytes(); b += 64) __builtin_prefetch(row + b);
  }

  const CodeRows& rows_;
  const std::size_t dim_, step_;
  const kernels::ScoreTile score_;
  AlignedVector<float> queries_, decoded_, scores_;
};

}  // namespace

bool VectorIndex::scans_together(const RowSet& rows, std::size_t queries) {
  return queries > kFewQueries && rows.finest().codec->scores_as_decoded();
}

void VectorIndex::scan(const Snapshot& snapshot, const CodeRows& rows, const PreparedQuery& query, std::size_t k,
                       IndexSearchScratch& scratch) const {
  TopK& best = scratch.walk.best;
  best.reset(k);
  const Scorer scorer = rows.scorer(query.query);
  float scores[kMostPassing];
  for_each_passing(snapshot.filter(), [&](const std::uint32_t* slots, std::size_t count) {
    scorer(slots, count, scores);
    for (std::size_t i = 0; i < count; ++i) best.offer({scores[i], slots[i]});
  });
  scratch.found = best.sorted();
}

// Blocks of rows outside, so that a block serves all queries from cache.
void VectorIndex::search_by_scan(Queries queries, const std::vector<std::size_t>& which, const Snapshot& snapshot,
                                 const SearchOptions& options, Results out) const {
  const RowSet& rows = snapshot.rows();
  const CodeRows& finest = rows.finest();
  std::vector<PreparedQuery> prepared(which.size());
  std::vector<TopK> best(which.size());
  std::vector<float> unit;
  for (std::size_t i = 0; i < which.size(); ++i) {
    finest.codec->prepare(as_unit(queries.data + which[i] * finest.codec->input_bytes(), params_, unit), prepared[i]);
    best[i].reset(options.k);
  }
  const auto all = [&](auto scan) {
    for_each_passing(snapshot.filter(),
                     [&](const std::uint32_t* slots, std::size_t count) { scan(slots, count, best); });
  };
  scans_together(rows, which.size()) ? all(DecodedScan(finest, params_.metric, prepared))
                                     : all(CodeScan(finest, prepared));
  for (std::size_t i = 0; i < which.size(); ++i) {
    const Results own{out.ids + which[i] * options.k, out.distances + which[i] * options.k};
    if (!write_out(snapshot, best[i].sorted(), options.k, own))
      search_again(queries.data + which[i] * finest.codec->input_bytes(), options, own);
  }
}

}  // namespace semblance
