// Exact search: coding rows, products fused with selection, merging. The CPU twin is sb.exact.
#include <algorithm>
#include <utility>

#include "check.cuh"
#include "flat_merge.cuh"
#include "flat_stream.cuh"
#include "flat_tile.cuh"

namespace semblance::cuda {

namespace {

// ---- kernels ----

// Rows 0, 1, ... of `from` become rows first, first + 1, ... of the codes. Queries have limits to begin with.
struct EncodeTask {
  const float* from;
  std::size_t n, dim;
  bool unit;
  std::byte* codes;
  FlatTail* tails;
  std::size_t first;
  Key* limits;
};

template <class Codes>
__global__ void encode_rows(const EncodeTask task) {
  const std::size_t row = std::size_t{blockIdx.x} * (blockDim.x / kWarp) + warp(), dim = task.dim;
  if (row >= task.n) return;
  const float* values = task.from + row * dim;
  double factor = 1.0;
  if (task.unit) {
    double squares = 0;
    for (std::size_t j = lane(); j < dim; j += kWarp) squares += double{values[j]} * double{values[j]};
    factor = 1.0 / sqrt(warp_sum(squares));
  }
  using Code = typename Codes::Code;
  const std::size_t stride = round_up(dim * sizeof(Code), kChunkBytes), places = stride / sizeof(Code);
  const RowOf<std::byte, Code> out(task.codes, task.first + row, static_cast<unsigned>(stride / kChunkBytes));
  const FlatTail tail = Codes::encode(values, dim, factor, out);
  for (std::size_t j = dim + lane(); j < places; j += kWarp) out[j] = Code{0};
  if (lane() != 0) return;
  task.tails[task.first + row] = tail;
  if (task.limits != nullptr) task.limits[row] = no_limit();
}

__global__ void set_limits(Key* limits, std::uint32_t n) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) limits[i] = no_limit();
}

template <class Product, unsigned kQueries, bool kL2>
__global__ void __launch_bounds__(kTileThreads, kTileBlocks) flat_tiles(const __grid_constant__ FlatTask task) {
  __shared__ SharedLists<kQueries> lists;
  FlatTile<Product, kQueries, kL2>(task, lists).run();
}

template <class Product, unsigned kQueries, bool kL2>
__global__ void __launch_bounds__(kStreamThreads, 1)
    flat_stream(const __grid_constant__ FlatTask task, unsigned stages) {
  if constexpr (kWarpgroups) {
    __shared__ SharedStream<kQueries> shared;
    FlatStream<Product, kQueries, kL2>(task, shared, stages).run();
  } else {
    __trap();
  }
}

// Which of the codes compiled for this file the driver took is best told by that code.
__global__ void tell_warpgroups(std::uint32_t* told) { *told = kWarpgroups ? 1 : 0; }

// kAgain: scored again from f32 rows, by squared distance (2) or inner product (1).
template <int kAgain>
__global__ void __launch_bounds__(kMergeThreads) merge_lists(const __grid_constant__ MergeTask task) {
  __shared__ SharedMerge shared;
  ListMerge merge(task, shared);
  merge.gather();
  if constexpr (kAgain != 0) merge.template score_again<kAgain == 2>();
  merge.write();
}

__global__ void name_each(const FlatHits hits, DistanceOf metric) {
  const std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= hits.count) return;
  const std::uint32_t row = hits.rows[i];
  const bool found = row != kNoRow;
  hits.ids[i] = !found ? -1 : hits.row_ids != nullptr ? hits.row_ids[row] : std::int64_t{row};
  const float distance = metric == DistanceOf::squares ? hits.scores[i] : 1.0F + hits.scores[i];
  hits.distances[i] = metric == DistanceOf::cosine && distance < 0.0F ? 0.0F : distance;
}

