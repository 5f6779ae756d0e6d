#include "bind/cuda_arrays.hpp"

#include <pybind11/stl.h>

#include <array>

#include "bind/dlpack.hpp"

namespace semblance::bind {
namespace {

constexpr const char* kCapsule = "dltensor";
constexpr const char* kUsedCapsule = "used_dltensor";
constexpr std::size_t kAlign = 256;  // of what lies in one piece of memory; consumers of DLPack ask for no more

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text = "(";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  return text + (shape.size() == 1 ? ",)" : ")");
}

bool is_contiguous(const std::vector<std::int64_t>& shape, const std::vector<std::int64_t>& strides) {
  std::int64_t step = 1;
  for (std::size_t i = shape.size(); i-- > 0;) {
    if (shape[i] > 1 && strides[i] != step) return false;
    step *= shape[i];
  }
  return true;
}

[[noreturn]] void refuse_layout(const char* name) {
  throw ArgumentError(expected(name, "a C-contiguous array", "one with other strides"));
}

void check_device(const char* name, int device) {
  const int here = cuda::device_number();
  if (device >= 0 && device != here)
    throw ArgumentError(expected(name, "an array of CUDA device " + std::to_string(here) + ", where the work is done",
                                 "one of device " + std::to_string(device)));
}

// https://numba.readthedocs.io/en/stable/cuda/cuda_array_interface.html, version 3.
GivenArray from_interface(const py::object& value, const py::dict& face, const char* name, cuda::Stream stream) {
  GivenArray out;
  const auto [address, read_only] = face["data"].cast<std::pair<std::uintptr_t, bool>>();
  out.data = reinterpret_cast<const void*>(address);
  out.shape = face["shape"].cast<std::vector<std::int64_t>>();
  out.typestr = face["typestr"].cast<std::string>();
  out.on_device = true;
  out.read_only = read_only;
  out.owner = value;
  check_device(name, cuda::place_of(out.data).device);
  if (face.contains("strides") && !face["strides"].is_none()) {
    auto strides = face["strides"].cast<std::vector<std::int64_t>>();
    const std::int64_t item = std::stoi(out.typestr.substr(2));
    for (std::int64_t& stride : strides) stride /= item;
    if (!is_contiguous(out.shape, strides)) refuse_layout(name);
  }
  if (face.contains("stream") && !face["stream"].is_none())
    cuda::follow(stream, stream_from(face["stream"].cast<std::uintptr_t>()));
  return out;
}

void drop(PyObject* capsule) {
  auto* managed = static_cast<DlManagedTensor*>(PyCapsule_GetPointer(capsule, kUsedCapsule));
  if (managed != nullptr && managed->deleter != nullptr) managed->deleter(managed);
}

GivenArray from_dlpack(const py::object& value, const char* name, cuda::Stream stream) {
  const auto where = value.attr("__dlpack_device__")().cast<std::pair<std::int32_t, std::int32_t>>();
  const bool on_device = where.first == kDlCuda || where.first == kDlCudaManaged;
  if (!on_device && where.first != kDlCpu && where.first != kDlCudaHost)
    throw ArgumentError(expected(name, "an array of the host or of a CUDA device",
                                 "one of DLPack device type " + std::to_string(where.first)));
  if (where.first == kDlCuda) check_device(name, where.second);
  const py::object capsule =
      on_device ? value.attr("__dlpack__")(py::arg("stream") = number_of(stream)) : value.attr("__dlpack__")();
  auto* managed = static_cast<DlManagedTensor*>(PyCapsule_GetPointer(capsule.ptr(), kCapsule));
  if (managed == nullptr) throw py::error_already_set();
  PyCapsule_SetName(capsule.ptr(), kUsedCapsule);
  PyCapsule_SetDestructor(capsule.ptr(), drop);
  const DlTensor& tensor = managed->tensor;
  GivenArray out;
  out.data = static_cast<const std::byte*>(tensor.data) + tensor.byte_offset;
  out.shape.assign(tensor.shape, tensor.shape + tensor.ndim);
  if (tensor.strides != nullptr && !is_contiguous(out.shape, {tensor.strides, tensor.strides + tensor.ndim}))
    refuse_layout(name);
  const char kinds[] = {'i', 'u', 'f'};
  out.typestr = std::string("<") + (tensor.type.code <= kDlFloat ? kinds[tensor.type.code] : 'V') +
                std::to_string(tensor.type.bits / 8);
  out.on_device = on_device;
  out.owner = py::make_tuple(value, capsule);  // some capsules do not keep what they show
  return out;
}

// ---- what goes out ----

py::dict interface_of(const DeviceArray& self) {
  py::dict out;
  out["shape"] = py::tuple(py::cast(self.shape));
  out["typestr"] = self.typestr();
  out["data"] = py::make_tuple(reinterpret_cast<std::uintptr_t>(self.data.get()), false);
  out["version"] = 3;
  out["strides"] = py::none();
  out["stream"] = number_of(self.stream);
  return out;
}

struct ExportedTensor {
  DlManagedTensor managed;
  DeviceArray array;
  std::optional<cuda::Stream> reader;  // the stream that the consumer works on, if it said so
};

// On any thread, with or without the GIL. The memory is given back in the order of its own stream: after what the
// consumer's has yet to read.
void drop_export(DlManagedTensor* managed) {
  const std::unique_ptr<ExportedTensor> tensor(static_cast<ExportedTensor*>(managed->context));
  if (!tensor->reader) return;
  try {
    const cuda::DeviceGuard guard(tensor->array.device);
    cuda::follow(tensor->array.stream, *tensor->reader);
  } catch (const cuda::Failure&) {  // at the end of the process the driver may be gone
  }
}

// The newest form of the exchange is not asked for: every consumer takes this one.
py::capsule export_dlpack(const DeviceArray& self, const py::object& stream, const py::object&,
                          const py::object& device, const py::object& copy) {
  const auto here = py::make_tuple(kDlCuda, self.device);
  if (!(device.is_none() || device.equal(here)) || copy.equal(py::bool_(true)))
    throw py::buffer_error("__dlpack__: expected the array's own device and no copy, got others (numpy() copies)");
  // A consumer that works on another stream must not run ahead of what fills the array; -1 asks for no such care.
  std::optional<cuda::Stream> reader;
  if (stream.is_none()) {
    reader = nullptr;
  } else if (!stream.equal(py::int_(-1))) {
    reader = stream_from(stream.cast<std::uintptr_t>());
  }
  if (reader) {
    const cuda::DeviceGuard guard(self.device);
    cuda::follow(*reader, self.stream);
  }
  auto* out = new ExportedTensor{{}, self, reader};
  out->managed.context = out;
  out->managed.deleter = drop_export;
  out->managed.tensor = {self.data.get(),
                         {kDlCuda, self.device},
                         static_cast<std::int32_t>(self.shape.size()),
                         {self.kind == 'f' ? kDlFloat : kDlInt, static_cast<std::uint8_t>(8 * self.item_bytes), 1},
                         out->array.shape.data(),
                         nullptr,
                         0};
  return py::capsule(&out->managed, kCapsule, [](PyObject* capsule) {
    if (PyCapsule_IsValid(capsule, kCapsule) == 0) return;  // its consumer drops it
    auto* managed = static_cast<DlManagedTensor*>(PyCapsule_GetPointer(capsule, kCapsule));
    managed->deleter(managed);
  });
}

py::array to_host(const DeviceArray& self) {
  py::array out(py::dtype(self.typestr()), self.shape);
  void* to = out.mutable_data();
  without_gil([&] {
    const cuda::DeviceGuard guard(self.device);
    cuda::copy(to, self.data.get(), self.bytes(), self.stream);
    cuda::synchronize(self.stream);
  });
  return out;
}

// What frees memory of a stream may run on any thread, with or without the GIL.
std::shared_ptr<PyObject> kept(const py::object& object) {
  return {py::object(object).release().ptr(), [](PyObject* kept) {
            if (Py_IsInitialized() == 0) return;
            const PyGILState_STATE state = PyGILState_Ensure();
            Py_DECREF(kept);
            PyGILState_Release(state);
          }};
}

}  // namespace

