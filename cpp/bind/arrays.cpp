#include "bind/arrays.hpp"

namespace semblance::bind {

std::string describe(const py::handle& value) {
  if (!py::isinstance<py::array>(value)) return py::str(py::type::of(value).attr("__name__"));
  const auto array = py::reinterpret_borrow<py::array>(value);
  return std::string(py::str(array.dtype())) + " of shape " + std::string(py::str(array.attr("shape")));
}

}  // namespace semblance::bind
