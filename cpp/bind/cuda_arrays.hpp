// Arrays of the card at the door: what comes by __cuda_array_interface__ or DLPack, and what goes out by both.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bind/arrays.hpp"
#include "bind/cuda_bind.hpp"
#include "core/error.hpp"

namespace semblance::bind {

// Memory of the card with a shape, given to Python. C-contiguous.
struct DeviceArray {
  std::shared_ptr<cuda::Memory> memory;
  std::vector<std::int64_t> shape;
  char kind;  // as in NumPy's typestr: 'f' or 'i'
  std::size_t item_bytes;
  cuda::Stream stream;  // in whose order it is written

  std::size_t bytes() const;
  std::string typestr() const { return std::string("<") + kind + std::to_string(item_bytes); }
};

// A copy on the host, when all before it in the array's stream is done.
template <class T>
py::array_t<T> on_host(const DeviceArray& array) {
  py::array_t<T> out(std::vector<py::ssize_t>(array.shape.begin(), array.shape.end()));
  T* to = out.mutable_data();
  without_gil([&] {
    cuda::copy(to, array.memory->data(), array.bytes(), array.stream);
    cuda::synchronize(array.stream);
  });
  return out;
}

// An array that a caller gave, on the host or on the card; C-contiguous, alive as long as `owner`.
struct GivenArray {
  const void* data = nullptr;
  std::vector<std::int64_t> shape;
  std::string typestr;  // "<f4"
  bool on_device = false;
  py::object owner;
};

// A NumPy array as it is; anything else by __cuda_array_interface__ or, if it has none, __dlpack__. What the array's
// own stream still has to write to it is done before the work of `stream`. ArgumentError where it is none of these or
// not C-contiguous.
GivenArray given_array(const py::object& value, const char* name, cuda::Stream stream);

// Where to write to an array of the card that the caller gave and that is like `model`.
void* writable_like(const DeviceArray& model, const py::object& value, const char* name);

// The same as given_array, of float32 and shape (n, dim).
cuda::Floats given_rows(const GivenArray& array, const char* name, std::size_t dim);

// Where the hits of a search go: a pair (ids, distances) of the caller's on the card, or new arrays.
class HitArrays {
 public:
  HitArrays(const py::object& out, std::vector<std::int64_t> shape, cuda::Stream stream);

  void allocate();  // the new ones; needs no GIL
  std::int64_t* ids() const { return ids_at_; }
  float* distances() const { return distances_at_; }
  // What Python gets: the caller's pair, or the new arrays, on the card or copied to the host.
  py::tuple results(bool on_device) const;

 private:
  py::object given_;
  DeviceArray ids_, distances_;
  std::int64_t* ids_at_ = nullptr;
  float* distances_at_ = nullptr;
};

inline cuda::Stream stream_from(std::uintptr_t handle) { return reinterpret_cast<cuda::Stream>(handle); }

}  // namespace semblance::bind