std::size_t DeviceArray::bytes() const {
  std::size_t bytes = item_bytes;
  for (const std::int64_t extent : shape) bytes *= static_cast<std::size_t>(extent);
  return bytes;
}

DeviceArray new_array(std::vector<std::int64_t> shape, char kind, std::size_t item_bytes, const GivenStream& stream) {
  DeviceArray out{nullptr, std::move(shape), kind, item_bytes, stream.handle, cuda::device_number()};
  out.data = device_bytes(out.bytes(), stream);
  return out;
}

GivenStream given_stream(const py::object& value) {
  if (value.is_none()) return {};
  py::object number;
  if (PyIndex_Check(value.ptr()) != 0 && !py::isinstance<py::bool_>(value)) {
    number = value;
  } else if (py::hasattr(value, "__cuda_stream__")) {
    number = value.attr("__cuda_stream__")().cast<py::tuple>()[1];
  } else if (py::hasattr(value, "cuda_stream")) {  // torch
    number = value.attr("cuda_stream");
  } else if (py::hasattr(value, "ptr")) {  // CuPy
    number = value.attr("ptr");
  }
  if (!number || number < py::int_(0))
    throw ArgumentError(expected("stream", "None, a CUDA stream or its address", describe(value)));
  return {stream_from(py::int_(number).cast<std::uintptr_t>()), kept(value)};
}

