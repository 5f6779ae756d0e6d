// Embedding tables on a card: rows that lie there, or a cache of them, and the call that pools many tables' bags.
#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bind/bound_table.hpp"
#include "bind/cuda_arrays.hpp"
#include "table/row_cache.hpp"
#include "table_api.hpp"

namespace semblance::bind {
namespace {

using cuda::CardRows;
using cuda::Memory;
using cuda::Stream;

constexpr std::size_t kStagedBytes = 64 << 20;  // of rows on their way to the card

// Rows as the CPU keeps them, several arrays one after the other.
struct Part {
  const std::byte* rows;
  std::size_t first, count;
  std::unique_ptr<cuda::PinnedRows> pinned;  // of a table that is cached
};

class CardTable {
 public:
  CardTable(const std::string& dtype, std::size_t dim, std::vector<py::array> arrays, std::size_t slots)
      : format_(format_of(dtype)), dim_(static_cast<std::uint32_t>(checked_dim(dim))), arrays_(std::move(arrays)) {
    for (const py::array& array : arrays_) {
      require<std::uint8_t>("rows", array,
                            {kAnySize, static_cast<py::ssize_t>(kernels::table_row_bytes(format_, dim))});
      parts_.push_back(
          {static_cast<const std::byte*>(array.data()), count_, static_cast<std::size_t>(array.shape(0)), {}});
      count_ += parts_.back().count;
    }
    const std::size_t held = slots == 0 ? count_ : std::min(slots, count_);
    without_gil([&] {
      memory_ = Memory(cuda::card_bytes(format_, dim_, held));
      if (slots == 0) return upload();
      cache_.emplace(count_, held);
      for (Part& part : parts_)
        part.pinned =
            std::make_unique<cuda::PinnedRows>(part.rows, part.count * kernels::table_row_bytes(format_, dim_));
    });
    if (slots == 0) arrays_.clear();
  }

  CardRows rows() const { return cuda::card_rows(format_, dim_, memory_.data(), cache_ ? cache_->slots() : count_); }
  bool cached() const { return cache_.has_value(); }
  std::size_t nbytes() const { return memory_.bytes(); }
  int device() const { return memory_.device(); }
  std::uint64_t hits() const { return cache_ ? cache_->hits() : 0; }
  std::uint64_t misses() const { return cache_ ? cache_->misses() : 0; }
  std::mutex& turn() { return turn_; }
  cuda::Staging& staging() { return staging_; }

  // Sees to it that the rows are on the card by the time that work queued after this runs; numbers become slots.
  // `moves` must live as long as that work.
  void bring(std::span<std::int64_t> numbers, std::vector<Memory>& moved, Stream stream) {
    for (const std::int64_t number : numbers)
      if (number >= static_cast<std::int64_t>(count_))
        throw ArgumentError(expected("values", "rows below " + std::to_string(count_), std::to_string(number)));
    std::vector<RowCache::Move> moves;
    if (!cache_->place(numbers, moves))
      throw CapacityError(
          expected("cache_rows", "at least as many as one call reads", std::to_string(cache_->slots())));
    try {
      fetch(moves, moved, stream);
    } catch (...) {
      cache_.emplace(count_, cache_->slots());  // which of them came in is not known
      throw;
    }
  }

 private:
  void fetch(const std::vector<RowCache::Move>& moves, std::vector<Memory>& moved, Stream stream) {
    for (const Part& part : parts_) {
      std::vector<cuda::RowMove> mine;
      for (const RowCache::Move& move : moves) {
        const std::int64_t row = move.row - static_cast<std::int64_t>(part.first);
        if (row >= 0 && row < static_cast<std::int64_t>(part.count)) mine.push_back({row, move.slot});
      }
      if (mine.empty()) continue;
      moved.emplace_back(mine.size() * sizeof mine[0], stream);
      cuda::copy(moved.back().data(), mine.data(), moved.back().bytes(), stream);
      cuda::pack_rows(rows(), {part.pinned->on_card(), moved.back().as<cuda::RowMove>(), 0, mine.size()}, stream);
    }
  }

