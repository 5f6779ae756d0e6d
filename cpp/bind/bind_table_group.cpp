#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bind/bound_table.hpp"
#include "table/table_group.hpp"

namespace semblance::bind {

void TableSlot::publish(Pinned table) {
  table_.store(std::move(table));
  std::vector<std::shared_ptr<PinnedTables>> alive;
  {
    const std::lock_guard lock(mutex_);
    std::erase_if(readers_, [](const auto& reader) { return reader.expired(); });
    for (const auto& reader : readers_)
      if (auto held = reader.lock()) alive.push_back(std::move(held));
  }
  for (const auto& reader : alive) reader->look_again();
}

void TableSlot::tell(const std::shared_ptr<PinnedTables>& reader) {
  const std::lock_guard lock(mutex_);
  std::erase_if(readers_, [](const auto& other) { return other.expired(); });
  readers_.push_back(reader);
}

std::shared_ptr<PinnedTables> PinnedTables::of(const std::vector<std::shared_ptr<TableSlot>>& slots) {
  std::shared_ptr<PinnedTables> made(new PinnedTables(slots));
  for (const auto& slot : slots) slot->tell(made);
  made->look_again();
  return made;
}

void PinnedTables::look_again() {
  std::shared_ptr<const All> before;  // goes last, without the lock: Python's objects may end with it
  const std::lock_guard lock(mutex_);
  auto fresh = std::make_shared<All>();
  fresh->reserve(slots_.size());
  for (const auto& slot : slots_) fresh->push_back(slot->pin());
  before = all_.exchange(std::move(fresh));
}

namespace {

// One field's arrays of one call; null or None: not given.
struct FieldInput {
  py::object values, offsets, weights;
};

class BoundGroup {
 public:
  // `prepare(field index, value)` turns what a caller passed into (values, offsets or None, weights or None).
  BoundGroup(const py::list& names, std::vector<std::shared_ptr<TableSlot>> slots,
             const std::vector<std::string>& modes, py::object prepare)
      : slots_(std::move(slots)), prepare_(std::move(prepare)) {
    for (const py::handle name : names) names_.push_back(py::reinterpret_borrow<py::object>(name));
    if (slots_.size() != names_.size() || modes.size() != names_.size())
      throw ArgumentError(expected("fields", "a table and a mode for each name", "lists of other lengths"));
    pinned_ = PinnedTables::of(slots_);
    for (std::size_t f = 0; f < slots_.size(); ++f) {
      pooling_.push_back(pooling_of(modes[f]));
      columns_.push_back(width_);
      width_ += slots_[f]->pin()->table().dim();
    }
  }

  std::size_t width() const { return width_; }

  // A mapping of one entry a field, or an int64 matrix (batch, fields) of one key each.
  py::array_t<float> lookup(const py::object& inputs, const py::object& out, std::size_t threads) const {
    Call call;
    call.pinned = pinned_->pin();
    if (PyDict_Check(inputs.ptr())) {
      call.fields.resize(slots_.size());
      take_columns(call, inputs);
    } else {
      take_matrix(call, inputs);
    }
    py::array_t<float> result = output(out, call.batch);
    float* data = writable("out", result, {static_cast<py::ssize_t>(call.batch), static_cast<py::ssize_t>(width_)});
    monitored(py::none(), [&](Monitor* monitor) {
      if (call.matrix != nullptr) {
        if (lookup_matrix(call.tables, call.matrix, call.batch, {data, width_}, threads, monitor)) return;
        split_matrix(call);
      }
      check_group_keys(call.fields);
      lookup_group(call.fields, call.batch, {data, width_}, threads, monitor);
    });
    return result;
  }

 private:
  struct Call {
    std::shared_ptr<const PinnedTables::All> pinned;
    std::vector<GroupField> fields;
    std::vector<FieldInput> owners;
    const std::int64_t* matrix = nullptr;  // (batch, fields)
    std::vector<const Table*> tables;      // of the matrix
    std::vector<std::int64_t> transposed;
    std::size_t batch = 0;

    const Table& table(std::size_t f) const { return (*pinned)[f]->table(); }
  };