std::shared_ptr<std::byte> device_bytes(std::size_t bytes, const std::optional<GivenStream>& stream) {
  struct Held {
    std::optional<GivenStream> stream;  // goes after the memory that is given back in its order
    cuda::Memory memory;
  };
  const auto held =
      std::make_shared<Held>(Held{stream, stream ? cuda::Memory(bytes, stream->handle) : cuda::Memory(bytes)});
  return {held, held->memory.data()};
}

std::shared_ptr<std::byte> device_copy(const void* data, std::size_t bytes, const std::optional<GivenStream>& stream) {
  std::shared_ptr<std::byte> out = device_bytes(bytes, stream);
  cuda::copy(out.get(), data, bytes, stream ? stream->handle : nullptr);
  if (!stream) cuda::synchronize(nullptr);
  return out;
}

cuda::Memory uploaded(const void* values, std::size_t bytes, cuda::Stream stream, bool returns_early) {
  cuda::Memory out(bytes, stream);
  cuda::copy(out.data(), values, bytes, stream);
  if (returns_early && cuda::place_of(values).pinned) cuda::synchronize(stream);
  return out;
}

GivenArray given_array(const py::object& value, const char* name, cuda::Stream stream) {
  if (py::isinstance<py::array>(value)) {
    const auto array = py::cast<py::array>(value);
    if ((array.flags() & py::array::c_style) == 0) refuse_layout(name);
    return {array.data(),
            {array.shape(), array.shape() + array.ndim()},
            py::cast<std::string>(array.dtype().attr("str")),
            false,
            !array.writeable(),
            value};
  }
  const py::object face = py::getattr(value, "__cuda_array_interface__", py::none());  // once: torch makes it each time
  if (!face.is_none()) return from_interface(value, py::cast<py::dict>(face), name, stream);
  if (py::hasattr(value, "__dlpack__")) return from_dlpack(value, name, stream);
  throw ArgumentError(expected(name, "an array of the host or of a CUDA device", describe(value)));
}

void* writable_like(const DeviceArray& model, const py::object& value, const char* name) {
  const GivenArray array = given_array(value, name, model.stream);
  if (!array.on_device || array.typestr != model.typestr() || array.shape != model.shape)
    throw ArgumentError(
        expected(name, model.typestr() + " of shape " + shape_text(model.shape) + " on the card",
                 array.typestr + " of shape " + shape_text(array.shape) + (array.on_device ? "" : " on the host")));
  if (array.read_only) throw ArgumentError(expected(name, "a writable array", "a read-only one"));
  return const_cast<void*>(array.data);
}

