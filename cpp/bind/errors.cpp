#include <unistd.h>

#include "bind/bind.hpp"
#include "core/error.hpp"

namespace semblance::bind {
namespace {

void raise(const char* python_class, const char* message) {
  const py::object type = py::module_::import("semblance.errors").attr(python_class);
  PyErr_SetString(type.ptr(), message);
}

void translate(std::exception_ptr pointer) {
  try {
    if (pointer) std::rethrow_exception(pointer);
  } catch (const ArgumentError& e) {
    raise("ArgumentError", e.what());
  } catch (const FormatError& e) {
    raise("FormatError", e.what());
  } catch (const NotFoundError& e) {
    raise("NotFoundError", e.what());
  } catch (const UnsupportedError& e) {
    raise("UnsupportedError", e.what());
  } catch (const CapacityError& e) {
    raise("CapacityError", e.what());
  } catch (const std::bad_alloc&) {
    raise("CapacityError", "memory: expected enough for the call, got an allocation that failed");
  } catch (const Error& e) {
    raise("Error", e.what());
  }
}

}  // namespace

void register_errors(py::module_&) { py::register_local_exception_translator(translate); }

void restore_thread(PyThreadState* state) noexcept {
  try {
    PyEval_RestoreThread(state);
  } catch (...) {  // the forced unwind by which CPython < 3.14 ends threads during finalisation; never leave this frame
    for (;;) pause();
  }
}

bool PythonMonitor::poll(std::size_t done, std::size_t total) {
  const py::gil_scoped_acquire gil;
  if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  if (!progress_.is_none()) progress_(done, total);
  return true;
}

}  // namespace semblance::bind
