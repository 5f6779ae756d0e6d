// Graph search: a block walks for a query, `width` nodes at a time, over codes in the card's memory; a second kernel
// puts the walks of a query together, orders by finer codes and writes the hits.
//
// As in CAGRA (Ootomo et al., ICDE 2024) the pool, the rows to score and the set of rows seen lie in shared memory, and
// the set is emptied when it fills up. Unlike it nothing is drawn or raced for: walks of a query share nothing, so the
// same input gives the same bits. What limits it: with many queries bytes of rows, with one the latency of a step
// (links, then rows), which is why one query is walked by several blocks from starts of their own.
#include <algorithm>

#include "check.cuh"
#include "graph_rows.cuh"

namespace semblance::cuda {
namespace {

constexpr unsigned kBatchThreads = 64, kSingleThreads = 256;
constexpr std::uint32_t kMark = 1;  // of a pool's key: its links were followed

// ---- kernel: pools

__device__ inline std::uint32_t node_of(Key key) { return static_cast<std::uint32_t>(key) >> 1; }

// The smallest `size` of the pool and `count` sorted keys, sorted: the one reversed over the other is bitonic. Sizes
// are powers of two. Every thread of the block.
__device__ inline void merge_keys(Key* pool, unsigned size, const Key* keys, unsigned count) {
  const bool nothing_new = keys[0] >= pool[size - 1];
  __syncthreads();
  if (nothing_new) return;
  for (unsigned i = threadIdx.x; i < count && i < size; i += blockDim.x)
    if (keys[i] < pool[size - 1 - i]) pool[size - 1 - i] = keys[i];
  for (unsigned step = size / 2; step > 0; step /= 2) {
    __syncthreads();
    for (unsigned i = threadIdx.x; i < size / 2; i += blockDim.x) {
      const unsigned low = i / step * 2 * step + i % step, high = low + step;
      const Key a = pool[low], b = pool[high];
      if (a > b) {
        pool[low] = b;
        pool[high] = a;
      }
    }
  }
  __syncthreads();
}

// ---- kernel: the rows seen, a hash table of open addresses

struct Seen {
  std::uint32_t* slots;
  unsigned size;  // a power of two

  // True for the first thread that brings the row. Which one that is depends on the moment; that one does, does not.
  __device__ bool insert(std::uint32_t row) {
    for (std::uint32_t at = row * 0x9E3779B1U >> 7;; ++at) {
      const std::uint32_t before = atomicCAS(&slots[at & (size - 1)], kNoLink, row);
      if (before == kNoLink) return true;
      if (before == row) return false;
    }
  }
  __device__ void clear() {
    for (unsigned i = threadIdx.x; i < size; i += blockDim.x) slots[i] = kNoLink;
    __syncthreads();
  }
};

// Sizes of a block's shared memory, all but `query` powers of two.
struct Shape {
  unsigned pool, fresh, seen, query;

  __host__ __device__ std::size_t bytes() const {
    return (pool + fresh) * sizeof(Key) + (seen + query + kWarp + 2) * sizeof(float);
  }
};

struct Shared {
  Key *pool, *fresh;
  std::uint32_t* seen;
  float* query;
  std::uint32_t *parents, *taken, *added;  // at most a warp of parents, how many they are; rows in `fresh`

