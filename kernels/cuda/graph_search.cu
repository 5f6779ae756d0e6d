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

// Of a block: many where blocks leave the card empty, and then many pieces of a row under way as well.
constexpr unsigned kFewThreads = 64, kManyThreads = 256;
constexpr unsigned kFewPieces = 3, kManyPieces = 6;
// Blocks of so many threads whose registers a multiprocessor holds.
template <unsigned kPieces>
constexpr unsigned kBlocksAtOnce = kPieces == kFewPieces ? 4 : 2;
constexpr std::uint32_t kMark = 1;  // of a pool's key: its links were followed

// ---- kernel: pools

__device__ inline std::uint32_t node_of(Key key) { return static_cast<std::uint32_t>(key) >> 1; }

// The smallest `size` of the pool and `count` sorted keys, sorted: the one reversed over the other is bitonic. Sizes
// are powers of two. Every thread of the block.
__device__ inline void merge_keys(Key* pool, unsigned size, const Key* keys, unsigned count) {
  for (unsigned i = threadIdx.x; i < count && i < size; i += blockDim.x)
    if (keys[i] < pool[size - 1 - i]) pool[size - 1 - i] = keys[i];
  for (unsigned step = size / 2; step > 0; step /= 2) {
    __syncthreads();
    for (unsigned i = threadIdx.x; i < size / 2; i += blockDim.x) sort_pair(pool, i, step, 0);
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
    return (pool + fresh) * sizeof(Key) + (fresh + seen + query + kWarp + 3) * sizeof(std::uint32_t);
  }
};

struct Shared {
  Key *pool, *keys;            // keys: what is offered to the pool
  std::uint32_t *rows, *seen;  // rows: to be scored
  float* query;
  std::uint32_t *parents, *taken, *added, *offered;  // at most a warp of parents; how many there are of each

  __device__ explicit Shared(const Shape& shape)
      : pool(dynamic_shared<Key>()),
        keys(pool + shape.pool),
        rows(reinterpret_cast<std::uint32_t*>(keys + shape.fresh)),
        seen(rows + shape.fresh),
        query(reinterpret_cast<float*>(seen + shape.seen)),
        parents(reinterpret_cast<std::uint32_t*>(query + shape.query)),
        taken(parents + kWarp),
        added(taken + 1),
        offered(added + 1) {}

  __device__ Offers offers(const Shape& shape) const { return {keys, offered, pool[shape.pool - 1]}; }

