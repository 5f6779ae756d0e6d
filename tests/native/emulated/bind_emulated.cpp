// semblance._cuda.emulated: what tests in Python set and see of the emulated runtime. Not in a module for cards.
#include <pybind11/stl.h>

#include "bind/cuda_bind.hpp"
#include "cuda_cards.hpp"

namespace semblance::bind {
namespace {

std::uintptr_t number(const void* stream) { return reinterpret_cast<std::uintptr_t>(stream); }

}  // namespace

void register_emulated(py::module_& module) {
  py::module_ m = module.def_submodule("emulated");
  emulated::calls.holds_gil = [] { return PyGILState_Check() == 1; };
  m.def("set_cards", [](int count) { emulated::cards = count; });
  m.def("set_current", [](int card) { emulated::current_card = card; });
  m.def("pin", [](const py::array& array) {
    emulated::addresses.add(array.data(), static_cast<std::size_t>(array.nbytes()), emulated::Owner::pinned);
  });
  m.def("unpin", [](const py::array& array) { emulated::addresses.remove(array.data()); });
  m.def("start_log", [] { emulated::calls.start(); });
  m.def("take_log", [] {  // (name, stream, the stream that a wait is for, card, whether the caller held the GIL)
    py::list out;
    for (const emulated::Call& call : emulated::calls.take())
      out.append(py::make_tuple(call.name, number(call.stream), number(call.other), call.card, call.with_gil));
    return out;
  });
}

}  // namespace semblance::bind
