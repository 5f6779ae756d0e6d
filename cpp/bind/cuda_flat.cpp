// Exact search on the card: checks, ids, and results on the host or on the card.
#include <pybind11/stl.h>

#include <algorithm>
#include <limits>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <unordered_map>

#include "bind/cuda_arrays.hpp"
#include "core/bitset.hpp"
#include "index/input.hpp"

namespace semblance::bind {
namespace {

using kernels::RowFormat;
using kernels::Score;

RowFormat parse_codes(const std::string& codes) {
  if (codes == "f32") return RowFormat::f32;
  return codes == "bf16" ? RowFormat::bf16 : RowFormat::i8;
}

cuda::FlatShape shape_of(std::size_t dim, Metric metric, const std::string& codes) {
  return {parse_codes(codes), score_of(metric), dim, metric == Metric::cosine};
}

// Which rows may be returned, as bits on the card.
struct FlatAllowed {
  std::shared_ptr<std::byte> bits;
  std::size_t rows;  // that there were when it was made
};

class BoundFlat {
 public:
  BoundFlat(std::size_t dim, const std::string& metric, const std::string& codes)
      : metric_(parse_metric(metric)), rows_(shape_of(dim, metric_, codes)) {}

  std::size_t size() const {
    const std::shared_lock lock(mutex_);
    return rows_.size();
  }
  std::size_t bytes() const {
    const std::shared_lock lock(mutex_);
    return rows_.bytes() + ids_on_card_.bytes();
  }

  void add(const py::object& vectors, const py::array& ids, const py::object& on, const py::object& progress) {
    const cuda::DeviceGuard guard(device_);
    const cuda::Stream stream = given_stream(on).handle;
    const GivenArray given = given_array(vectors, "vectors", stream);
    const cuda::Floats rows = given_rows(given, "vectors", rows_.shape().dim);
    const std::int64_t* wanted = require_array<std::int64_t>(ids, "ids", 1);
    if (static_cast<std::size_t>(ids.shape(0)) != rows.n)
      throw ArgumentError(expected("ids", std::to_string(rows.n) + " ids, one a row", describe(ids)));
    monitored(progress, [&](Monitor* monitor) {
      check(rows, "vectors", stream, monitor);
      const std::unique_lock lock(mutex_);
      if (rows.n > cuda::kMaxFlatRows - rows_.size())
        throw CapacityError(expected("index", "at most 2^30 rows", std::to_string(rows_.size() + rows.n)));
      take_ids(wanted, rows, stream);
    });
  }

  // In the order of a stream, or lasting.
  std::shared_ptr<FlatAllowed> allow(const py::array& ids, const std::optional<GivenStream>& stream) const {
    const cuda::DeviceGuard guard(device_);
    const std::int64_t* wanted = require_array<std::int64_t>(ids, "allowed", 1);
    const auto n = static_cast<std::size_t>(ids.shape(0));
    return without_gil([&] {
      const std::shared_lock lock(mutex_);
      std::vector<std::uint32_t> bits((rows_.size() + 31) / 32 + 1);
      for (std::size_t i = 0; i < n; ++i) {
        const auto row = places_.find(wanted[i]);
        if (row != places_.end()) bits[row->second / 32] |= 1U << (row->second % 32);
      }
      auto out = std::make_shared<FlatAllowed>();
      out->rows = rows_.size();
      out->bits = device_copy(bits.data(), bits.size() * sizeof bits[0], stream);
      return out;
    });
  }

  py::tuple search(const py::object& queries, std::size_t k, const std::shared_ptr<FlatAllowed>& allowed,
                   const py::object& out, bool on_device, const py::object& on) const {
    const cuda::DeviceGuard guard(device_);
    const GivenStream stream = given_stream(on);
    const GivenArray given = given_array(queries, "queries", stream.handle);
    const cuda::Floats input = given_rows(given, "queries", rows_.shape().dim);
    HitArrays hits(out, {static_cast<std::int64_t>(input.n), static_cast<std::int64_t>(k)}, stream, on_device);
    monitored(py::none(), [&](Monitor* monitor) {
      if (!input.on_device) check(input, "queries", stream.handle, monitor);
      hits.allocate();
      const std::shared_lock lock(mutex_);
      if (allowed && allowed->rows != rows_.size())
        throw ArgumentError(expected("allowed", "a filter of the " + std::to_string(rows_.size()) + " rows there are",
                                     "one of " + std::to_string(allowed->rows) + " (allow() makes another)"));
      enqueue(input, k, allowed.get(), hits, stream.handle);
    });
    return hits.results();
  }