  void upload() {
    const std::size_t row_bytes = kernels::table_row_bytes(format_, dim_);
    const std::size_t step = std::max<std::size_t>(1, kStagedBytes / row_bytes);
    const Memory staged(std::min(step, std::max<std::size_t>(count_, 1)) * row_bytes, nullptr);
    for (const Part& part : parts_)
      for (std::size_t begin = 0; begin < part.count; begin += step) {
        const std::size_t count = std::min(step, part.count - begin);
        cuda::copy(staged.data(), part.rows + begin * row_bytes, count * row_bytes, nullptr);
        cuda::pack_rows(rows(), {staged.data(), nullptr, static_cast<std::int64_t>(part.first + begin), count},
                        nullptr);
      }
    cuda::synchronize(nullptr);
  }

  TableFormat format_;
  std::uint32_t dim_;
  std::vector<py::array> arrays_;  // what a cached table's rows are read from
  std::vector<Part> parts_;
  std::size_t count_ = 0;
  Memory memory_;
  std::optional<RowCache> cache_;
  cuda::Staging staging_;  // of calls whose first field reads the table
  std::mutex turn_;        // of a cached table: what one call brought in must not be evicted by another
};

// One-dimensional values on the host or on the card.
template <class T>
struct Operand {
  std::span<const T> host;
  const T* card = nullptr;
  std::size_t size = 0;
  py::object owner;

  Operand(const char* where, const py::object& object, Stream stream) {
    if (object.is_none()) return;
    const GivenArray given = given_array(object, where, stream);
    const char* type = std::is_same_v<T, float> ? "<f4" : "<i8";
    if (given.shape.size() != 1 || given.typestr != type)
      throw ArgumentError(expected(where, std::string(type) + " of one axis",
                                   given.typestr + " of " + std::to_string(given.shape.size()) + " axes"));
    size = static_cast<std::size_t>(given.shape[0]);
    owner = given.owner;
    if (given.on_device) {
      card = static_cast<const T*>(given.data);
    } else {
      host = {static_cast<const T*>(given.data), size};
    }
    on_host_ = !given.on_device;
  }
  bool given() const { return owner.ptr() != nullptr; }
  bool is_host() const { return given() && on_host_; }

 private:
  bool on_host_ = false;
};

struct Field {
  std::shared_ptr<CardTable> table;
  Operand<std::int64_t> values, offsets;
  Operand<float> weights;
  cuda::BagField card;  // without the addresses of what lies on the host
  std::vector<std::int64_t> slots;
};

// (table, values, offsets or None, weights or None, mode, column, missing row, padding); the last two are for numbers
// on the card, those of the host are resolved.
using FieldTuple = std::tuple<std::shared_ptr<CardTable>, py::object, py::object, py::object, std::string, std::size_t,
                              std::int64_t, std::int64_t>;

void check_field(const Field& field, std::size_t bags, std::size_t stride) {
  const auto refuse = [](const char* where, std::size_t want, std::size_t got) {
    if (want != got) throw ArgumentError(expected(where, std::to_string(want) + " of them", std::to_string(got)));
  };
  if (field.card.column + field.card.table.dim > stride)
    throw ArgumentError(expected("out", "room for every field", std::to_string(stride) + " columns"));
  if (field.offsets.is_host() && field.values.is_host()) check_offsets(field.offsets.host, field.values.size);
  if (field.offsets.given() && field.offsets.is_host() != field.values.is_host())
    throw ArgumentError(expected("values, offsets", "both on the host or both on the card", "one of each"));
  refuse(field.offsets.given() ? "offsets" : "values", field.offsets.given() ? bags + 1 : bags,
         field.offsets.given() ? field.offsets.size : field.values.size);
  if (field.weights.given()) refuse("weights", field.values.size, field.weights.size);
  if (field.weights.is_host()) require_finite("weights", field.weights.host);
  if (field.weights.given() && field.card.mode == cuda::BagMode::max)
    throw ArgumentError(expected("weights", "None with mode 'max'", "an array"));
  if (field.table->cached() && !field.values.is_host())
    throw UnsupportedError(expected("values", "an array of the host for a table that is cached", "one of the card"));
}

// The batch: how many bags a field has, where they go, and in whose order.
struct Batch {
  std::size_t bags, stride;
  GivenStream stream;
};

Field field_of(const FieldTuple& tuple, const Batch& batch) {
  const auto& [table, values, offsets, weights, mode, column, missing, padding] = tuple;
  Field field{table,
              {"values", values, batch.stream.handle},
              {"offsets", offsets, batch.stream.handle},
              {"weights", weights, batch.stream.handle},
              {},
              {}};
  const auto pooling = static_cast<cuda::BagMode>(pooling_of(mode));
  const bool resolved = field.values.is_host();
  field.card = {table->rows(),
                field.values.card,
                field.offsets.card,
                field.weights.card,
                static_cast<std::int64_t>(field.values.size),
                column,
                missing,
                resolved ? cuda::kPaddingRow : padding,
                pooling,
                resolved};
  check_field(field, batch.bags, batch.stride);
  if (table->device() != cuda::device_number())
    throw ArgumentError(expected("fields", "tables of one CUDA device", "tables of several"));
  return field;
}

// Copies what lies on the host to the card, in one piece of memory and one copy.
class Uploads {
 public:
  template <class T>
  void add(std::span<const T> from, const T*& to) {
    const std::size_t at = bytes_;
    bytes_ += (from.size_bytes() + 15) / 16 * 16;
    pieces_.push_back(
        {from.data(), from.size_bytes(), at, [&to](const std::byte* p) { to = reinterpret_cast<const T*>(p); }});
  }
  void send(cuda::Staging& staging, Stream stream) {
    if (pieces_.empty()) return;
    memory_ = Memory(std::max<std::size_t>(bytes_, 16), stream);
    for (const Piece& piece : pieces_) piece.tell(memory_.data() + piece.at);
    const auto gather = [&](std::byte* to) {
      for (const Piece& piece : pieces_)
        if (piece.bytes > 0) std::memcpy(to + piece.at, piece.from, piece.bytes);
    };
    staging.send(memory_.data(), bytes_, gather, stream);
  }

