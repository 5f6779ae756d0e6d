// What the binding files of semblance._cuda share: the list of registrations.
#pragma once

#include "api.hpp"
#include "bind/bind.hpp"

namespace semblance::bind {

void register_cuda_errors(py::module_& m);
void register_cuda_device(py::module_& m);
void register_cuda_arrays(py::module_& m);
void register_cuda_flat(py::module_& m);
void register_cuda_tables(py::module_& m);
void register_cuda_graph(py::module_& m);
void register_cuda_knn(py::module_& m);
void register_emulated(py::module_& m);  // tests/native/emulated/bind_emulated.cpp

}  // namespace semblance::bind