 private:
  void enqueue(cuda::Floats input, std::size_t k, const FlatAllowed* allowed, const HitArrays& out,
               cuda::Stream stream) const {
    const std::size_t places = input.n * k, row_bytes = rows_.shape().dim * sizeof(float);
    const cuda::Memory upload =
        input.on_device ? cuda::Memory() : uploaded(input.data, input.n * row_bytes, stream, out.returns_early());
    const cuda::Memory rows(places * sizeof(std::uint32_t), stream), scores(places * sizeof(float), stream);
    rows_.search({input.on_device ? input.data : upload.as<float>(), input.n, k,
                  allowed != nullptr ? reinterpret_cast<const std::uint32_t*>(allowed->bits.get()) : nullptr,
                  rows.as<std::uint32_t>(), scores.as<float>()},
                 stream);
    const auto metric = metric_ == Metric::l2   ? cuda::DistanceOf::squares
                        : metric_ == Metric::ip ? cuda::DistanceOf::product
                                                : cuda::DistanceOf::cosine;
    cuda::name_hits({rows.as<std::uint32_t>(), scores.as<float>(), ids_on_card_.as<std::int64_t>(), out.ids(),
                     out.distances(), places},
                    metric, stream);
  }

  // Refuses what is no vector: on the host row by row with its place and value, on the card by its row.
  void check(cuda::Floats rows, const char* name, cuda::Stream stream, Monitor* monitor) const {
    const std::size_t dim = rows_.shape().dim;
    if (rows.n == 0) return;
    if (!rows.on_device) return check_vectors({rows.data, rows.n, dim}, {metric_, kNoLimit, name}, 0, monitor);
    const cuda::Memory bad(sizeof(std::uint32_t), stream);
    std::uint32_t first = 0;
    cuda::find_bad_row(rows.data, rows.n, dim, metric_ == Metric::cosine, bad.as<std::uint32_t>(), stream);
    cuda::copy(&first, bad.data(), sizeof first, stream);
    cuda::synchronize(stream);
    if (first < rows.n)
      throw ArgumentError(expected(std::string(name) + "[" + std::to_string(first) + "]",
                                   "finite values of a squared norm below 8e37, not all zero under cosine", "others"));
  }

  // Ids first, as they can be refused; then rows; what fails takes the ids back.
  void take_ids(const std::int64_t* wanted, cuda::Floats rows, cuda::Stream stream) {
    const std::size_t first = rows_.size();
    std::size_t placed = 0;
    try {
      for (; placed < rows.n; ++placed) {
        if (wanted[placed] < 0)
          throw ArgumentError(expected("ids", "ids of at least 0", std::to_string(wanted[placed])));
        if (!places_.try_emplace(wanted[placed], static_cast<std::uint32_t>(first + placed)).second)
          throw ArgumentError(
              expected("ids", "ids that are not in the index, each once", std::to_string(wanted[placed])));
      }
      cuda::Memory ids((first + rows.n) * sizeof(std::int64_t));
      cuda::copy(ids.data(), ids_on_card_.data(), first * sizeof(std::int64_t), stream);
      cuda::copy(ids.as<std::int64_t>() + first, wanted, rows.n * sizeof(std::int64_t), stream);
      rows_.append(rows, stream);  // waits for the copies too
      ids_on_card_ = std::move(ids);
    } catch (...) {
      for (std::size_t i = 0; i < placed; ++i) places_.erase(wanted[i]);
      throw;
    }
  }

  const int device_ = cuda::device_number();
  const Metric metric_;
  mutable std::shared_mutex mutex_;
  cuda::FlatRows rows_;
  cuda::Memory ids_on_card_;
  std::unordered_map<std::int64_t, std::uint32_t> places_;
};

}  // namespace

void register_cuda_flat(py::module_& m) {
  m.attr("MAX_FLAT_K") = cuda::kMaxFlatK;
  py::class_<FlatAllowed, std::shared_ptr<FlatAllowed>>(m, "FlatAllowed");
  py::class_<BoundFlat>(m, "FlatIndex")
      .def(py::init<std::size_t, std::string, std::string>(), py::arg("dim"), py::arg("metric"), py::arg("codes"))
      .def("__len__", &BoundFlat::size)
      .def("nbytes", &BoundFlat::bytes)
      .def("add", &BoundFlat::add, py::arg("vectors"), py::arg("ids"), py::arg("stream"), py::arg("progress"))
      .def(
          "allow", [](const BoundFlat& self, const py::array& ids) { return self.allow(ids, {}); }, py::arg("ids"))
      .def(
          "allow_for",
          [](const BoundFlat& self, const py::array& ids, const py::object& stream) {
            return self.allow(ids, given_stream(stream));
          },
          py::arg("ids"), py::arg("stream"))
      .def("search", &BoundFlat::search, py::arg("queries"), py::arg("k"), py::arg("allowed"), py::arg("out"),
           py::arg("on_device"), py::arg("stream"));
}

}  // namespace semblance::bind
