#include "bind/cuda_arrays.hpp"

#include <pybind11/stl.h>

#include <array>

#include "bind/dlpack.hpp"

namespace semblance::bind {
namespace {

constexpr const char* kCapsule = "dltensor";
constexpr const char* kUsedCapsule = "used_dltensor";

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

// https://numba.readthedocs.io/en/stable/cuda/cuda_array_interface.html, version 3.
GivenArray from_interface(const py::object& value, const py::dict& face, const char* name, cuda::Stream stream) {
  GivenArray out;
  out.data = reinterpret_cast<const void*>(py::cast<py::tuple>(face["data"])[0].cast<std::uintptr_t>());
  out.shape = face["shape"].cast<std::vector<std::int64_t>>();
  out.typestr = face["typestr"].cast<std::string>();
  out.on_device = true;
  out.owner = value;
  if (face.contains("strides") && !face["strides"].is_none()) {
    auto strides = face["strides"].cast<std::vector<std::int64_t>>();
    const std::int64_t item = std::stoi(out.typestr.substr(2));
    for (std::int64_t& stride : strides) stride /= item;
    if (!is_contiguous(out.shape, strides)) refuse_layout(name);
  }
  if (face.contains("stream") && !face["stream"].is_none()) {
    const auto theirs = stream_from(face["stream"].cast<std::uintptr_t>());
    if (theirs != stream) without_gil([&] { cuda::synchronize(theirs); });
  }
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
  constexpr std::uintptr_t kLegacyStream = 1;  // DLPack's number for the default stream
  const auto handle = stream == nullptr ? kLegacyStream : reinterpret_cast<std::uintptr_t>(stream);
  const py::object capsule =
      on_device ? value.attr("__dlpack__")(py::arg("stream") = handle) : value.attr("__dlpack__")();
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
  out.owner = capsule;
  return out;
}

// ---- what goes out ----

py::dict interface_of(const DeviceArray& self) {
  py::dict out;
  out["shape"] = py::tuple(py::cast(self.shape));
  out["typestr"] = self.typestr();
  out["data"] = py::make_tuple(reinterpret_cast<std::uintptr_t>(self.memory->data()), false);
  out["version"] = 3;
  out["strides"] = py::none();
  // 1 is the default stream; 0 is not allowed there.
  out["stream"] = self.stream == nullptr ? std::uintptr_t{1} : reinterpret_cast<std::uintptr_t>(self.stream);
  return out;
}

struct ExportedTensor {
  DlManagedTensor managed;
  std::shared_ptr<cuda::Memory> memory;
  std::vector<std::int64_t> shape;
};

// The newest form of the exchange is not asked for: every consumer takes this one.
py::capsule export_dlpack(const DeviceArray& self, const py::object& stream, const py::object&,
                          const py::object& device, const py::object& copy) {
  const auto here = py::make_tuple(kDlCuda, cuda::device_number());
  if (!(device.is_none() || device.equal(here)) || copy.equal(py::bool_(true)))
    throw py::buffer_error("__dlpack__: expected the array's own device and no copy, got others (numpy() copies)");
  // A consumer that works on another stream must not run ahead of what fills the array; -1 asks for no such care.
  const auto theirs = stream.is_none() ? 1 : stream.cast<std::intptr_t>();
  if (theirs != -1 && stream_from(theirs <= 1 ? 0U : static_cast<std::uintptr_t>(theirs)) != self.stream)
    without_gil([&] { cuda::synchronize(self.stream); });
  auto* out = new ExportedTensor{{}, self.memory, self.shape};
  out->managed.context = out;
  out->managed.deleter = [](DlManagedTensor* m) { delete static_cast<ExportedTensor*>(m->context); };
  out->managed.tensor = {self.memory->data(),
                         {kDlCuda, cuda::device_number()},
                         static_cast<std::int32_t>(out->shape.size()),
                         {self.kind == 'f' ? kDlFloat : kDlInt, static_cast<std::uint8_t>(8 * self.item_bytes), 1},
                         out->shape.data(),
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
    cuda::copy(to, self.memory->data(), self.bytes(), self.stream);
    cuda::synchronize(self.stream);
  });
  return out;
}

}  // namespace

