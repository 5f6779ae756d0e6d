// semblance._cuda: the engine on a GPU. The list of what it has, and how its failures become Python's errors.
#include "bind/cuda_arrays.hpp"
#include "bind/cuda_bind.hpp"

namespace semblance::bind {
namespace {

const char* python_class(cuda::Cause cause) {
  if (cause == cuda::Cause::out_of_memory) return "CapacityError";
  return cause == cuda::Cause::no_device ? "UnsupportedError" : "Error";
}

void translate_failure(std::exception_ptr pointer) {
  try {
    if (pointer) std::rethrow_exception(pointer);
  } catch (const cuda::Failure& failure) {
    const py::object type = py::module_::import("semblance.errors").attr(python_class(failure.cause));
    PyErr_SetString(type.ptr(), failure.what());
  }
}

py::dict device() {
  const cuda::Device card = without_gil([] { return cuda::device(); });
  py::dict out;
  out["name"] = card.name;
  out["capability"] = py::make_tuple(card.major, card.minor);
  out["multiprocessors"] = card.multiprocessors;
  out["memory"] = card.memory;
  out["free_memory"] = card.free_memory;
  return out;
}

}  // namespace

void register_cuda_errors(py::module_&) { py::register_local_exception_translator(translate_failure); }

void register_cuda_device(py::module_& m) {
  m.attr("EMULATED") = cuda::is_emulated();
  m.def("missing", [] { return without_gil([] { return cuda::missing(); }); });
  m.def("device", &device);
  m.def(
      "synchronize",
      [](const py::object& stream) { without_gil([on = given_stream(stream)] { cuda::synchronize(on.handle); }); },
      py::arg("stream"));
}

}  // namespace semblance::bind

namespace py = pybind11;

PYBIND11_MODULE(_cuda, m, py::mod_gil_not_used()) {
  using namespace semblance::bind;
  m.doc() = "The engine of semblance on a GPU. Use semblance.gpu, not this module.";
  register_errors(m);
  register_cuda_errors(m);
  register_cuda_device(m);
  register_cuda_arrays(m);
  register_cuda_flat(m);
  register_cuda_tables(m);
  register_cuda_graph(m);
  register_cuda_knn(m);
#ifdef SEMBLANCE_CUDA_EMULATED
  register_emulated(m);
#endif
}
