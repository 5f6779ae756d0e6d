// Neighbour lists of a graph: candidates by exact search, pruning, links back, pruning of what is full. The CPU twin of
// the rule is cpp/index/hnsw_build.cpp; what differs is that all rows see all rows, not those before them.
#include <algorithm>

#include "check.cuh"
#include "prune.cuh"

namespace semblance::cuda {

namespace {

constexpr unsigned kPruneThreads = 128, kPruneWarps = kPruneThreads / kWarp;
constexpr unsigned kFillThreads = 256, kScanThreads = 256;

// ---- kernels ----

__global__ void clear_keys(Key* keys, std::size_t n) {
  const std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < n) keys[i] = kLastKey;
}

struct FoundRows {
  const std::uint32_t* rows;  // (count, k)
  const float* scores;
  std::uint32_t k, count;
  const std::uint32_t *numbers, *query_numbers;  // null = their own
  std::uint32_t first_query;
};
struct CandidatePlaces {
  Key* keys;
  std::uint32_t width, column, nearest;
};

// What a search found becomes candidates under their numbers in the graph; the row itself leaves, or else the last.
__global__ void take_found(const FoundRows found, const CandidatePlaces to) {
  const unsigned q = blockIdx.x * kPruneWarps + warp();
  if (q >= found.count) return;
  const unsigned query = found.first_query + q;
  const std::uint32_t self = found.query_numbers != nullptr ? found.query_numbers[query] : query;
  Key* out = to.keys + std::size_t{self} * to.width + to.column;
  unsigned kept = 0;
  for (unsigned first = 0; first < found.k; first += kWarp) {
    const unsigned i = first + lane();
    const std::uint32_t row = i < found.k ? found.rows[std::size_t{q} * found.k + i] : kNoRow;
    const std::uint32_t number = row == kNoRow || found.numbers == nullptr ? row : found.numbers[row];
    const bool takes = number != kNoRow && number != self;
    const unsigned takers = __ballot_sync(kAllLanes, takes);
    const unsigned place = kept + __popc(takers & ((1U << lane()) - 1U));
    if (takes && place < to.nearest) out[place] = make_key(found.scores[std::size_t{q} * found.k + i], number);
    kept += __popc(takers);
  }
}

// The places of scratch that a list of `count` keys needs for sorting, the rest of them empty.
__device__ unsigned pad(Key* keys, unsigned count) {
  unsigned power = 2;
  while (power < count) power *= 2;
  for (unsigned i = count + lane(); i < power; i += kWarp) keys[i] = kLastKey;
  __syncwarp();
  return power;
}

struct LinkTask {
  PairRows rows;
  PruneRule rule;
  std::uint32_t n, width;
  const Key* candidates;  // (n, width)
  Key* forward;           // (n, degree): pruned candidates
  std::uint32_t* starts;  // (n + 1): where the links back to each row begin
  std::uint32_t* filled;  // (n)
  Key* back;              // links back, in no order
  std::uint32_t* links;   // (n, degree)
};

template <class Codes, bool kL2>
__global__ void __launch_bounds__(kPruneThreads) prune_candidates(const __grid_constant__ LinkTask task) {
  __shared__ PruneScratch scratch[kPruneWarps];
  const unsigned node = blockIdx.x * kPruneWarps + warp();
  if (node >= task.n) return;
  PruneScratch& own = scratch[warp()];
  for (unsigned i = lane(); i < task.width; i += kWarp)
    own.keys[i] = task.candidates[std::size_t{node} * task.width + i];
  __syncwarp();
  const unsigned places = pad(own.keys, task.width);
  warp_sort(own.keys, places);
  const unsigned count = warp_unique(own.keys, places);
  Pruner<Codes, kL2>(task.rows, task.rule, own).prune(count, task.forward + std::size_t{node} * task.rule.degree);
}

// Whether `to` links to `from` already.
__device__ bool links_to(const LinkTask& task, std::uint32_t to, std::uint32_t from) {
  const Key* list = task.forward + std::size_t{to} * task.rule.degree;
  for (unsigned i = 0; i < task.rule.degree && list[i] != kLastKey; ++i)
    if (row_of(list[i]) == from) return true;
  return false;
}

// A thread a link: counts the links back (kWrites false), then writes them.
template <bool kWrites>
__global__ void link_back(const __grid_constant__ LinkTask task) {
  const std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= task.n * task.rule.degree || task.forward[i] == kLastKey) return;
  const auto from = static_cast<std::uint32_t>(i / task.rule.degree);
  const std::uint32_t to = row_of(task.forward[i]);
  if (links_to(task, to, from)) return;
  const std::uint32_t place = atomicAdd(&task.filled[to], 1U);
  if constexpr (kWrites) task.back[task.starts[to] + place] = make_key(score_of(task.forward[i]), from);
}

