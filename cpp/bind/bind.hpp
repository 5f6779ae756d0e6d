// What every binding file shares: the GIL, the monitor of long calls, errors, and the list of registrations.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <exception>
#include <string>
#include <type_traits>
#include <utility>

#include "core/parallel.hpp"

namespace semblance::bind {

namespace py = pybind11;

void register_errors(py::module_& m);
void register_kernels(py::module_& m);
void register_index(py::module_& m);
void register_table(py::module_& m);
void register_text(py::module_& m);

// Takes the GIL back. While the interpreter is finalising, a thread that is not the main one never gets it: it sleeps
// here for the rest of the process instead of unwinding through native frames.
void restore_thread(PyThreadState* state) noexcept;

// Runs f without the GIL. Not a destructor (as in pybind11's scoped release), so that interpreter exit in the middle of
// native work stays clean.
template <class F>
auto without_gil(F&& f) -> std::invoke_result_t<F> {
  PyThreadState* state = PyEval_SaveThread();
  std::exception_ptr error;
  if constexpr (std::is_void_v<std::invoke_result_t<F>>) {
    try {
      std::forward<F>(f)();
    } catch (...) {
      error = std::current_exception();
    }
    restore_thread(state);
    if (error) std::rethrow_exception(error);
  } else {
    std::invoke_result_t<F> result{};
    try {
      result = std::forward<F>(f)();
    } catch (...) {
      error = std::current_exception();
    }
    restore_thread(state);
    if (error) std::rethrow_exception(error);
    return result;
  }
}

// Polls for Ctrl-C (on the main thread) and reports progress to a callable(done, total), or to nobody where it is None.
// Made with the GIL held, used without it. A signal handler or a callback that raises stops the work.
class PythonMonitor : public Monitor {
 public:
  explicit PythonMonitor(py::object progress) : progress_(std::move(progress)) {}
  bool poll(std::size_t done, std::size_t total) override;

 private:
  py::object progress_;
  PyThreadState* state_ = PyThreadState_Get();  // of the thread that makes the monitor, which is the one that polls
};

// Runs f(Monitor*) without the GIL; what stopped the monitor (KeyboardInterrupt, a callback's error) is raised here.
template <class F>
auto monitored(const py::object& progress, F&& f) {
  PythonMonitor monitor(progress);
  return without_gil([&] {
    const Watched watched(&monitor);
    return f(&monitor);
  });
}

}  // namespace semblance::bind
