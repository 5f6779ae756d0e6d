// NumPy arrays as the table engine takes them: exactly typed, C-contiguous, of the expected shape, or an ArgumentError.
#pragma once

#include <pybind11/stl.h>

#include <cmath>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "bind/bind.hpp"
#include "core/error.hpp"

namespace semblance::bind {

inline constexpr py::ssize_t kAnySize = -1;
using Shape = std::vector<py::ssize_t>;

inline std::string shape_text(const py::ssize_t* shape, std::size_t dims) {
  std::string text = "(";
  for (std::size_t i = 0; i < dims; ++i)
    text += (shape[i] == kAnySize ? "n" : std::to_string(shape[i])) + (dims == 1 || i + 1 < dims ? ", " : "");
  return (dims == 1 ? text.substr(0, text.size() - 1) : text) + ")";
}

inline std::string describe(const py::array& a) {
  const bool contiguous = (a.flags() & py::array::c_style) != 0;
  return std::string(contiguous ? "" : "strided ") + py::str(py::object(a.dtype())).cast<std::string>() + " of shape " +
         shape_text(a.shape(), static_cast<std::size_t>(a.ndim()));
}

inline bool shape_matches(const py::array& a, const Shape& shape) {
  if (static_cast<std::size_t>(a.ndim()) != shape.size()) return false;
  for (std::size_t i = 0; i < shape.size(); ++i)
    if (shape[i] != kAnySize && shape[i] != a.shape(static_cast<py::ssize_t>(i))) return false;
  return true;
}

// NumPy's own type objects are compared first: asking NumPy takes longer than a short look-up.
template <class T>
bool has_type(const py::array& a) {
  static const PyObject* const builtin = py::dtype::of<T>().release().ptr();
  if ((a.flags() & py::array::c_style) == 0) return false;
  return py::detail::array_proxy(a.ptr())->descr == builtin || py::isinstance<py::array_t<T>>(a);
}

template <class T>
void require(const char* where, const py::array& a, const Shape& shape) {
  if (has_type<T>(a) && shape_matches(a, shape)) return;
  throw ArgumentError(expected(where,
                               "contiguous " + py::str(py::object(py::dtype::of<T>())).cast<std::string>() +
                                   " of shape " + shape_text(shape.data(), shape.size()),
                               describe(a)));
}

// All elements of an array of any shape.
template <class T>
std::span<const T> elements(const char* where, const py::array& a) {
  if (!has_type<T>(a))
    throw ArgumentError(
        expected(where, "contiguous " + py::str(py::object(py::dtype::of<T>())).cast<std::string>(), describe(a)));
  return {static_cast<const T*>(a.data()), static_cast<std::size_t>(a.size())};
}

template <class T>
std::span<const T> vector_of(const char* where, const py::array& a, py::ssize_t size = kAnySize) {
  require<T>(where, a, {size});
  return elements<T>(where, a);
}

inline float* writable(const char* where, py::array& a, const Shape& shape) {
  require<float>(where, a, shape);
  if (!a.writeable()) throw ArgumentError(expected(where, "a writable array", "a read-only one"));
  return static_cast<float*>(a.mutable_data());
}

inline void require_finite(const char* where, std::span<const float> values) {
  bool finite = true;
  for (const float x : values) finite &= std::fabs(x) <= std::numeric_limits<float>::max();
  if (finite) return;
  for (std::size_t i = 0; i < values.size(); ++i)
    if (!std::isfinite(values[i]))
      throw ArgumentError(
          expected(where, "finite values", std::to_string(values[i]) + " at position " + std::to_string(i)));
}

}  // namespace semblance::bind