cuda::Floats given_rows(const GivenArray& array, const char* name, std::size_t dim) {
  if (array.typestr != "<f4" || array.shape.size() != 2 || array.shape[1] != static_cast<std::int64_t>(dim))
    throw ArgumentError(expected(name, "float32 of shape (n, " + std::to_string(dim) + ")",
                                 array.typestr + " of shape " + shape_text(array.shape)));
  return {static_cast<const float*>(array.data), static_cast<std::size_t>(array.shape[0]), array.on_device};
}

HitArrays::HitArrays(const py::object& out, std::vector<std::int64_t> shape, const GivenStream& stream, bool on_device)
    : given_(out),
      stream_(stream),
      on_device_(on_device),
      ids_{nullptr, shape, 'i', sizeof(std::int64_t), stream.handle, cuda::device_number()},
      distances_{nullptr, std::move(shape), 'f', sizeof(float), stream.handle, cuda::device_number()},
      distances_offset_((ids_.bytes() + kAlign - 1) / kAlign * kAlign) {
  if (out.is_none()) return;
  const auto [ids, distances] = out.cast<std::pair<py::object, py::object>>();
  ids_at_ = static_cast<std::int64_t*>(writable_like(ids_, ids, "out[0]"));
  distances_at_ = static_cast<float*>(writable_like(distances_, distances, "out[1]"));
}

void HitArrays::allocate() {
  if (ids_at_ != nullptr) return;
  ids_.data = device_bytes(distances_offset_ + distances_.bytes(), stream_);
  distances_.data = {ids_.data, ids_.data.get() + distances_offset_};
  ids_at_ = reinterpret_cast<std::int64_t*>(ids_.data.get());
  distances_at_ = reinterpret_cast<float*>(distances_.data.get());
}

py::tuple HitArrays::results() const {
  if (!given_.is_none()) return py::tuple(given_);
  if (on_device_) return py::make_tuple(ids_, distances_);
  // One copy and one wait: what comes back to pageable memory is waited for each time.
  py::array_t<std::uint8_t> both(static_cast<py::ssize_t>(distances_offset_ + distances_.bytes()));
  std::uint8_t* to = both.mutable_data();
  without_gil([&] {
    cuda::copy(to, ids_.data.get(), static_cast<std::size_t>(both.size()), stream_.handle);
    cuda::synchronize(stream_.handle);
  });
  return py::make_tuple(
      py::array_t<std::int64_t>(ids_.shape, reinterpret_cast<const std::int64_t*>(to), both),
      py::array_t<float>(distances_.shape, reinterpret_cast<const float*>(to + distances_offset_), both));
}

void register_cuda_arrays(py::module_& m) {
  py::class_<DeviceArray>(m, "DeviceArray")
      .def_property_readonly("shape", [](const DeviceArray& self) { return py::tuple(py::cast(self.shape)); })
      .def_property_readonly("dtype", [](const DeviceArray& self) { return py::dtype(self.typestr()); })
      .def_property_readonly("__cuda_array_interface__", &interface_of)
      .def("__dlpack__", &export_dlpack, py::kw_only(), py::arg("stream") = py::none(),
           py::arg("max_version") = py::none(), py::arg("dl_device") = py::none(), py::arg("copy") = py::none())
      .def("__dlpack_device__", [](const DeviceArray& self) { return py::make_tuple(kDlCuda, self.device); })
      .def("__len__", [](const DeviceArray& self) { return self.shape.empty() ? 0 : self.shape[0]; })
      .def("numpy", &to_host);
  m.def("to_device", [](const py::array& array) {
    const char kind = py::cast<std::string>(array.dtype().attr("kind"))[0];
    const GivenArray given = given_array(array, "array", nullptr);
    DeviceArray out{nullptr, given.shape,          kind, static_cast<std::size_t>(array.itemsize()),
                    nullptr, cuda::device_number()};
    without_gil([&] { out.data = device_copy(given.data, out.bytes(), std::nullopt); });
    return out;
  });
}

}  // namespace semblance::bind