__global__ void check_rows(const float* rows, std::size_t n, std::size_t dim, bool unit, std::uint32_t* bad) {
  const std::size_t row = std::size_t{blockIdx.x} * (blockDim.x / kWarp) + warp();
  if (row >= n) return;
  double squares = 0;
  for (std::size_t j = lane(); j < dim; j += kWarp)
    squares += double{rows[row * dim + j]} * double{rows[row * dim + j]};
  squares = warp_sum(squares);
  const bool good = squares < 8e37 && !(unit && squares == 0);
  if (!good && lane() == 0) atomicMin(bad, static_cast<std::uint32_t>(row));
}

// ---- launchers ----

using kernels::RowFormat;
using kernels::Score;

constexpr unsigned kEncodeThreads = 256, kLimitThreads = 256;
constexpr std::size_t kExtraF32 = 32;   // candidates beyond k that f32 scores again
constexpr std::size_t kListRoom = 256;  // places of a list beyond twice the keys that are kept
constexpr std::size_t kUploadBytes = 64 << 20;
constexpr unsigned kLeastTiles = 8;  // a segment has at least so many tiles of rows

std::size_t code_bytes(RowFormat format) { return format == RowFormat::f32 ? 4 : format == RowFormat::bf16 ? 2 : 1; }

std::size_t row_stride(const FlatShape& shape) { return round_up(shape.dim * code_bytes(shape.format), kChunkBytes); }

std::uint32_t chunks_of(const FlatShape& shape) { return static_cast<std::uint32_t>(row_stride(shape) / kChunkBytes); }

// Room for rows in whole groups.
Memory code_memory(const FlatShape& shape, std::size_t rows) {
  return Memory(round_up(rows, kGroupRows) * row_stride(shape));
}
Memory code_memory(const FlatShape& shape, std::size_t rows, Stream stream) {
  return Memory(round_up(rows, kGroupRows) * row_stride(shape), stream);
}

struct Coded {
  const Memory &codes, &tails;
  std::size_t first;
  Key* limits = nullptr;
};

void encode(const FlatShape& shape, Floats rows, const Coded& out, Stream stream) {
  const Launch how{"encode_rows", blocks_for(rows.n, kEncodeThreads / kWarp), kEncodeThreads, 0, stream};
  auto* const kernel = shape.format == RowFormat::f32    ? encode_rows<F32Codes>
                       : shape.format == RowFormat::bf16 ? encode_rows<Bf16Codes>
                                                         : encode_rows<I8Codes>;
  launch(how, kernel,
         EncodeTask{rows.data, rows.n, shape.dim, shape.unit, out.codes.data(), out.tails.as<FlatTail>(), out.first,
                    out.limits});
}

// How a batch is cut: tiles of queries, segments of rows, and how many queries go at once.
struct FlatPlan {
  FlatKernel kernel;
  unsigned tile_queries, stages, segments, segment_rows, parts;  // stages: of the stream's rings
  std::size_t keep, capacity, slice;                             // slice: queries at once, whole tiles
};

constexpr unsigned kTileSizes[] = {8, 32, 64, 128};

// Stages that a ring of the stream has beside `queries` resident queries; 0 where they are too few.
unsigned stream_stages(unsigned chunks, unsigned queries) {
  constexpr std::size_t kStatic = sizeof(SharedStream<kTileSizes[3]>);
  const std::size_t taken = kStatic + kStreamAlign + std::size_t{chunks} * queries * kChunkBytes;
  const std::size_t stages = taken < shared_limit() ? (shared_limit() - taken) / kGroupChunkBytes / kStreamWorkers : 0;
  return stages < kFewestStages ? 0 : static_cast<unsigned>(std::min<std::size_t>(stages, kMostStages));
}

// Which kernel is taken depends on the rows alone, so that a query's scores are the same bits in every batch.
bool may_stream(const FlatShape& shape) {
  return shape.format != RowFormat::f32 && stream_stages(chunks_of(shape), kTileSizes[0]) > 0;
}