  py::array_t<float> output(const py::object& out, std::size_t batch) const {
    if (out.is_none())
      return py::array_t<float>(Shape{static_cast<py::ssize_t>(batch), static_cast<py::ssize_t>(width_)});
    if (!py::isinstance<py::array_t<float>>(out))
      throw ArgumentError(expected("out", "a float32 array", py::repr(py::type::of(out)).cast<std::string>()));
    return py::reinterpret_borrow<py::array_t<float>>(out);
  }

  std::string name(std::size_t f) const { return "field " + py::repr(names_[f]).cast<std::string>(); }

  static bool given(const py::object& object) { return object && !object.is_none(); }

  void take_columns(Call& call, const py::object& inputs) const {
    if (static_cast<std::size_t>(PyDict_Size(inputs.ptr())) != names_.size())
      throw ArgumentError(expected("inputs", "an entry for each of " + std::to_string(names_.size()) + " fields",
                                   std::to_string(PyDict_Size(inputs.ptr()))));
    call.owners.resize(slots_.size());
    const std::size_t found = take_entries(inputs.ptr(), call.owners);
    if (found < slots_.size()) throw ArgumentError(expected("inputs", name(found), "no entry of that name"));
    prefetch(call.owners);
    for (std::size_t f = 0; f < slots_.size(); ++f) take_field(call, f);
  }

  // Takes the fields' entries of a dict; how many, before one that is not there.
  std::size_t take_entries(PyObject* inputs, std::vector<FieldInput>& entries) const {
    std::size_t f = 0;
    Py_ssize_t place = 0;
#if defined(Py_GIL_DISABLED)
    Py_BEGIN_CRITICAL_SECTION(inputs);  // nothing in it throws
#endif
    for (; f < slots_.size(); ++f) {
      PyObject* value = entry(inputs, names_[f].ptr(), place);
      if (value == nullptr) break;
      entries[f].values = py::reinterpret_borrow<py::object>(value);
    }
#if defined(Py_GIL_DISABLED)
    Py_END_CRITICAL_SECTION();
#endif
    return f;
  }

  // The value of a name. Callers mostly give the fields in their order, where the next entry is found without hashing;
  // `place` < 0: this one does not.
  static PyObject* entry(PyObject* inputs, PyObject* name, Py_ssize_t& place) {
    PyObject *key = nullptr, *value = nullptr;
    if (place >= 0 && PyDict_Next(inputs, &place, &key, &value) != 0) {
      if (key == name) return value;
      if (PyUnicode_CheckExact(key) != 0 && PyUnicode_CheckExact(name) != 0 && PyUnicode_Compare(key, name) == 0)
        return value;
    }
    place = -1;
    return PyDict_GetItemWithError(inputs, name);
  }

  // A call's arrays lie anywhere in memory: their misses overlap instead of following one another.
  static void prefetch(const std::vector<FieldInput>& inputs) {
    for (const FieldInput& input : inputs) {
      if (!py::isinstance<py::array>(input.values)) continue;
      const auto* array = py::detail::array_proxy(input.values.ptr());
      __builtin_prefetch(array->dimensions);
      __builtin_prefetch(array->data);
    }
  }

  void take_field(Call& call, std::size_t f) const {
    FieldInput& input = call.owners[f];
    GroupField& field = call.fields[f];  // in place: copied, it would be read before its parts are stored
    if (hashes(f) || !plain_keys(input.values, field.keys)) {
      const py::tuple prepared = prepare_(f, input.values);
      input = {prepared[0], prepared[1], prepared[2]};
      field.keys = vector_of<std::int64_t>("values", py::reinterpret_borrow<py::array>(input.values));
    }
    field.table = &call.table(f);
    field.pooling = pooling_[f];
    field.column = columns_[f];
    take_bags(call, f, field);
  }

  bool hashes(std::size_t f) const { return slots_[f]->hashes_strings; }

  static bool plain_keys(const py::object& value, std::span<const std::int64_t>& keys) {
    if (!py::isinstance<py::array>(value)) return false;
    const auto array = py::reinterpret_borrow<py::array>(value);
    if (array.ndim() != 1 || !has_type<std::int64_t>(array)) return false;
    keys = {static_cast<const std::int64_t*>(array.data()), static_cast<std::size_t>(array.size())};
    return true;
  }

