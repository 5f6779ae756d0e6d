#include "bind/bind.hpp"

namespace py = pybind11;

PYBIND11_MODULE(_core, m, py::mod_gil_not_used()) {
  using namespace semblance::bind;
  m.doc() = "Native engine of semblance. Use the package, not this module.";
  m.attr("__version__") = SEMBLANCE_VERSION;
  register_errors(m);
  register_kernels(m);
  register_index(m);
  register_table(m);
  register_text(m);
}