// starts[i] = counts[0] + ... + counts[i - 1], and counts are zeroed; one block.
__global__ void __launch_bounds__(kScanThreads) add_up(std::uint32_t* counts, std::uint32_t* starts, std::uint32_t n) {
  __shared__ std::uint32_t sums[kScanThreads];
  std::uint32_t total = 0;
  for (unsigned first = 0; first < n; first += kScanThreads) {
    const unsigned i = first + threadIdx.x;
    const std::uint32_t own = i < n ? counts[i] : 0;
    sums[threadIdx.x] = own;
    for (unsigned step = 1; step < kScanThreads; step *= 2) {
      __syncthreads();
      const std::uint32_t before = threadIdx.x >= step ? sums[threadIdx.x - step] : 0;
      __syncthreads();
      sums[threadIdx.x] += before;
    }
    __syncthreads();
    if (i < n) {
      starts[i] = total + sums[threadIdx.x] - own;
      counts[i] = 0;
    }
    total += sums[kScanThreads - 1];
    __syncthreads();
  }
  if (threadIdx.x == 0) starts[n] = total;
}

template <class Codes, bool kL2>
__global__ void __launch_bounds__(kPruneThreads) join_links(const __grid_constant__ LinkTask task) {
  __shared__ PruneScratch scratch[kPruneWarps];
  const unsigned node = blockIdx.x * kPruneWarps + warp();
  if (node >= task.n) return;
  PruneScratch& own = scratch[warp()];
  const auto degree = static_cast<unsigned>(task.rule.degree);
  Key* forward = task.forward + std::size_t{node} * degree;
  unsigned count = 0;
  for (unsigned i = lane(); i - lane() < degree; i += kWarp) {
    const Key key = i < degree ? forward[i] : kLastKey;
    if (key != kLastKey) own.keys[i] = key;
    count += __popc(__ballot_sync(kAllLanes, key != kLastKey));  // empty places come last
  }
  Key* back = task.back + task.starts[node];
  unsigned linked = task.starts[node + 1] - task.starts[node];
  if (linked > kMaxCandidates - count) {
    warp_select(back, linked, kMaxCandidates - count);
    __syncwarp();
    linked = kMaxCandidates - count;
  }
  for (unsigned i = lane(); i < linked; i += kWarp) own.keys[count + i] = back[i];
  __syncwarp();
  count += linked;
  warp_sort(own.keys, pad(own.keys, count));
  if (count > degree) Pruner<Codes, kL2>(task.rows, task.rule, own).prune(count, forward);
  for (unsigned i = lane(); i < degree; i += kWarp) {
    const Key key = count > degree ? forward[i] : i < count ? own.keys[i] : kLastKey;
    task.links[std::size_t{node} * degree + i] = key == kLastKey ? kNoRow : row_of(key);
  }
}

// ---- launchers ----

using kernels::RowFormat;
using kernels::Score;

