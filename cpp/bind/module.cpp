#include "bind/bind.hpp"

namespace py = pybind11;

PYBIND11_MODULE(_core_of_main, m, py::mod_gil_not_used()) {
  using namespace semblance::bind;
  m.doc() = "Native engine of semblance. Use the package, not this module.";
  m.attr("__version__") = SEMBLANCE_VERSION;
  register_errors(m);
  register_kernels(m);
  register_index(m);
  register_table(m);
  register_text(m);
}

// pybind11 waits for ever in a subinterpreter of Python 3.11; so the import is refused before it begins.
extern "C" PYBIND11_EXPORT PyObject* PyInit__core() {
  if (PyInterpreterState_Get() == PyInterpreterState_Main()) return PyInit__core_of_main();
  PyErr_SetString(PyExc_ImportError,
                  "semblance: expected the main interpreter, got a subinterpreter (use threads or processes)");
  return nullptr;
}