FlatKernel kernel_for(const FlatShape& shape) {
  if (!may_stream(shape)) return FlatKernel::tiles;
  const Memory told(sizeof(std::uint32_t), nullptr);
  std::uint32_t warpgroups = 0;
  launch({"tell_warpgroups", 1, 1, 0, nullptr}, tell_warpgroups, told.as<std::uint32_t>());
  copy(&warpgroups, told.data(), sizeof warpgroups, nullptr);
  synchronize(nullptr);
  return warpgroups != 0 ? FlatKernel::stream : FlatKernel::tiles;
}

void choose_tile(FlatPlan& plan, const FlatShape& shape, std::size_t queries) {
  const bool streams = plan.kernel == FlatKernel::stream;
  if (streams && !may_stream(shape))
    throw Failure(Cause::failed, "flat_stream: expected bf16 or i8 rows of which 8 fit in shared memory");
  for (const unsigned size : kTileSizes) {
    if (!streams && size == 64) continue;
    const unsigned stages = streams ? stream_stages(chunks_of(shape), size) : kTileStages;
    if (stages == 0) break;
    plan.tile_queries = size;
    plan.stages = stages;
    if (queries <= size) break;
  }
}

// `query.kernel` is one.
FlatPlan plan(const FlatShape& shape, std::size_t rows, std::size_t queries, const FlatQuery& query) {
  FlatPlan out{};
  out.kernel = query.kernel;
  choose_tile(out, shape, queries);
  const bool streams = out.kernel == FlatKernel::stream;
  const unsigned lists_a_block = streams ? kStreamWorkers : 1;
  out.keep = query.k + (shape.format == RowFormat::f32 ? kExtraF32 : 0);
  out.capacity = 2 * out.keep + kListRoom;
  const std::size_t slots = (streams ? 1 : kTileBlocks) * multiprocessors();
  const std::size_t block_bytes = lists_a_block * out.tile_queries * out.capacity * sizeof(Key);
  const std::size_t most_blocks = std::max(slots, query.list_bytes / block_bytes);
  const std::size_t tiles = std::min<std::size_t>(blocks_for(queries, out.tile_queries), most_blocks);
  const std::size_t row_tiles = blocks_for(rows, kTileRows);
  const std::size_t most = std::max<std::size_t>(1, std::min(most_blocks / tiles, row_tiles / kLeastTiles));
  std::size_t best = 1;
  double least = 1e30;  // waves of blocks over the work of one: the fewer are idle in the last wave, the better
  for (std::size_t segments = 1; segments <= most; ++segments) {
    const std::size_t waves = (tiles * segments + slots - 1) / slots;
    const double time = static_cast<double>(waves) / static_cast<double>(segments);
    if (time < least * 0.99) {
      least = time;
      best = segments;
    }
  }
  out.segment_rows = blocks_for(row_tiles, best) * kTileRows;
  out.segments = rows == 0 ? 0 : blocks_for(rows, out.segment_rows);
  out.parts = out.segments * lists_a_block;
  out.slice = tiles * out.tile_queries;
  return out;
}

template <class Product, bool kL2>
void launch_tiles(const FlatTask& task, const FlatPlan& plan, Stream stream) {
  const unsigned blocks = plan.segments * task.query_tiles;
  const auto go = [&]<unsigned kQueries>() {
    launch({"flat_tiles", blocks, kTileThreads, FlatTile<Product, kQueries, kL2>::kSharedBytes, stream},
           flat_tiles<Product, kQueries, kL2>, task);
  };
  if (plan.tile_queries == 8) return go.template operator()<8>();
  if (plan.tile_queries == 32) return go.template operator()<32>();
  go.template operator()<128>();
}