  void take_bags(Call& call, std::size_t f, GroupField& field) const {
    const FieldInput& input = call.owners[f];
    std::size_t batch = field.keys.size();
    if (given(input.offsets)) {
      field.offsets = vector_of<std::int64_t>("offsets", py::reinterpret_borrow<py::array>(input.offsets));
      check_offsets(field.offsets, field.keys.size());
      batch = field.offsets.size() - 1;
    }
    if (given(input.weights)) {
      if (field.pooling == Pooling::max) throw ArgumentError(expected("weights", "none with mode 'max'", "an array"));
      const auto weights = vector_of<float>("weights", py::reinterpret_borrow<py::array>(input.weights),
                                            static_cast<py::ssize_t>(field.keys.size()));
      require_finite("weights", weights);
      field.weights = weights.data();
    }
    if (f > 0 && batch != call.batch)
      throw ArgumentError(
          expected(name(f), std::to_string(call.batch) + " examples, as in the first field", std::to_string(batch)));
    call.batch = batch;
  }

  void take_matrix(Call& call, const py::object& inputs) const {
    const auto count = static_cast<py::ssize_t>(names_.size());
    if (!py::isinstance<py::array>(inputs))
      throw ArgumentError(expected("inputs", "a dict of fields or an int64 array of shape (batch, fields)",
                                   py::repr(py::type::of(inputs)).cast<std::string>()));
    const auto matrix = py::reinterpret_borrow<py::array>(inputs);
    require<std::int64_t>("inputs", matrix, {kAnySize, count});
    call.batch = static_cast<std::size_t>(matrix.shape(0));
    call.matrix = static_cast<const std::int64_t*>(matrix.data());
    call.tables.reserve(slots_.size());
    for (std::size_t f = 0; f < slots_.size(); ++f) {
      if (hashes(f)) throw ArgumentError(expected(name(f), "strings, in a dict of fields", "a column of integers"));
      call.tables.push_back(&call.table(f));
    }
  }

  // A matrix as one field a column.
  void split_matrix(Call& call) const {
    call.transposed.resize(call.batch * names_.size());
    transpose(call.matrix, call);
    for (std::size_t f = 0; f < slots_.size(); ++f) {
      const auto column = std::span<const std::int64_t>(call.transposed).subspan(f * call.batch, call.batch);
      call.fields.push_back({call.tables[f], column, {}, nullptr, pooling_[f], columns_[f]});
    }
  }

  // Some examples at a time, which stay in the cache while the fields pass: columns that are a power of two apart would
  // otherwise push each other out.
  void transpose(const std::int64_t* keys, Call& call) const {
    constexpr std::size_t kExamples = 64;
    const std::size_t fields = names_.size();
    for (std::size_t first = 0; first < call.batch; first += kExamples) {
      const std::size_t end = std::min(call.batch, first + kExamples);
      for (std::size_t f = 0; f < fields; ++f)
        for (std::size_t i = first; i < end; ++i) call.transposed[f * call.batch + i] = keys[i * fields + f];
    }
  }

  std::vector<py::object> names_;
  std::vector<std::shared_ptr<TableSlot>> slots_;
  std::shared_ptr<PinnedTables> pinned_;
  std::vector<Pooling> pooling_;
  std::vector<std::size_t> columns_;
  std::size_t width_ = 0;
  py::object prepare_;
};

}  // namespace

void register_table_group(py::module_& m) {
  py::class_<TableSlot, std::shared_ptr<TableSlot>>(m, "Slot")
      .def(py::init([](std::shared_ptr<BoundTable> table, bool hashes_strings) {
             return std::make_shared<TableSlot>(std::move(table), hashes_strings);
           }),
           py::arg("table"), py::arg("hashes_strings"))
      .def(
          "publish", [](TableSlot& slot, std::shared_ptr<BoundTable> table) { slot.publish(std::move(table)); },
          py::arg("table"));
  py::class_<BoundGroup>(m, "Group")
      .def(py::init<const py::list&, std::vector<std::shared_ptr<TableSlot>>, const std::vector<std::string>&,
                    py::object>(),
           py::arg("names"), py::arg("slots"), py::arg("modes"), py::arg("prepare"))
      .def_property_readonly("width", &BoundGroup::width)
      .def("lookup", &BoundGroup::lookup, py::arg("inputs"), py::arg("out"), py::arg("threads"));
}

}  // namespace semblance::bind
