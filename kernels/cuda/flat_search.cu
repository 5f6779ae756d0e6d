// Exact search: coding rows, products fused with selection, merging. The CPU twin is sb.exact.
#include <algorithm>
#include <utility>

#include "check.cuh"
#include "flat_merge.cuh"

namespace semblance::cuda {

namespace {

// ---- kernels ----

template <class Codes>
__global__ void encode_rows(const float* from, std::size_t n, std::size_t dim, bool unit, std::byte* codes,
                            FlatTail* tails) {
  const std::size_t row = std::size_t{blockIdx.x} * (blockDim.x / kWarp) + warp();
  if (row >= n) return;
  const float* values = from + row * dim;
  double factor = 1.0;
  if (unit) {
    double squares = 0;
    for (std::size_t j = lane(); j < dim; j += kWarp) squares += double{values[j]} * double{values[j]};
    factor = 1.0 / sqrt(warp_sum(squares));
  }
  using Code = typename Codes::Code;
  const std::size_t places = (dim * sizeof(Code) + kChunkBytes - 1) / kChunkBytes * kChunkBytes / sizeof(Code);
  Code* out = reinterpret_cast<Code*>(codes) + row * places;
  const FlatTail tail = Codes::encode(values, dim, factor, out);
  for (std::size_t j = dim + lane(); j < places; j += kWarp) out[j] = Code{0};
  if (lane() == 0) tails[row] = tail;
}

__global__ void set_limits(Key* limits, std::uint32_t n) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) limits[i] = no_limit();
}

template <class Product, unsigned kQueries, bool kL2>
__global__ void __launch_bounds__(kTileThreads, 2) flat_tiles(const __grid_constant__ FlatTask task) {
  FlatTile<Product, kQueries, kL2>(task).run();
}