template <class Product, bool kL2>
void launch_stream(const FlatTask& task, const FlatPlan& plan, Stream stream) {
  const unsigned blocks = plan.segments * task.query_tiles;
  const auto go = [&]<unsigned kQueries>() {
    const std::size_t bytes = FlatStream<Product, kQueries, kL2>::shared_bytes(task.chunks, plan.stages);
    launch({"flat_stream", blocks, kStreamThreads, bytes, stream}, flat_stream<Product, kQueries, kL2>, task,
           plan.stages);
  };
  if (plan.tile_queries == 8) return go.template operator()<8>();
  if (plan.tile_queries == 32) return go.template operator()<32>();
  if (plan.tile_queries == 64) return go.template operator()<64>();
  go.template operator()<128>();
}

template <bool kL2>
void launch_products(RowFormat format, const FlatTask& task, const FlatPlan& plan, Stream stream) {
  const bool streams = plan.kernel == FlatKernel::stream;
  if (format == RowFormat::f32) return launch_tiles<F32Product, kL2>(task, plan, stream);
  if (format == RowFormat::bf16)
    return streams ? launch_stream<Bf16Product, kL2>(task, plan, stream)
                   : launch_tiles<Bf16Product, kL2>(task, plan, stream);
  return streams ? launch_stream<I8Product, kL2>(task, plan, stream) : launch_tiles<I8Product, kL2>(task, plan, stream);
}

unsigned power_of_two_from(std::size_t least) {
  unsigned power = 2;
  while (power < least) power *= 2;
  return power;
}

void launch_merge(const FlatShape& shape, const MergeTask& task, Stream stream) {
  auto* const kernel = shape.format != RowFormat::f32 ? merge_lists<0>
                       : shape.score == Score::l2     ? merge_lists<2>
                                                      : merge_lists<1>;
  launch({"merge_lists", task.flat.queries.n, kMergeThreads, task.places * sizeof(Key), stream}, kernel, task);
}

}  // namespace

void name_hits(const FlatHits& hits, DistanceOf metric, Stream stream) {
  launch({"name_each", blocks_for(hits.count, kLimitThreads), kLimitThreads, 0, stream}, name_each, hits, metric);
}

void find_bad_row(const float* rows, std::size_t n, std::size_t dim, bool unit, std::uint32_t* bad, Stream stream) {
  const auto none = static_cast<std::uint32_t>(n);
  copy(bad, &none, sizeof none, stream);
  launch({"check_rows", blocks_for(n, kEncodeThreads / kWarp), kEncodeThreads, 0, stream}, check_rows, rows, n, dim,
         unit, bad);
}

FlatRows::FlatRows(FlatShape shape) : shape_(shape), kernel_(kernel_for(shape)), chunks_(chunks_of(shape)) {}

void FlatRows::reserve(std::size_t rows, Stream stream) {
  if (rows * sizeof(FlatTail) <= tails_.bytes()) return;
  // Room to grow, where there is some; the first rows take no more than they need.
  const auto grown = [&](std::size_t places) {
    return std::pair(code_memory(shape_, places), Memory(places * sizeof(FlatTail)));
  };
  std::pair<Memory, Memory> fresh;
  try {
    fresh = grown(n_ == 0 ? rows : std::max(rows, n_ + n_ / 2));
  } catch (const Failure& failure) {
    if (failure.cause != Cause::out_of_memory || n_ == 0) throw;
    fresh = grown(rows);
  }
  copy(fresh.first.data(), codes_.data(), round_up(n_, kGroupRows) * row_stride(shape_), stream);
  copy(fresh.second.data(), tails_.data(), n_ * sizeof(FlatTail), stream);
  synchronize(stream);
  codes_ = std::move(fresh.first);
  tails_ = std::move(fresh.second);
}

