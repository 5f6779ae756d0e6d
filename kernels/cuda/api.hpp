// The face of the CUDA kernels in plain C++: what the binding sees. No CUDA header is needed to include it, and
// whatever implements it may be compiled by nvcc or, for tests without a card, by the host's compiler over an emulator.
//
// Pointers called `device` point to memory of the card. Work goes to the stream it is given and may still run when a
// function returns; `synchronize` waits for it. Every function throws Failure and then has changed nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "kernel_table.hpp"

namespace semblance::cuda {

using Stream = void*;  // a cudaStream_t; null is the default stream

enum class Cause : std::uint8_t {
  no_device,      // no card, no driver, or one that these kernels were not compiled for
  out_of_memory,  // the card's memory; what existed before stays usable
  failed,         // a kernel or a copy
};

struct Failure : std::runtime_error {
  Failure(Cause why, const std::string& message) : std::runtime_error(message), cause(why) {}
  Cause cause;
};

// ---- the card
// --------------------------------------------------------------------------------------------------------

struct Device {
  std::string name;  // "NVIDIA H200"
  int major = 0, minor = 0, multiprocessors = 0;
  std::size_t memory = 0, free_memory = 0;  // bytes
};

// Why no card can be used, "" where one can.
std::string missing();
// The card in use by the calling thread.
Device device();
int device_number();

// Another card for the calling thread, for as long as this lives.
class DeviceGuard {
 public:
  explicit DeviceGuard(int device);
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;
  ~DeviceGuard();

 private:
  int before_, device_;
};

// What an address belongs to. Copies from pinned memory may read it when the call that asked for them has returned;
// pageable memory is staged before.
struct Place {
  int device = -1;  // of a card's own memory; -1: of the host, or of all cards
  bool pinned = false;
};
Place place_of(const void* address);

// True for the emulator of the tests.
bool is_emulated();

void synchronize(Stream stream);
// What `stream` is given from now on runs when what `other` has now is done. The host does not wait.
void follow(Stream stream, Stream other);

// Memory of the card that the thread uses when it is made. With a stream it is taken and given back in the stream's
// order, cheap and fit for capture in a CUDA graph: the workspace of one call. Without one it lasts, and giving it back
// waits for whatever uses it.
class Memory {
 public:
  Memory() = default;
  explicit Memory(std::size_t bytes);
  Memory(std::size_t bytes, Stream stream);
  Memory(Memory&& other) noexcept { *this = std::move(other); }
  Memory& operator=(Memory&& other) noexcept;
  ~Memory();

  std::byte* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }
  int device() const { return device_; }
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }

 private:
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
  int device_ = 0;
  Stream stream_ = nullptr;
  bool ordered_ = false;
};

// Copies between the host, the card, or two places of the card: the addresses tell. Pageable host memory may be reused
// as soon as the call returns.
void copy(void* to, const void* from, std::size_t bytes, Stream stream);
void fill_zero(void* device, std::size_t bytes, Stream stream);

// ---- exact search
// ----------------------------------------------------------------------------------------------------

inline constexpr std::size_t kMaxFlatRows = std::size_t{1} << 30;
inline constexpr std::size_t kMaxFlatK = 1024;

// f32 values of shape (n, dim), on the host or on the card.
struct Floats {
  const float* data;
  std::size_t n;
  bool on_device;
};

struct FlatShape {
  kernels::RowFormat format;  // f32, bf16 or i8; queries are coded like the rows
  kernels::Score score;       // ip or l2
  std::size_t dim;
  bool unit;  // rows and queries are scaled to unit length before they are coded: cosine
};

// Which kernel searches: the one for every card, or Hopper's, which takes bf16 and i8 rows that are not too long.
enum class FlatKernel : std::uint8_t { automatic, tiles, stream };

// Everything on the card. Scores are those of kernels::Score: smaller is closer, ties go to the lower row.
struct FlatQuery {
  const float* queries;          // (n, dim)
  std::size_t n, k;              // 1 <= k <= kMaxFlatK
  const std::uint32_t* allowed;  // a bit a row, row r being bit r % 32 of word r / 32; null = all rows
  std::uint32_t* rows;           // out (n, k), padded with kNoRow
  float* scores;                 // out (n, k), padded with infinity
  FlatKernel kernel = FlatKernel::automatic;
  std::size_t list_bytes = std::size_t{1} << 29;  // of workspace for lists, where that is enough to fill the card
};
inline constexpr std::uint32_t kNoRow = 0xFFFFFFFFU;

