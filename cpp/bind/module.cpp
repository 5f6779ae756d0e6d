#include "bind/bind.hpp"

namespace py = pybind11;

PYBIND11_MODULE(_core, m, py::mod_gil_not_used()) {
  using namespace semblance::bind;
  // A call that gives the GIL back from a subinterpreter can wait for ever; so does much of NumPy's own code.
  if (PyInterpreterState_Get() != PyInterpreterState_Main())
    throw py::import_error("semblance: expected the main interpreter, got a subinterpreter (use processes or threads)");
  m.doc() = "Native engine of semblance. Use the package, not this module.";
  m.attr("__version__") = SEMBLANCE_VERSION;
  register_errors(m);
  register_kernels(m);
  register_index(m);
  register_table(m);
  register_text(m);
}
