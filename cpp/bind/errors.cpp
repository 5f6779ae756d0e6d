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

namespace {

// A thread that may never run Python again, because the interpreter is going away, ends here.
[[noreturn]] void sleep_forever() {
  for (;;) pause();
}

bool ask_python(const py::object& progress, std::size_t done, std::size_t total) {
  if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  if (total > 0 && !progress.is_none()) progress(done, total);
  return true;
}

}  // namespace

void restore_thread(PyThreadState* state) noexcept {
  try {
    PyEval_RestoreThread(state);
  } catch (...) {  // the forced unwind by which CPython < 3.14 ends threads during finalisation; never leave this frame
    sleep_forever();
  }
}

// Takes and gives back the GIL by hand, for the same reason: a guard's destructor would run during the forced unwind.
// And by the state of the calling thread, not PyGILState_Ensure: at exit the interpreter takes that state apart while
// daemon threads still work, and PyGILState_Ensure then makes a new one for an interpreter that is gone.
bool PythonMonitor::poll(std::size_t done, std::size_t total) {
  std::exception_ptr error;
  restore_thread(state_);
  try {
    ask_python(progress_, done, total);
  } catch (const std::exception&) {
    error = std::current_exception();
  } catch (...) {
    sleep_forever();
  }
  PyEval_SaveThread();
  if (error) std::rethrow_exception(error);
  return true;
}

}  // namespace semblance::bind