// What a caller sees of them: ids (null = the rows' numbers) or -1, and distances. All on the card.
struct FlatHits {
  const std::uint32_t* rows;
  const float* scores;
  const std::int64_t* row_ids;
  std::int64_t* ids;
  float* distances;
  std::size_t count;
};
enum class DistanceOf : std::uint8_t { squares, product, cosine };  // the score, 1 + it, 1 + it but at least 0
void name_hits(const FlatHits& hits, DistanceOf metric, Stream stream);

// Sets *bad (on the card) to the first row of (n, dim) that holds NaN or infinity, has a squared norm beyond 8e37 or,
// where `unit`, none; n where all are good.
void find_bad_row(const float* rows, std::size_t n, std::size_t dim, bool unit, std::uint32_t* bad, Stream stream);

struct CodedRows;

// Rows for exact search by tensor-core products. One writer at a time, no reader beside it; any number of readers.
class FlatRows {
 public:
  explicit FlatRows(FlatShape shape);

  // Appends rows; returns when they are stored. Out of memory: nothing was appended.
  void append(Floats rows, Stream stream);
  // Enqueues a search; neither waits nor allocates outside the stream's order.
  void search(const FlatQuery& query, Stream stream) const;
  // The same with `count` rows of another, equal in shape, as queries (query.queries and query.n are not read); `first`
  // is a multiple of 64.
  void search_rows(const FlatRows& other, std::size_t first, std::size_t count, const FlatQuery& query,
                   Stream stream) const;

  const FlatShape& shape() const { return shape_; }
  std::size_t size() const { return n_; }
  std::size_t bytes() const { return codes_.bytes() + tails_.bytes(); }
  std::uint32_t chunks() const { return chunks_; }
  const std::byte* codes() const { return codes_.data(); }
  const std::byte* tails() const { return tails_.data(); }

 private:
  void reserve(std::size_t rows, Stream stream);
  void search_coded(const CodedRows& all, const Memory& limits, FlatQuery query, Stream stream) const;

  FlatShape shape_;
  FlatKernel kernel_;     // what `automatic` is for them
  std::uint32_t chunks_;  // of 128 bytes in a row
  std::size_t n_ = 0;
  Memory codes_;  // of whole groups of rows, zeros behind the values of a row; see row_codes.cuh
  Memory tails_;  // (capacity) FlatTail
};

// ---- neighbour lists
// -------------------------------------------------------------------------------------------------

inline constexpr std::size_t kMaxCandidates = 256;  // of a row

// Which rows each row may be linked to, closest first once they are linked.
class Candidates {
 public:
  Candidates(std::size_t rows, std::size_t width, Stream stream);  // width <= kMaxCandidates

  // Where candidates come from: the `nearest` of `rows`, whose numbers in the graph are `numbers` (on the card; null =
  // their own), written to the places [column, column + nearest).
  struct Source {
    const FlatRows& rows;
    const std::uint32_t* numbers;
    std::size_t nearest, column;
    std::function<void()> between{};  // called where one part of the queries is done and another follows; may throw
    std::size_t at_once = 16384;      // queries in a part, a multiple of 64
  };
  // Finds them for `queries`, whose numbers are `numbers` (null = their own). A row is no candidate of itself. Waits.
  void find(const FlatRows& queries, const std::uint32_t* numbers, const Source& source, Stream stream);

  std::size_t rows() const { return rows_; }
  std::size_t width() const { return width_; }
  std::byte* keys() const { return keys_.data(); }

 private:
  std::size_t rows_, width_;
  Memory keys_;  // (rows, width) keys of candidates
};

// By which rule a list is pruned; the words of BuildOptions (cpp/index/hnsw.hpp).
struct PruneRule {
  std::size_t degree;
  float alpha, least_score;
  bool fill;
};

// Prunes each row's candidates, links back, prunes what is full. `rows` are f32 or bf16; `links` (n, degree) on the
// host, padded with kNoRow. The same links whatever the order of execution. Waits.
void link_rows(const FlatRows& rows, const Candidates& candidates, const PruneRule& rule, std::uint32_t* links,
               Stream stream);

}  // namespace semblance::cuda