template <class Codes, bool kL2>
void run(const LinkTask& task, Stream stream) {
  const unsigned blocks = blocks_for(task.n, kPruneWarps), links = blocks_for(task.n * task.rule.degree, kFillThreads);
  launch({"prune_candidates", blocks, kPruneThreads, 0, stream}, prune_candidates<Codes, kL2>, task);
  launch({"link_back", links, kFillThreads, 0, stream}, link_back<false>, task);
  launch({"add_up", 1, kScanThreads, 0, stream}, add_up, task.filled, task.starts, task.n);
  launch({"link_back", links, kFillThreads, 0, stream}, link_back<true>, task);
  launch({"join_links", blocks, kPruneThreads, 0, stream}, join_links<Codes, kL2>, task);
}

}  // namespace

Candidates::Candidates(std::size_t rows, std::size_t width, Stream stream)
    : rows_(rows), width_(width), keys_(rows * width * sizeof(Key)) {
  const std::size_t places = rows * width;
  launch({"clear_keys", blocks_for(places, kFillThreads), kFillThreads, 0, stream}, clear_keys, keys_.as<Key>(),
         places);
}

void Candidates::find(const FlatRows& queries, const std::uint32_t* numbers, const Source& source, Stream stream) {
  const std::size_t k = source.nearest + 1;  // the row itself may be among them
  const std::size_t most = std::min(round_up(source.at_once, kGroupRows), queries.size());
  const Memory rows(most * k * sizeof(std::uint32_t), stream), scores(most * k * sizeof(float), stream);
  for (std::size_t first = 0; first < queries.size(); first += most) {
    const auto count = static_cast<std::uint32_t>(std::min(most, queries.size() - first));
    source.rows.search_rows(queries, first, count,
                            {nullptr, 0, k, nullptr, rows.as<std::uint32_t>(), scores.as<float>()}, stream);
    launch({"take_found", blocks_for(count, kPruneWarps), kPruneThreads, 0, stream}, take_found,
           FoundRows{rows.as<std::uint32_t>(), scores.as<float>(), static_cast<std::uint32_t>(k), count, source.numbers,
                     numbers, static_cast<std::uint32_t>(first)},
           CandidatePlaces{keys_.as<Key>(), static_cast<std::uint32_t>(width_),
                           static_cast<std::uint32_t>(source.column), static_cast<std::uint32_t>(source.nearest)});
    if (!source.between || first + most >= queries.size()) continue;
    synchronize(stream);
    source.between();
  }
  synchronize(stream);
}

void link_rows(const FlatRows& rows, const Candidates& candidates, const PruneRule& rule, std::uint32_t* links,
               Stream stream) {
  const std::size_t n = rows.size(), places = n * rule.degree;
  if (n == 0) return;
  const Memory forward(places * sizeof(Key), stream), back(places * sizeof(Key), stream);
  const Memory starts((n + 1) * sizeof(std::uint32_t), stream), filled(n * sizeof(std::uint32_t), stream);
  const Memory out(places * sizeof(std::uint32_t), stream);
  fill_zero(filled.data(), filled.bytes(), stream);
  LinkTask task{};
  task.rows = {rows.codes(), reinterpret_cast<const FlatTail*>(rows.tails()), rows.chunks()};
  task.rule = rule;
  task.n = static_cast<std::uint32_t>(n);
  task.width = static_cast<std::uint32_t>(candidates.width());
  task.candidates = reinterpret_cast<const Key*>(candidates.keys());
  task.forward = forward.as<Key>();
  task.starts = starts.as<std::uint32_t>();
  task.filled = filled.as<std::uint32_t>();
  task.back = back.as<Key>();
  task.links = out.as<std::uint32_t>();
  const bool l2 = rows.shape().score == Score::l2;
  if (rows.shape().format == RowFormat::f32) {
    l2 ? run<F32Codes, true>(task, stream) : run<F32Codes, false>(task, stream);
  } else {
    l2 ? run<Bf16Codes, true>(task, stream) : run<Bf16Codes, false>(task, stream);
  }
  copy(links, out.data(), out.bytes(), stream);
  synchronize(stream);
}

}  // namespace semblance::cuda