void FlatRows::append(Floats rows, Stream stream) {
  if (rows.n == 0) return;
  reserve(n_ + rows.n, stream);
  const std::size_t row_bytes = shape_.dim * sizeof(float);
  const std::size_t slab =
      rows.on_device ? rows.n : std::min(rows.n, std::max<std::size_t>(1, kUploadBytes / row_bytes));
  const Memory upload(rows.on_device ? 0 : slab * row_bytes, stream);
  for (std::size_t first = 0; first < rows.n; first += slab) {
    const std::size_t count = std::min(slab, rows.n - first);
    const float* from = rows.data + first * shape_.dim;
    if (!rows.on_device) {
      copy(upload.data(), from, count * row_bytes, stream);
      from = upload.as<float>();
    }
    encode(shape_, {from, count, true}, {codes_, tails_, n_ + first}, stream);
  }
  synchronize(stream);
  n_ += rows.n;
}

// Queries slice by slice; see FlatTask for what a slice needs. `limits` are those to begin with.
void FlatRows::search_coded(const CodedRows& all, const Memory& limits, FlatQuery query, Stream stream) const {
  if (query.kernel == FlatKernel::automatic) query.kernel = kernel_;
  const FlatPlan cut = plan(shape_, n_, all.n, query);
  const std::size_t lists = cut.parts * cut.slice;
  const Memory keys(lists * cut.capacity * sizeof(Key), stream), counts(lists * sizeof(std::uint32_t), stream);
  // The pool of a query holds all that its lists may hold, or what is kept and some rounds.
  const std::size_t most = std::min(cut.parts * (cut.keep + kMergedBeyond), cut.keep + kMergeRoom);
  for (std::size_t first = 0; first < all.n; first += cut.slice) {
    const auto count = static_cast<std::uint32_t>(std::min<std::size_t>(cut.slice, all.n - first));
    FlatTask task{};
    task.rows = {codes_.data(), tails_.as<FlatTail>(), 0, static_cast<std::uint32_t>(n_)};
    task.queries = {all.codes, all.tails, all.first + static_cast<std::uint32_t>(first), count};
    task.chunks = chunks_;
    task.allowed = query.allowed;
    task.query_tiles = blocks_for(count, cut.tile_queries);
    task.segment_rows = cut.segment_rows;
    task.keep = static_cast<std::uint32_t>(cut.keep);
    task.capacity = static_cast<std::uint32_t>(cut.capacity);
    task.lists = keys.as<Key>();
    task.counts = counts.as<std::uint32_t>();
    task.limits = limits.as<Key>() + first;
    if (shape_.score == Score::l2) {
      launch_products<true>(shape_.format, task, cut, stream);
    } else {
      launch_products<false>(shape_.format, task, cut, stream);
    }
    launch_merge(
        shape_,
        {task, cut.tile_queries, cut.parts, static_cast<std::uint32_t>(query.k), power_of_two_from(most + kMergeRoom),
         static_cast<std::uint32_t>(shape_.dim), query.rows + first * query.k, query.scores + first * query.k},
        stream);
  }
}

void FlatRows::search(const FlatQuery& query, Stream stream) const {
  if (query.n == 0) return;
  const Memory codes = code_memory(shape_, query.n, stream), tails(query.n * sizeof(FlatTail), stream);
  const Memory limits(query.n * sizeof(Key), stream);
  encode(shape_, {query.queries, query.n, true}, {codes, tails, 0, limits.as<Key>()}, stream);
  search_coded({codes.data(), tails.as<FlatTail>(), 0, static_cast<std::uint32_t>(query.n)}, limits, query, stream);
}

void FlatRows::search_rows(const FlatRows& other, std::size_t first, std::size_t count, const FlatQuery& query,
                           Stream stream) const {
  const auto n = static_cast<std::uint32_t>(count);
  const Memory limits(n * sizeof(Key), stream);
  launch({"set_limits", blocks_for(n, kLimitThreads), kLimitThreads, 0, stream}, set_limits, limits.as<Key>(), n);
  search_coded({other.codes_.data(), other.tails_.as<FlatTail>(), static_cast<std::uint32_t>(first), n}, limits, query,
               stream);
}

}  // namespace semblance::cuda