  __device__ explicit Shared(const Shape& shape)
      : pool(dynamic_shared<Key>()),
        fresh(pool + shape.pool),
        seen(reinterpret_cast<std::uint32_t*>(fresh + shape.fresh)),
        query(reinterpret_cast<float*>(seen + shape.seen)),
        parents(reinterpret_cast<std::uint32_t*>(query + shape.query)),
        taken(parents + kWarp),
        added(taken + 1) {}
};

// ---- kernel: the walk

struct WalkJob {
  GraphQueries queries;
  Shape shape;
  std::uint32_t walks, width, seeds;
  Key* pools;  // (queries, walks, shape.pool)
};

__device__ inline std::uint32_t mix(std::uint32_t x) {
  x = (x ^ x >> 16) * 0x7FEB352DU;
  x = (x ^ x >> 15) * 0x846CA68BU;
  return x ^ x >> 16;
}

// The closest nodes whose links were not followed, marked, by the first warp; how many.
__device__ inline unsigned take_parents(Key* pool, unsigned size, std::uint32_t* parents, unsigned width) {
  unsigned taken = 0;
  for (unsigned first = 0; first < size && taken < width; first += kWarp) {
    const Key key = pool[first + lane()];
    const unsigned open = __ballot_sync(kAllLanes, key != kLastKey && (key & kMark) == 0);
    const unsigned place = taken + __popc(open & ((1U << lane()) - 1U));
    if ((open >> lane() & 1U) != 0 && place < width) {
      parents[place] = node_of(key);
      pool[first + lane()] = key | kMark;
    }
    taken += __popc(open);
  }
  return taken < width ? taken : width;
}

// Appends a row that was not seen. The places depend on the moment; they are sorted before anything depends on them.
__device__ inline void bring(const Shared& s, const Shape& shape, std::uint32_t row) {
  if (row != kNoLink && Seen{s.seen, shape.seen}.insert(row)) s.fresh[atomicAdd(s.added, 1U)] = row;
}

__device__ inline void gather_links(const GraphView& graph, const Shared& s, const Shape& shape, unsigned parents) {
  for (unsigned i = threadIdx.x; i < parents * graph.degree; i += blockDim.x) {
    const std::size_t list = std::size_t{s.parents[i / graph.degree]} * graph.degree;
    bring(s, shape, __ldg(graph.links + list + i % graph.degree));
  }
}

__device__ inline void plant_seeds(const GraphView& graph, const Shared& s, const WalkJob& job, unsigned walk) {
  for (unsigned i = threadIdx.x; i < job.seeds; i += blockDim.x)
    bring(s, job.shape, i == 0 && walk == 0 ? graph.entry : mix(walk * 4096U + i) % graph.count);
}

// Scores the first `added` keys of `fresh` and merges them into the pool.
template <GraphCodes kCodes, bool kSecond>
__device__ inline void take_in(const GraphRows& rows, const Shared& s, const Shape& shape, unsigned added) {
  unsigned places = 2;
  while (places < added) places *= 2;
  for (unsigned i = added + threadIdx.x; i < places; i += blockDim.x) s.fresh[i] = kLastKey;
  score_keys<kCodes, kSecond>(rows, s.query, s.fresh, added);
  block_sort(s.fresh, places);
  merge_keys(s.pool, shape.pool, s.fresh, places);
}

// Begins the set anew with what is in the pool. What was seen and is not there any more is farther than all of it, so
// it may be scored again but never enters again.
__device__ inline void forget(const Shared& s, const Shape& shape) {
  Seen seen{s.seen, shape.seen};
  __syncthreads();
  seen.clear();
  for (unsigned i = threadIdx.x; i < shape.pool; i += blockDim.x)
    if (s.pool[i] != kLastKey) seen.insert(node_of(s.pool[i]));
  __syncthreads();
}

template <GraphCodes kCodes, bool kSecond>
__global__ void walk_kernel(const GraphView graph, const WalkJob job) {
  const Shape shape = job.shape;
  const Shared s(shape);
  const unsigned walk = blockIdx.x % job.walks;
  load_query(graph.walk, job.queries, blockIdx.x / job.walks, s.query);
  for (unsigned i = threadIdx.x; i < shape.pool; i += blockDim.x) s.pool[i] = kLastKey;
  if (threadIdx.x == 0) *s.added = 0;
  Seen{s.seen, shape.seen}.clear();
  plant_seeds(graph, s, job, walk);
  for (unsigned seen = 0;;) {
    __syncthreads();
    const unsigned added = *s.added;
    seen += added;
    if (added > 0) {
      take_in<kCodes, kSecond>(graph.walk, s, shape, added);
    } else {
      __syncthreads();  // all have read how many
    }
    if (seen + shape.fresh > shape.seen / 4 * 3) {
      forget(s, shape);
      seen = shape.pool;
    }
    if (threadIdx.x < kWarp) {
      const unsigned taken = take_parents(s.pool, shape.pool, s.parents, job.width);
      if (threadIdx.x == 0) {
        *s.taken = taken;
        *s.added = 0;
      }
    }
    __syncthreads();
    if (*s.taken == 0) break;
    gather_links(graph, s, shape, *s.taken);
  }
  Key* out = job.pools + std::size_t{blockIdx.x} * shape.pool;
  for (unsigned i = threadIdx.x; i < shape.pool; i += blockDim.x) out[i] = s.pool[i];
}

// ---- kernel: the scan

struct ScanJob {
  GraphQueries queries;
  Shape shape;
  const std::uint32_t* rows;
  std::uint32_t count, parts;
  Key* pools;  // (queries, parts, shape.pool)
};

template <GraphCodes kCodes, bool kSecond>
__global__ void scan_kernel(const GraphView graph, const ScanJob job) {
  const Shape shape = job.shape;
  const Shared s(shape);
  load_query(graph.walk, job.queries, blockIdx.x / job.parts, s.query);
  for (unsigned i = threadIdx.x; i < shape.pool; i += blockDim.x) s.pool[i] = kLastKey;
  __syncthreads();
  for (std::uint32_t first = blockIdx.x % job.parts * shape.fresh; first < job.count;
       first += job.parts * shape.fresh) {
    for (unsigned i = threadIdx.x; i < shape.fresh; i += blockDim.x)
      s.fresh[i] = i < job.count - first ? Key{__ldg(job.rows + first + i)} : kLastKey;
    __syncthreads();
    score_keys<kCodes, kSecond>(graph.walk, s.query, s.fresh, shape.fresh);
    block_sort(s.fresh, shape.fresh);
    merge_keys(s.pool, shape.pool, s.fresh, shape.fresh);
  }
  Key* out = job.pools + std::size_t{blockIdx.x} * shape.pool;
  for (unsigned i = threadIdx.x; i < shape.pool; i += blockDim.x) out[i] = s.pool[i];
}

// ---- kernel: the end

struct FinishJob {
  GraphQueries queries;
  Shape shape;  // fresh = pool
  const Key* pools;
  const std::uint32_t* allowed;
  std::uint32_t lists, k;  // lists a query
  GraphHits hits;
};

__device__ inline bool holds(const Key* sorted, unsigned size, Key key) {
  unsigned low = 0;
  for (unsigned half = size / 2; half > 0; half /= 2)
    if (sorted[low + half - 1] < key) low += half;
  return sorted[low] == key;
}

// A list of a walk into `fresh`: only what is allowed, marks taken off.
__device__ inline void load_list(const FinishJob& job, const Shared& s, const Key* list) {
  for (unsigned i = threadIdx.x; i < job.shape.fresh; i += blockDim.x) {
    Key key = list[i];
    if (key != kLastKey) {
      key &= ~Key{kMark};
      const std::uint32_t row = node_of(key);
      if (job.allowed != nullptr && (job.allowed[row / 32] >> row % 32 & 1U) == 0) key = kLastKey;
    }
    s.fresh[i] = key;
  }
  __syncthreads();
}

// kFine: scores are taken again, from the finer codes.
template <GraphCodes kCodes, bool kSecond, bool kFine>
__global__ void finish_kernel(const GraphView graph, const FinishJob job) {
  const Shape shape = job.shape;
  const Shared s(shape);
  if constexpr (kFine) load_query(graph.fine, job.queries, blockIdx.x, s.query);
  for (unsigned i = threadIdx.x; i < shape.pool; i += blockDim.x) s.pool[i] = kLastKey;
  __syncthreads();
  for (std::uint32_t l = 0; l < job.lists; ++l) {
    load_list(job, s, job.pools + (std::size_t{blockIdx.x} * job.lists + l) * shape.pool);
    if constexpr (kFine) {
      for (unsigned i = threadIdx.x; i < shape.fresh; i += blockDim.x)
        if (s.fresh[i] != kLastKey) s.fresh[i] = node_of(s.fresh[i]);
      __syncthreads();
      score_keys<kCodes, kSecond>(graph.fine, s.query, s.fresh, shape.fresh);
    }
    // Walks that met found the same rows with the same bits: those are there already.
    for (unsigned i = threadIdx.x; i < shape.fresh; i += blockDim.x)
      if (s.fresh[i] != kLastKey && holds(s.pool, shape.pool, s.fresh[i])) s.fresh[i] = kLastKey;
    block_sort(s.fresh, shape.fresh);
    merge_keys(s.pool, shape.pool, s.fresh, shape.fresh);
  }
  for (std::uint32_t i = threadIdx.x; i < job.k; i += blockDim.x) {
    const Key key = s.pool[i];
    const std::size_t at = std::size_t{blockIdx.x} * job.k + i;
    const bool found = key != kLastKey;
    const float distance = job.hits.origin + score_of(key);
    job.hits.ids[at] = !found ? -1 : graph.ids != nullptr ? graph.ids[node_of(key)] : node_of(key);
    job.hits.distances[at] = !found                                  ? __uint_as_float(0x7F800000U)
                             : job.hits.clamps && !(distance > 0.0F) ? 0.0F
                                                                     : distance;
  }
}

// ---- launchers: the kernel for each form of rows

std::uint32_t power_of_two(std::uint32_t least) {
  std::uint32_t power = 32;
  while (power < least) power *= 2;
  return power;
}

unsigned query_floats(const GraphRows& rows) {
  const unsigned columns = graph_columns(rows.codes);
  return (rows.dim + columns - 1) / columns * (rows.codes == GraphCodes::bits ? 4 : columns);
}

// A call of `pick` with the kernel's template arguments for the rows.
template <class Pick>
auto for_rows(const GraphRows& rows, const Pick& pick) {
  const bool second = rows.score == GraphScore::squares || rows.score == GraphScore::jaccard;
  const auto with = [&]<GraphCodes kCodes>() {
    return second ? pick.template operator()<kCodes, true>() : pick.template operator()<kCodes, false>();
  };
  switch (rows.codes) {
    case GraphCodes::f32:
      return with.template operator()<GraphCodes::f32>();
    case GraphCodes::f16:
      return with.template operator()<GraphCodes::f16>();
    case GraphCodes::i8:
      return with.template operator()<GraphCodes::i8>();
    case GraphCodes::bits:
      break;
  }
  return with.template operator()<GraphCodes::bits>();
}

void finish(const GraphView& graph, FinishJob job, Stream stream) {
  const bool fine = graph.fine.data != nullptr;
  job.shape.fresh = job.shape.pool;
  job.shape.seen = 0;
  job.shape.query = fine ? query_floats(graph.fine) : 0;
  const auto kernel = for_rows(fine ? graph.fine : graph.walk, [&]<GraphCodes kCodes, bool kSecond>() {
    return fine ? finish_kernel<kCodes, kSecond, true> : finish_kernel<kCodes, kSecond, false>;
  });
  const unsigned threads = job.lists > 1 ? kSingleThreads : kBatchThreads;
  launch({"finish_search", static_cast<unsigned>(job.queries.count), threads, job.shape.bytes(), stream}, kernel, graph,
         job);
}

}  // namespace

std::size_t graph_row_bytes(GraphCodes codes, std::size_t dim) {
  return (dim + graph_columns(codes) - 1) / graph_columns(codes) * 16;
}

void search_graph(const GraphView& graph, const GraphQueries& queries, const GraphWalk& walk, const GraphHits& hits,
                  Stream stream) {
  if (queries.count == 0) return;
  Shape shape{};
  shape.pool = power_of_two(std::max(walk.ef, walk.k));
  shape.fresh = power_of_two(std::max(walk.width * graph.degree, walk.seeds));
  shape.seen =
      std::min(power_of_two(8 * (shape.pool + shape.fresh)), power_of_two(2 * (shape.pool + shape.fresh + 2048)));
  shape.query = query_floats(graph.walk);
  const std::size_t blocks = queries.count * walk.walks;
  const Memory pools(blocks * shape.pool * sizeof(Key), stream);
  const WalkJob job{queries, shape, walk.walks, walk.width, walk.seeds, pools.as<Key>()};
  const auto kernel =
      for_rows(graph.walk, [&]<GraphCodes kCodes, bool kSecond>() { return walk_kernel<kCodes, kSecond>; });
  const unsigned threads = walk.walks > 1 ? kSingleThreads : kBatchThreads;
  launch({"walk_graph", static_cast<unsigned>(blocks), threads, shape.bytes(), stream}, kernel, graph, job);
  finish(graph, {queries, shape, pools.as<Key>(), walk.allowed, walk.walks, walk.k, hits}, stream);
}

void scan_rows(const GraphView& graph, const GraphQueries& queries, const GraphScan& scan, const GraphHits& hits,
               Stream stream) {
  if (queries.count == 0) return;
  Shape shape{};
  shape.pool = power_of_two(std::max(scan.ef, scan.k));
  shape.fresh = kSingleThreads;
  shape.query = query_floats(graph.walk);
  const std::size_t blocks = queries.count * scan.parts;
  const Memory pools(blocks * shape.pool * sizeof(Key), stream);
  const ScanJob job{queries, shape, scan.rows, scan.count, scan.parts, pools.as<Key>()};
  const auto kernel =
      for_rows(graph.walk, [&]<GraphCodes kCodes, bool kSecond>() { return scan_kernel<kCodes, kSecond>; });
  launch({"scan_rows", static_cast<unsigned>(blocks), kSingleThreads, shape.bytes(), stream}, kernel, graph, job);
  finish(graph, {queries, shape, pools.as<Key>(), nullptr, scan.parts, scan.k, hits}, stream);
}

}  // namespace semblance::cuda