// kAgain: scored again from f32 rows, by squared distance (2) or inner product (1).
template <int kAgain>
__global__ void __launch_bounds__(kMergeThreads) merge_lists(const __grid_constant__ MergeTask task) {
  __shared__ unsigned count;
  ListMerge merge(task, &count);
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
constexpr std::size_t kExtraF32 = 32;           // candidates beyond k that f32 scores again
constexpr std::size_t kListRoom = 384;          // places of a list beyond twice the keys that are kept
constexpr std::size_t kListBytes = 1ULL << 28;  // of all lists at once, where that is enough to fill the card
constexpr std::size_t kUploadBytes = 64 << 20;
constexpr unsigned kBlocksASm = 2, kLeastTiles = 8;  // a segment has at least so many tiles of rows

std::size_t code_bytes(RowFormat format) { return format == RowFormat::f32 ? 4 : format == RowFormat::bf16 ? 2 : 1; }

struct Coded {
  std::byte* codes;
  FlatTail* tails;
};

void encode(const FlatShape& shape, Floats rows, Coded out, Stream stream) {
  const Launch how{"encode_rows", blocks_for(rows.n, kEncodeThreads / kWarp), kEncodeThreads, 0, stream};
  auto* const kernel = shape.format == RowFormat::f32    ? encode_rows<F32Codes>
                       : shape.format == RowFormat::bf16 ? encode_rows<Bf16Codes>
                                                         : encode_rows<I8Codes>;
  launch(how, kernel, rows.data, rows.n, shape.dim, shape.unit, out.codes, out.tails);
}

// How a batch is cut: tiles of queries, segments of rows, and how many queries go at once.
struct FlatPlan {
  unsigned tile_queries, segments, segment_rows;
  std::size_t keep, capacity, slice;  // slice: queries at once, whole tiles
};

FlatPlan plan(const FlatShape& shape, std::size_t rows, std::size_t queries, std::size_t k) {
  FlatPlan out{};
  out.tile_queries = queries <= 8 ? 8 : queries <= 32 ? 32 : 128;
  out.keep = k + (shape.format == RowFormat::f32 ? kExtraF32 : 0);
  out.capacity = 2 * out.keep + kListRoom;
  const std::size_t slots = std::size_t{kBlocksASm} * multiprocessors();
  const std::size_t unit_bytes = out.tile_queries * out.capacity * sizeof(Key);
  const std::size_t most_units = std::max(slots, kListBytes / unit_bytes);
  const std::size_t tiles = std::min<std::size_t>(blocks_for(queries, out.tile_queries), most_units);
  const std::size_t row_tiles = blocks_for(rows, kTileRows);
  const std::size_t most = std::max<std::size_t>(1, std::min(most_units / tiles, row_tiles / kLeastTiles));
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
  out.segments = blocks_for(rows, out.segment_rows);
  out.slice = tiles * out.tile_queries;
  return out;
}

template <class Product, bool kL2>
void launch_tiles(const FlatTask& task, unsigned segments, unsigned tile_queries, Stream stream) {
  const unsigned blocks = segments * task.query_tiles;
  const auto go = [&]<unsigned kQueries>() {
    launch({"flat_tiles", blocks, kTileThreads, FlatTile<Product, kQueries, kL2>::kSharedBytes, stream},
           flat_tiles<Product, kQueries, kL2>, task);
  };
  if (tile_queries == 8) return go.template operator()<8>();
  if (tile_queries == 32) return go.template operator()<32>();
  go.template operator()<128>();
}

template <bool kL2>
void launch_tiles(RowFormat format, const FlatTask& task, const FlatPlan& plan, Stream stream) {
  if (format == RowFormat::f32) return launch_tiles<F32Product, kL2>(task, plan.segments, plan.tile_queries, stream);
  if (format == RowFormat::bf16) return launch_tiles<Bf16Product, kL2>(task, plan.segments, plan.tile_queries, stream);
  launch_tiles<I8Product, kL2>(task, plan.segments, plan.tile_queries, stream);
}

unsigned power_of_two_from(std::size_t least) {
  unsigned power = 2;
  while (power < least) power *= 2;
  return power;
}

void launch_merge(const FlatShape& shape, const MergeTask& task, Stream stream) {
  const std::size_t places = std::max<std::size_t>(task.sorted, task.flat.keep + kMergeRoom);
  auto* const kernel = shape.format != RowFormat::f32 ? merge_lists<0>
                       : shape.score == Score::l2     ? merge_lists<2>
                                                      : merge_lists<1>;
  launch({"merge_lists", static_cast<unsigned>(task.flat.queries.n), kMergeThreads, places * sizeof(Key), stream},
         kernel, task);
}

// Queries slice by slice; see FlatTask for what a slice needs.
void search_coded(const FlatShape& shape, const CodedRows& rows, const CodedRows& all, const FlatQuery& query,
                  Stream stream) {
  const std::size_t stride = (shape.dim * code_bytes(shape.format) + kChunkBytes - 1) / kChunkBytes * kChunkBytes;
  const FlatPlan cut = plan(shape, std::max<std::size_t>(rows.n, 1), all.n, query.k);
  const std::size_t lists = cut.segments * cut.slice;
  const Memory keys(lists * cut.capacity * sizeof(Key), stream), counts(lists * sizeof(std::uint32_t), stream);
  const Memory limits(cut.slice * sizeof(Key), stream);
  for (std::size_t first = 0; first < all.n; first += cut.slice) {
    const auto count = static_cast<std::uint32_t>(std::min<std::size_t>(cut.slice, all.n - first));
    FlatTask task{};
    task.rows = rows;
    task.queries = {all.codes + first * stride, all.tails + first, count};
    task.chunks = static_cast<std::uint32_t>(stride / kChunkBytes);
    task.allowed = query.allowed;
    task.query_tiles = blocks_for(count, cut.tile_queries);
    task.segment_rows = cut.segment_rows;
    task.keep = static_cast<std::uint32_t>(cut.keep);
    task.capacity = static_cast<std::uint32_t>(cut.capacity);
    task.lists = keys.as<Key>();
    task.counts = counts.as<std::uint32_t>();
    task.limits = limits.as<Key>();
    launch({"set_limits", blocks_for(count, kLimitThreads), kLimitThreads, 0, stream}, set_limits, task.limits, count);
    const unsigned segments = rows.n == 0 ? 0 : cut.segments;
    if (segments > 0 && shape.score == Score::l2) launch_tiles<true>(shape.format, task, cut, stream);
    if (segments > 0 && shape.score != Score::l2) launch_tiles<false>(shape.format, task, cut, stream);
    launch_merge(shape,
                 {task, cut.tile_queries, segments, static_cast<std::uint32_t>(query.k), power_of_two_from(cut.keep),
                  static_cast<std::uint32_t>(shape.dim), query.rows + first * query.k, query.scores + first * query.k},
                 stream);
  }
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

FlatRows::FlatRows(FlatShape shape) : shape_(shape) {
  stride_ = (shape.dim * code_bytes(shape.format) + kChunkBytes - 1) / kChunkBytes * kChunkBytes;
}

void FlatRows::reserve(std::size_t rows, Stream stream) {
  if (rows * stride_ <= codes_.bytes()) return;
  // Room to grow, where there is some; the first rows take no more than they need.
  const auto grown = [&](std::size_t places) {
    return std::pair(Memory(places * stride_), Memory(places * sizeof(FlatTail)));
  };
  std::pair<Memory, Memory> fresh;
  try {
    fresh = grown(n_ == 0 ? rows : std::max(rows, n_ + n_ / 2));
  } catch (const Failure& failure) {
    if (failure.cause != Cause::out_of_memory || n_ == 0) throw;
    fresh = grown(rows);
  }
  copy(fresh.first.data(), codes_.data(), n_ * stride_, stream);
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
    const std::size_t at = n_ + first;
    encode(shape_, {from, count, true}, {codes_.data() + at * stride_, tails_.as<FlatTail>() + at}, stream);
  }
  synchronize(stream);
  n_ += rows.n;
}

void FlatRows::search(const FlatQuery& query, Stream stream) const {
  if (query.n == 0) return;
  const Memory codes(query.n * stride_, stream), tails(query.n * sizeof(FlatTail), stream);
  encode(shape_, {query.queries, query.n, true}, {codes.data(), tails.as<FlatTail>()}, stream);
  search_coded(shape_, {codes_.data(), tails_.as<FlatTail>(), n_}, {codes.data(), tails.as<FlatTail>(), query.n}, query,
               stream);
}

void FlatRows::search_rows(const FlatRows& other, std::size_t first, std::size_t count, const FlatQuery& query,
                           Stream stream) const {
  search_coded(shape_, {codes_.data(), tails_.as<FlatTail>(), n_},
               {other.codes_.data() + first * stride_, other.tails_.as<FlatTail>() + first, count}, query, stream);
}

}  // namespace semblance::cuda