std::size_t DeviceArray::bytes() const {
  std::size_t bytes = item_bytes;
  for (const std::int64_t extent : shape) bytes *= static_cast<std::size_t>(extent);
  return bytes;
}

GivenArray given_array(const py::object& value, const char* name, cuda::Stream stream) {
  if (py::isinstance<py::array>(value)) {
    const auto array = py::cast<py::array>(value);
    if ((array.flags() & py::array::c_style) == 0) refuse_layout(name);
    return {array.data(),
            {array.shape(), array.shape() + array.ndim()},
            py::cast<std::string>(array.dtype().attr("str")),
            false,
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
  return const_cast<void*>(array.data);
}

cuda::Floats given_rows(const GivenArray& array, const char* name, std::size_t dim) {
  if (array.typestr != "<f4" || array.shape.size() != 2 || array.shape[1] != static_cast<std::int64_t>(dim))
    throw ArgumentError(expected(name, "float32 of shape (n, " + std::to_string(dim) + ")",
                                 array.typestr + " of shape " + shape_text(array.shape)));
  return {static_cast<const float*>(array.data), static_cast<std::size_t>(array.shape[0]), array.on_device};
}

HitArrays::HitArrays(const py::object& out, std::vector<std::int64_t> shape, cuda::Stream stream)
    : given_(out),
      ids_{nullptr, shape, 'i', sizeof(std::int64_t), stream},
      distances_{nullptr, std::move(shape), 'f', sizeof(float), stream} {
  if (out.is_none()) return;
  const auto [ids, distances] = out.cast<std::pair<py::object, py::object>>();
  ids_at_ = static_cast<std::int64_t*>(writable_like(ids_, ids, "out[0]"));
  distances_at_ = static_cast<float*>(writable_like(distances_, distances, "out[1]"));
}

void HitArrays::allocate() {
  if (ids_at_ != nullptr) return;
  ids_.memory = std::make_shared<cuda::Memory>(ids_.bytes(), ids_.stream);
  distances_.memory = std::make_shared<cuda::Memory>(distances_.bytes(), distances_.stream);
  ids_at_ = ids_.memory->as<std::int64_t>();
  distances_at_ = distances_.memory->as<float>();
}

py::tuple HitArrays::results(bool on_device) const {
  if (!given_.is_none()) return py::tuple(given_);
  if (on_device) return py::make_tuple(ids_, distances_);
  return py::make_tuple(on_host<std::int64_t>(ids_), on_host<float>(distances_));
}

void register_cuda_arrays(py::module_& m) {
  py::class_<DeviceArray>(m, "DeviceArray")
      .def_property_readonly("shape", [](const DeviceArray& self) { return py::tuple(py::cast(self.shape)); })
      .def_property_readonly("dtype", [](const DeviceArray& self) { return py::dtype(self.typestr()); })
      .def_property_readonly("__cuda_array_interface__", &interface_of)
      .def("__dlpack__", &export_dlpack, py::kw_only(), py::arg("stream") = py::none(),
           py::arg("max_version") = py::none(), py::arg("dl_device") = py::none(), py::arg("copy") = py::none())
      .def("__dlpack_device__", [](const DeviceArray&) { return py::make_tuple(kDlCuda, cuda::device_number()); })
      .def("__len__", [](const DeviceArray& self) { return self.shape.empty() ? 0 : self.shape[0]; })
      .def("numpy", &to_host);
  m.def("to_device", [](const py::array& array) {
    const char kind = py::cast<std::string>(array.dtype().attr("kind"))[0];
    const GivenArray given = given_array(array, "array", nullptr);
    DeviceArray out{nullptr, given.shape, kind, static_cast<std::size_t>(array.itemsize()), nullptr};
    without_gil([&] {
      out.memory = std::make_shared<cuda::Memory>(out.bytes());
      cuda::copy(out.memory->data(), given.data, out.bytes(), nullptr);
      cuda::synchronize(nullptr);
    });
    return out;
  });
}

}  // namespace semblance::bind
