// Pruning of one row's candidates by one warp, with the rule of cpp/index/pruning.cpp: a candidate stays unless a kept
// one is closer to it than the row is, by the factor alpha (HNSW's heuristic; alpha as in DiskANN, NeurIPS 2019). Once
// a part of the list is full, a kept one covers its copies too: links must lead away from them.
#pragma once

#include "api.hpp"
#include "row_codes.cuh"
#include "selection.cuh"

namespace semblance::cuda {

// Stored rows, scored against each other.
struct PairRows {
  const std::byte* codes;
  const FlatTail* tails;
  std::uint32_t chunks;  // of a row
};

// The score of two stored rows, the same bits for (a, b) and (b, a); one warp.
template <class Codes, bool kL2>
__device__ float score_pair(const PairRows& rows, std::uint32_t a, std::uint32_t b) {
  using Words = RowOf<const std::byte, const std::uint32_t>;
  const Words x(rows.codes, a, rows.chunks), y(rows.codes, b, rows.chunks);
  float sum = 0.0F;
#pragma unroll 4
  for (unsigned j = lane(); j < rows.chunks * (kChunkBytes / sizeof(std::uint32_t)); j += kWarp)
    sum += Codes::multiply_word(x[j], y[j]);
  return finish_score<kL2, false>(warp_sum(sum), rows.tails[a], rows.tails[b]);
}

// Sorts a power of two of keys in shared memory by one warp.
__device__ inline void warp_sort(Key* keys, unsigned count) {
  for (unsigned size = 2; size <= count; size *= 2) {
    for (unsigned step = size / 2; step > 0; step /= 2) {
      __syncwarp();
      for (unsigned i = lane(); i < count / 2; i += kWarp) sort_pair(keys, i, step, size);
    }
  }
  __syncwarp();
}

// Takes the copies and the empty places out of sorted keys; returns how many remain. One warp.
__device__ inline unsigned warp_unique(Key* keys, unsigned count) {
  unsigned kept = 0;
  for (unsigned first = 0; first < count; first += kWarp) {
    const unsigned i = first + lane();
    const Key key = i < count ? keys[i] : kLastKey;
    const Key before = i > 0 && i < count ? keys[i - 1] : kLastKey;  // not yet overwritten: kept <= first
    const bool keeps = key != kLastKey && (i == 0 || key != before);
    const unsigned keepers = __ballot_sync(kAllLanes, keeps);
    __syncwarp();  // all have read theirs
    if (keeps) keys[kept + __popc(keepers & ((1U << lane()) - 1U))] = key;
    kept += __popc(keepers);
    __syncwarp();
  }
  return kept;
}

// A warp's place to prune in: candidates, and how much each is covered.
struct PruneScratch {
  Key keys[kMaxCandidates];
  float shares[kMaxCandidates];
};
// What a share is while its candidate is open, kept, or out for good; those of others are at least 0.
inline constexpr float kOpen = -1e30F, kKept = -2e30F, kOut = -3e30F;
inline constexpr unsigned kCopiesPart = 4;  // a list may hold copies of its node in one place of so many

template <class Codes, bool kL2>
class Pruner {
 public:
  __device__ Pruner(const PairRows& rows, const PruneRule& rule, PruneScratch& scratch)
      : rows_(rows), rule_(rule), own_(scratch) {}

  // Of `count` sorted different candidates in scratch.keys keeps at most `degree`: writes their keys to `out`, in the
  // order they were kept, padded with kLastKey.
  __device__ void prune(unsigned count, Key* out) {
    const auto degree = static_cast<unsigned>(rule_.degree);
    for (unsigned i = lane(); i < count; i += kWarp) own_.shares[i] = kOpen;
    __syncwarp();
    unsigned kept = 0;
    for (unsigned i = 0; i < count && kept < degree; ++i) {
      if (own_.shares[i] != kOpen) continue;
      __syncwarp();
      if (lane() == 0) {
        own_.shares[i] = kKept;
        out[kept] = own_.keys[i];
      }
      __syncwarp();
      if (++kept < degree) strike_out(i, count, kept * kCopiesPart >= degree);
    }
    kept = fill(kept, count, out);
    for (unsigned i = kept + lane(); i < degree; i += kWarp) out[i] = kLastKey;
    __syncwarp();
  }

 private:
  __device__ bool closer(float to_kept, float to_node) const {
    if (rule_.alpha == 1.0F) return to_kept < to_node;
    return rule_.alpha * fmaxf(0.0F, to_kept - rule_.least_score) < fmaxf(0.0F, to_node - rule_.least_score);
  }

  // Marks what candidate `kept` covers of those after it; copies take what is left, and so may all where lists are
  // filled.
  __device__ void strike_out(unsigned kept, unsigned count, bool and_copies) {
    const std::uint32_t row = row_of(own_.keys[kept]);
    const float same = and_copies ? score_pair<Codes, kL2>(rows_, row, row) : 0.0F;
    for (unsigned j = kept + 1; j < count; ++j) {
      if (own_.shares[j] != kOpen) continue;
      const float to_kept = score_pair<Codes, kL2>(rows_, row, row_of(own_.keys[j]));
      const float to_node = score_of(own_.keys[j]);
      const bool copy = and_copies && to_kept <= same;
      __syncwarp();
      if (lane() == 0 && (copy || closer(to_kept, to_node)))
        own_.shares[j] = copy         ? 0.0F
                         : rule_.fill ? (to_kept - rule_.least_score) / (to_node - rule_.least_score)
                                      : kOut;
      __syncwarp();
    }
  }

  // Gives the places left to the candidates that were covered least: the largest shares, then the closest.
  __device__ unsigned fill(unsigned kept, unsigned count, Key* out) {
    while (kept < rule_.degree) {
      Key best = 0;
      for (unsigned i = lane(); i < count; i += kWarp) {
        if (own_.shares[i] <= kOpen) continue;
        const Key offer = make_key(own_.shares[i], kMaxCandidates - i);  // the largest is wanted
        best = offer > best ? offer : best;
      }
      best = warp_max(best);
      if (best == 0) break;
      const unsigned i = kMaxCandidates - row_of(best);
      __syncwarp();  // all have read the shares
      if (lane() == 0) {
        own_.shares[i] = kKept;
        out[kept] = own_.keys[i];
      }
      __syncwarp();
      ++kept;
    }
    return kept;
  }

  const PairRows& rows_;
  const PruneRule& rule_;
  PruneScratch& own_;
};

}  // namespace semblance::cuda
