// The closest rows found so far of a tile's queries, kept by the warps that score rows for them.
//
// Scores below a query's limit are appended to its list in global memory (it stays in the L2 cache); a list that might
// overflow is cut down to the closest, which lowers the limit. Limits are shared between blocks: the k-th best of any
// part bounds the k-th best of all. Which keys are dropped on the way depends on timing, which remain does not.
#pragma once

#include "row_codes.cuh"
#include "selection.cuh"

namespace semblance::cuda {

// Keys of a list beyond those kept that are merged: cutting it once more for so few would cost more.
inline constexpr std::uint32_t kMergedBeyond = 16;

struct FlatTask {
  CodedRows rows, queries;
  std::uint32_t chunks;  // of a row
  const std::uint32_t* allowed;
  std::uint32_t query_tiles, segment_rows;  // a multiple of kTileRows
  std::uint32_t keep, capacity;             // closest rows wanted of a part, and places in a list
  Key* lists;                               // (parts, query_tiles, tile's queries, capacity)
  std::uint32_t* counts;                    // of keys in each list
  Key* limits;                              // a query; only keys below can be among the closest

  __device__ std::uint32_t most_merged() const { return keep + kMergedBeyond; }
};

// What a score needs to know of a row.
struct RowFacts {
  FlatTail tail;
  bool allowed;

  __device__ static RowFacts of(const FlatTask& task, unsigned row, unsigned end) {
    const bool allowed = row < end && (task.allowed == nullptr || (task.allowed[row / 32] >> (row % 32) & 1U) != 0);
    return {allowed ? task.rows.tails[row] : FlatTail{}, allowed};
  }
};

template <unsigned kQueries>
struct SharedLists {
  Key limits[kQueries];
  float scores[kQueries];  // of the limits, NaN for a query that is not there or no vector: nothing is below it
  unsigned counts[kQueries];
  FlatTail tails[kQueries];
};

// kWarps warps share the lists, each looks after kQueries / kWarps of them.
template <unsigned kQueries, unsigned kWarps>
class FlatLists {
 public:
  // `part`: which of the rows' parts these warps score, one after the other in FlatTask::lists.
  __device__ FlatLists(const FlatTask& task, SharedLists<kQueries>& shared, unsigned part, unsigned warp_of_group)
      : task_(task),
        shared_(shared),
        part_(part),
        first_query_(blockIdx.x % task.query_tiles * kQueries),
        first_list_((std::size_t{part} * task.query_tiles + blockIdx.x % task.query_tiles) * kQueries),
        first_own_(warp_of_group * kOwn) {}

  __device__ void open() {
    if (!owns()) return;
    const unsigned q = own();
    FlatTail tail{};
    if (first_query_ + q < task_.queries.n) tail = task_.queries.tails[task_.queries.first + first_query_ + q];
    const bool there = first_query_ + q < task_.queries.n && tail.squared_norm < __uint_as_float(0x7F800000U);
    shared_.counts[q] = 0;
    shared_.tails[q] = tail;
    shared_.limits[q] = 0;
    shared_.scores[q] = __uint_as_float(0x7FFFFFFFU);
    if (there) lower(q, peek());
  }

  // Appends what is below the limits of the scores of one product: `rows` are those of sums 0, 1 and 2, 3, which are
  // `row` and `row + 8`; `query` is that of sums 0 and 2, the next that of 1 and 3.
  template <class Product, bool kL2>
  __device__ void offer(const typename Product::Sum* sums, const RowFacts (&rows)[2], unsigned row, unsigned query) {
    float scores[4];
    bool any = false;
#pragma unroll
    for (unsigned i = 0; i < 4; ++i) {
      scores[i] = finish_score<kL2, Product::kScaled>(static_cast<float>(sums[i]), rows[i / 2].tail,
                                                      shared_.tails[query + i % 2]);
      any |= scores[i] <= shared_.scores[query + i % 2];
    }
    if (!any) return;
#pragma unroll
    for (unsigned i = 0; i < 4; ++i)
      if (rows[i / 2].allowed && scores[i] <= shared_.scores[query + i % 2])
        push(query + i % 2, make_key(scores[i], row + i / 2 * 8));
  }

  // What other blocks found out about this lane's query. It takes its time, so it is asked for ahead.
  __device__ Key peek() const {
    const bool there = owns() && first_query_ + own() < task_.queries.n;
    return there ? __ldcg(&task_.limits[first_query_ + own()]) : kLastKey;
  }

  // Takes in what was peeked at. No warp of the group may be offering.
  __device__ void learn(Key peeked) {
    if (owns() && peeked < shared_.limits[own()]) lower(own(), peeked);
  }

  // Cuts lists of more than `most` keys and, in turn, one with more than are kept: a cut lowers the query's limit for
  // all parts, and parts begin with different queries. No warp of the group may be offering.
  __device__ void settle(unsigned most, unsigned round) {
    cut_lists(count() > most || (lane() == (part_ + round) % kOwn && count() > task_.keep));
  }

  __device__ void close() {
    cut_lists(count() > task_.most_merged());
    if (owns()) task_.counts[first_list_ + own()] = count();
  }

 private:
  static constexpr unsigned kOwn = kQueries / kWarps;
  static_assert(kOwn >= 1 && kOwn <= kWarp, "a lane looks after a query");

  __device__ static bool owns() { return lane() < kOwn; }
  __device__ unsigned own() const { return first_own_ + lane(); }
  __device__ unsigned count() const { return owns() ? shared_.counts[own()] : 0; }

  __device__ void lower(unsigned q, Key limit) {
    shared_.limits[q] = limit;
    shared_.scores[q] = score_of(limit);
  }

  __device__ void push(unsigned q, Key key) {
    if (key < shared_.limits[q]) task_.lists[place(q) + atomicAdd(&shared_.counts[q], 1U)] = key;
  }
  __device__ std::size_t place(unsigned q) const { return (first_list_ + q) * task_.capacity; }

  // Those whose lane asks for it, one after the other.
  __device__ void cut_lists(bool asked) {
    unsigned full = __ballot_sync(kAllLanes, asked);
    for (; full != 0; full &= full - 1) cut(first_own_ + static_cast<unsigned>(__ffs(static_cast<int>(full))) - 1);
  }

  // Cuts a list down to the closest; one warp.
  __device__ void cut(unsigned q) {
    const Key last = warp_select(task_.lists + place(q), shared_.counts[q], task_.keep);
    __syncwarp();
    if (lane() == 0) {
      shared_.counts[q] = task_.keep;
      if (last + 1 < shared_.limits[q]) lower(q, last + 1);
      atomicMin(&task_.limits[first_query_ + q], last + 1);
    }
    __syncwarp();
  }

  const FlatTask& task_;
  SharedLists<kQueries>& shared_;
  const unsigned part_, first_query_;
  const std::size_t first_list_;
  const unsigned first_own_;
};

}  // namespace semblance::cuda