 private:
  struct Piece {
    const void* from;
    std::size_t bytes, at;
    std::function<void(const std::byte*)> tell;
  };
  std::vector<Piece> pieces_;
  std::size_t bytes_ = 0;
  Memory memory_;
};

// The turns of the cached tables, each once and in one order for all callers. They end when the stream's work is done,
// after an error too: the rows that a call brings in are taken for there from then on, and slots for free to write.
class Turns {
 public:
  Turns(const std::vector<Field>& fields, Stream stream) : stream_(stream) {
    std::vector<CardTable*> cached;
    for (const Field& field : fields)
      if (field.table->cached()) cached.push_back(field.table.get());
    std::sort(cached.begin(), cached.end());
    cached.erase(std::unique(cached.begin(), cached.end()), cached.end());
    for (CardTable* table : cached) turns_.emplace_back(table->turn());
  }
  ~Turns() {
    if (turns_.empty()) return;
    try {
      cuda::synchronize(stream_);
    } catch (const cuda::Failure&) {  // what does not wait any more does not run any more
    }
  }
  Turns(const Turns&) = delete;
  Turns& operator=(const Turns&) = delete;
  bool empty() const { return turns_.empty(); }

 private:
  Stream stream_;
  std::vector<std::unique_lock<std::mutex>> turns_;
};

// A table may serve several fields: what they read is brought in together, so that none evicts what another needs.
void bring_rows(std::vector<Field>& fields, std::vector<Memory>& moved, Stream stream) {
  for (std::size_t f = 0; f < fields.size(); ++f) {
    CardTable& table = *fields[f].table;
    const bool first = std::none_of(fields.begin(), fields.begin() + static_cast<std::ptrdiff_t>(f),
                                    [&](const Field& other) { return other.table.get() == &table; });
    if (!table.cached() || !first) continue;
    std::vector<std::int64_t> all;
    for (std::size_t g = f; g < fields.size(); ++g)
      if (fields[g].table.get() == &table)
        all.insert(all.end(), fields[g].values.host.begin(), fields[g].values.host.end());
    table.bring(all, moved, stream);
    auto next = all.begin();
    for (std::size_t g = f; g < fields.size(); ++g) {
      if (fields[g].table.get() != &table) continue;
      const auto end = next + static_cast<std::ptrdiff_t>(fields[g].values.host.size());
      fields[g].slots.assign(next, end);
      next = end;
    }
  }
}

std::vector<cuda::BagField> upload(std::vector<Field>& fields, Uploads& uploads, Stream stream) {
  std::vector<cuda::BagField> cards;
  for (const Field& field : fields) cards.push_back(field.card);
  for (std::size_t f = 0; f < fields.size(); ++f) {
    const Field& field = fields[f];
    if (field.table->cached())
      uploads.add(std::span<const std::int64_t>(field.slots), cards[f].values);
    else if (field.values.is_host())
      uploads.add(field.values.host, cards[f].values);
    if (field.offsets.is_host()) uploads.add(field.offsets.host, cards[f].offsets);
    if (field.weights.is_host()) uploads.add(field.weights.host, cards[f].weights);
  }
  if (!fields.empty()) uploads.send(fields.front().table->staging(), stream);
  return cards;
}

// Where the result goes: an array of the caller's, on the host or on the card, or a new one.
struct Output {
  py::object object;
  float* host = nullptr;
  float* card = nullptr;