  // Nothing is found, seen or offered yet.
  __device__ void begin(const Shape& shape) const {
    for (unsigned i = threadIdx.x; i < shape.pool; i += blockDim.x) pool[i] = kLastKey;
    if (threadIdx.x == 0) *added = *offered = 0;
    Seen{seen, shape.seen}.clear();
  }
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
  if (row != kNoLink && Seen{s.seen, shape.seen}.insert(row)) s.rows[atomicAdd(s.added, 1U)] = row;
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

// Sorts what was offered, and only that, into the pool.
__device__ inline void take_offers(const Shared& s, const Shape& shape) {
  __syncthreads();
  const unsigned offered = *s.offered;
  if (offered == 0) return;
  unsigned places = 2;
  while (places < offered) places *= 2;
  for (unsigned i = offered + threadIdx.x; i < places; i += blockDim.x) s.keys[i] = kLastKey;
  block_sort(s.keys, places);
  if (threadIdx.x == 0) *s.offered = 0;
  merge_keys(s.pool, shape.pool, s.keys, places);
}

// Begins the set anew with what is in the pool. What was seen and is not there any more is farther than all of it, so
// it may be scored again but never enters again.
__device__ inline void forget(const Shared& s, const Shape& shape) {
  Seen seen{s.seen, shape.seen};
  seen.clear();
  for (unsigned i = threadIdx.x; i < shape.pool; i += blockDim.x)
    if (s.pool[i] != kLastKey) seen.insert(node_of(s.pool[i]));
  __syncthreads();
}

template <GraphCodes kCodes, bool kSecond, unsigned kPieces>
__global__ void __launch_bounds__(kManyThreads, kBlocksAtOnce<kPieces>)
    walk_kernel(const GraphView graph, const WalkJob job) {
  const Shape shape = job.shape;
  const Shared s(shape);
  const unsigned walk = blockIdx.x % job.walks;
  load_query<kCodes>(graph.walk, job.queries, blockIdx.x / job.walks, s.query);
  s.begin(shape);
  plant_seeds(graph, s, job, walk);
  for (unsigned seen = 0;;) {
    __syncthreads();
    const unsigned added = *s.added;
    seen += added;
    score_rows<kCodes, kSecond, kPieces>(graph.walk, s.query, s.rows, added, s.offers(shape));
    take_offers(s, shape);
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

template <GraphCodes kCodes, bool kSecond, unsigned kPieces>
__global__ void __launch_bounds__(kManyThreads, kBlocksAtOnce<kPieces>)
    scan_kernel(const GraphView graph, const ScanJob job) {
  const Shape shape = job.shape;
  const Shared s(shape);
  load_query<kCodes>(graph.walk, job.queries, blockIdx.x / job.parts, s.query);
  s.begin(shape);
  for (std::uint32_t first = blockIdx.x % job.parts * shape.fresh; first < job.count;
       first += job.parts * shape.fresh) {
    const unsigned count = min(shape.fresh, job.count - first);
    for (unsigned i = threadIdx.x; i < count; i += blockDim.x) s.rows[i] = __ldg(job.rows + first + i);
    __syncthreads();
    score_rows<kCodes, kSecond, kPieces>(graph.walk, s.query, s.rows, count, s.offers(shape));
    take_offers(s, shape);
  }
  Key* out = job.pools + std::size_t{blockIdx.x} * shape.pool;
  for (unsigned i = threadIdx.x; i < shape.pool; i += blockDim.x) out[i] = s.pool[i];
}

// ---- kernel: the end

struct FinishJob {
  GraphQueries queries;
  Shape shape;
  const Key* found;  // (queries, lists): of all walks of a query
  std::uint32_t lists, k;
  const std::uint32_t* allowed;
  GraphHits hits;
};

// What is allowed of `count` keys that walks found, each row once: walks that met found the same rows with the same
// bits. To be scored where finer codes are there, else offered.
template <bool kFine>
__device__ inline void take_found(const FinishJob& job, const Shared& s, const Key* found, unsigned count) {
  const Offers offers = s.offers(job.shape);
  for (unsigned i = threadIdx.x; i < count; i += blockDim.x) {
    const Key key = found[i];
    const std::uint32_t row = node_of(key);
    if (key == kLastKey || (job.allowed != nullptr && (job.allowed[row / 32] >> row % 32 & 1U) == 0)) continue;
    if constexpr (kFine)
      bring(s, job.shape, row);
    else if (Seen{s.seen, job.shape.seen}.insert(row))
      offers.add(key & ~Key{kMark});
  }
}

__device__ inline void write_hits(const GraphView& graph, const FinishJob& job, const Key* pool) {
  for (std::uint32_t i = threadIdx.x; i < job.k; i += blockDim.x) {
    const Key key = pool[i];
    const std::size_t at = std::size_t{blockIdx.x} * job.k + i;
    const bool found = key != kLastKey;
    const float distance = job.hits.origin + score_of(key);
    job.hits.ids[at] = !found ? -1 : graph.ids != nullptr ? graph.ids[node_of(key)] : node_of(key);
    job.hits.distances[at] = !found                                  ? __uint_as_float(0x7F800000U)
                             : job.hits.clamps && !(distance > 0.0F) ? 0.0F
                                                                     : distance;
  }
}

// kFine: scores are taken again, from the finer codes.
template <bool kFine, GraphCodes kCodes, bool kSecond, unsigned kPieces>
__global__ void __launch_bounds__(kManyThreads, kBlocksAtOnce<kPieces>)
    finish_kernel(const GraphView graph, const FinishJob job) {
  const Shape shape = job.shape;
  const Shared s(shape);
  if constexpr (kFine) load_query<kCodes>(graph.fine, job.queries, blockIdx.x, s.query);
  s.begin(shape);
  const Key* found = job.found + std::size_t{blockIdx.x} * job.lists;
  for (std::uint32_t first = 0; first < job.lists; first += shape.fresh) {
    if (first > 0) {
      if (threadIdx.x == 0) *s.added = 0;
      forget(s, shape);
    }
    take_found<kFine>(job, s, found + first, min(shape.fresh, job.lists - first));
    if constexpr (kFine) {
      __syncthreads();
      score_rows<kCodes, kSecond, kPieces>(graph.fine, s.query, s.rows, *s.added, s.offers(shape));
    }
    take_offers(s, shape);
  }
  write_hits(graph, job, s.pool);
}

// ---- launchers: the kernel for each form of rows

std::uint32_t power_of_two(std::uint32_t least) {
  std::uint32_t power = 32;
  while (power < least) power *= 2;
  return power;
}

struct BlockForm {
  unsigned threads;
  bool deep;  // kManyPieces under way
};
BlockForm form_of(std::size_t blocks) {
  const std::size_t a_place = (blocks + multiprocessors() - 1) / multiprocessors();
  return {a_place <= kBlocksAtOnce<kFewPieces> ? kManyThreads : kFewThreads, a_place <= kBlocksAtOnce<kManyPieces>};
}

// A call of `pick` with the kernel's template arguments for the rows.
template <class Pick>
auto for_rows(const GraphRows& rows, bool deep, const Pick& pick) {
  const bool second = rows.score == GraphScore::squares || rows.score == GraphScore::jaccard;
  const auto of_form = [&]<GraphCodes kCodes, bool kSecond>() {
    return deep ? pick.template operator()<kCodes, kSecond, kManyPieces>()
                : pick.template operator()<kCodes, kSecond, kFewPieces>();
  };
  const auto with = [&]<GraphCodes kCodes>() {
    return second ? of_form.template operator()<kCodes, true>() : of_form.template operator()<kCodes, false>();
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

constexpr std::uint32_t kFinishedAtOnce = 1024;  // keys that walks found

void finish(const GraphView& graph, FinishJob job, Stream stream) {
  const BlockForm form = form_of(job.queries.count);
  const bool fine = graph.fine.data != nullptr;
  job.shape.pool = power_of_two(job.k);
  job.shape.fresh = std::min(power_of_two(job.lists), kFinishedAtOnce);
  job.shape.seen = power_of_two(2 * (job.shape.pool + job.shape.fresh));
  job.shape.query = fine ? query_floats(graph.fine.codes, graph.fine.dim) : 0;
  const auto kernel = fine ? for_rows(graph.fine, form.deep,
                                      [&]<GraphCodes kCodes, bool kSecond, unsigned kPieces>() {
                                        return finish_kernel<true, kCodes, kSecond, kPieces>;
                                      })
                           : finish_kernel<false, GraphCodes::f32, false, kFewPieces>;
  launch({"finish_search", static_cast<unsigned>(job.queries.count), form.threads, job.shape.bytes(), stream}, kernel,
         graph, job);
}

}  // namespace

std::size_t graph_row_bytes(GraphCodes codes, std::size_t dim) { return std::size_t{graph_pieces(codes, dim)} * 16; }

void search_graph(const GraphView& graph, const GraphQueries& queries, const GraphWalk& walk, const GraphHits& hits,
                  Stream stream) {
  if (queries.count == 0) return;
  Shape shape{};
  shape.pool = power_of_two(std::max(walk.ef, walk.k));
  shape.fresh = power_of_two(std::max(walk.width * graph.degree, walk.seeds));
  shape.seen =
      std::min(power_of_two(16 * (shape.pool + shape.fresh)), power_of_two(2 * (shape.pool + shape.fresh + 2048)));
  shape.query = query_floats(graph.walk.codes, graph.walk.dim);
  const std::size_t blocks = queries.count * walk.walks;
  const BlockForm form = form_of(blocks);
  const Memory pools(blocks * shape.pool * sizeof(Key), stream);
  const WalkJob job{queries, shape, walk.walks, walk.width, walk.seeds, pools.as<Key>()};
  const auto kernel = for_rows(graph.walk, form.deep, [&]<GraphCodes kCodes, bool kSecond, unsigned kPieces>() {
    return walk_kernel<kCodes, kSecond, kPieces>;
  });
  launch({"walk_graph", static_cast<unsigned>(blocks), form.threads, shape.bytes(), stream}, kernel, graph, job);
  finish(graph, {queries, shape, pools.as<Key>(), walk.walks * shape.pool, walk.k, walk.allowed, hits}, stream);
}

void scan_rows(const GraphView& graph, const GraphQueries& queries, const GraphScan& scan, const GraphHits& hits,
               Stream stream) {
  if (queries.count == 0) return;
  Shape shape{};
  shape.pool = power_of_two(std::max(scan.ef, scan.k));
  shape.fresh = kManyThreads;
  shape.query = query_floats(graph.walk.codes, graph.walk.dim);
  const std::size_t blocks = queries.count * scan.parts;
  const Memory pools(blocks * shape.pool * sizeof(Key), stream);
  const ScanJob job{queries, shape, scan.rows, scan.count, scan.parts, pools.as<Key>()};
  const auto kernel = for_rows(graph.walk, false, [&]<GraphCodes kCodes, bool kSecond, unsigned>() {
    return scan_kernel<kCodes, kSecond, kFewPieces>;
  });
  launch({"scan_rows", static_cast<unsigned>(blocks), kManyThreads, shape.bytes(), stream}, kernel, graph, job);
  finish(graph, {queries, shape, pools.as<Key>(), scan.parts * shape.pool, scan.k, nullptr, hits}, stream);
}

}  // namespace semblance::cuda
