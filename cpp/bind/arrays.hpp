// NumPy arrays at the door: C-contiguous, of the expected type and shape, or an ArgumentError that says what came.
#pragma once

#include <pybind11/numpy.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/error.hpp"

namespace semblance::bind {

namespace py = pybind11;

std::string describe(const py::handle& value);  // "float64 of shape (10, 512)"

// A C-contiguous array of T, borrowed. `cols` 0 = any; ndim 1 or 2.
template <class T>
const T* require_array(const py::array& array, const char* name, py::ssize_t ndim, std::size_t cols = 0) {
  const bool fits = py::isinstance<py::array_t<T>>(array) && array.ndim() == ndim &&
                    (array.flags() & py::array::c_style) != 0 &&
                    (cols == 0 || static_cast<std::size_t>(array.shape(ndim - 1)) == cols);
  if (!fits) {
    const std::string type = py::str(py::dtype::of<T>());
    const std::string shape = ndim == 1 ? "(n,)" : "(n, " + (cols == 0 ? std::string("m") : std::to_string(cols)) + ")";
    throw ArgumentError(expected(name, "contiguous " + type + " of shape " + shape, describe(array)));
  }
  return static_cast<const T*>(array.data());
}

// Hands a vector's memory to NumPy.
template <class T>
py::array_t<T> take_vector(std::vector<T>&& values) {
  auto* owner = new std::vector<T>(std::move(values));
  const py::capsule base(owner, [](void* p) { delete static_cast<std::vector<T>*>(p); });
  return py::array_t<T>(static_cast<py::ssize_t>(owner->size()), owner->data(), base);
}

// A read-only view of memory that `owner` keeps alive.
template <class T, class Owner>
py::array view_of(const T* data, std::vector<py::ssize_t> shape, std::shared_ptr<Owner> owner) {
  auto* keep = new std::shared_ptr<Owner>(std::move(owner));
  const py::capsule base(keep, [](void* p) { delete static_cast<std::shared_ptr<Owner>*>(p); });
  py::array view(py::dtype::of<T>(), std::move(shape), data, base);
  view.attr("setflags")(py::arg("write") = false);
  return view;
}

}  // namespace semblance::bind