  Output(const py::object& given, bool on_device, const Batch& batch) : object(given) {
    const std::vector<std::int64_t> shape{static_cast<std::int64_t>(batch.bags),
                                          static_cast<std::int64_t>(batch.stride)};
    if (given.is_none() && on_device) {
      const DeviceArray made = new_array(shape, 'f', sizeof(float), batch.stream);
      card = reinterpret_cast<float*>(made.data.get());
      object = py::cast(made);
    } else if (given.is_none() || py::isinstance<py::array>(given)) {
      py::array array = given.is_none() ? py::array_t<float>({shape[0], shape[1]}) : py::array(given);
      host = writable("out", array, {shape[0], shape[1]});
      object = array;
    } else {
      const DeviceArray model{nullptr, shape, 'f', sizeof(float), batch.stream.handle};
      card = static_cast<float*>(writable_like(model, given, "out"));
    }
  }
};

// Pools every field's bags into its columns of the output. Returns that and how many values named no row, 0 where they
// were not to be counted. With all of it on the card and nothing to count it allocates nothing and returns at once.
py::tuple pool(const std::vector<FieldTuple>& tuples, const py::object& out, std::pair<std::size_t, std::size_t> shape,
               bool count, bool on_device, const py::object& on) {
  const cuda::DeviceGuard guard(tuples.empty() ? cuda::device_number() : std::get<0>(tuples[0])->device());
  const Batch batch{shape.first, shape.second, given_stream(on)};
  const Stream stream = batch.stream.handle;
  std::vector<Field> fields;
  for (const FieldTuple& tuple : tuples) fields.push_back(field_of(tuple, batch));
  Output output(out, on_device, batch);
  const std::size_t bytes = batch.bags * batch.stride * sizeof(float);
  std::uint64_t unknown = 0;
  without_gil([&] {
    const Turns turns(fields, stream);
    std::vector<Memory> moved;
    Uploads uploads;
    bring_rows(fields, moved, stream);
    const std::vector<cuda::BagField> cards = upload(fields, uploads, stream);
    const Memory result = output.card != nullptr ? Memory() : Memory(bytes, stream);
    const Memory counter = count ? Memory(sizeof unknown, stream) : Memory();
    float* to = output.card != nullptr ? output.card : result.as<float>();
    if (count) cuda::fill_zero(counter.data(), sizeof unknown, stream);
    cuda::pool_bags(cards.data(), cards.size(), {to, batch.stride, batch.bags}, counter.as<std::uint64_t>(), stream);
    if (output.host != nullptr) cuda::copy(output.host, to, bytes, stream);
    if (count) cuda::copy(&unknown, counter.data(), sizeof unknown, stream);
    if (output.host != nullptr || count || !turns.empty()) cuda::synchronize(stream);
  });
  return py::make_tuple(output.object, unknown);
}

}  // namespace

void register_cuda_tables(py::module_& m) {
  py::class_<CardTable, std::shared_ptr<CardTable>>(m, "CardTable")
      .def(py::init<const std::string&, std::size_t, std::vector<py::array>, std::size_t>(), py::arg("dtype"),
           py::arg("dim"), py::arg("rows"), py::arg("cache_rows"))
      .def_property_readonly("nbytes", &CardTable::nbytes)
      .def_property_readonly("cached", &CardTable::cached)
      .def_property_readonly("hits", &CardTable::hits)
      .def_property_readonly("misses", &CardTable::misses);
  m.def("pool", pool, py::arg("fields"), py::arg("out"), py::arg("shape"), py::arg("count"), py::arg("on_device"),
        py::arg("stream"));
}

}  // namespace semblance::bind
