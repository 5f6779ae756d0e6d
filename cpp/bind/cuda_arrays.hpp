// Arrays of the card at the door: what comes by __cuda_array_interface__ or DLPack, and what goes out by both.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bind/arrays.hpp"
#include "bind/cuda_bind.hpp"
#include "core/error.hpp"

namespace semblance::bind {

// A stream, and the caller's object that keeps it alive. Copied and dropped with or without the GIL.
struct GivenStream {
  cuda::Stream handle = nullptr;
  std::shared_ptr<PyObject> owner;
};

// None (the default stream), an address, or a stream of torch, CuPy or others.
GivenStream given_stream(const py::object& value);

// __cuda_array_interface__ and DLPack number the default stream 1.
inline cuda::Stream stream_from(std::uintptr_t number) {
  return number <= 1 ? nullptr : reinterpret_cast<cuda::Stream>(number);
}
inline std::uintptr_t number_of(cuda::Stream stream) {
  return stream == nullptr ? 1 : reinterpret_cast<std::uintptr_t>(stream);
}

// Memory of the current card, in the order of a stream, which lives as long; without a stream memory that lasts.
std::shared_ptr<std::byte> device_bytes(std::size_t bytes, const std::optional<GivenStream>& stream);
// The same, holding a copy of pageable memory of the host, which may change once this returns.
std::shared_ptr<std::byte> device_copy(const void* data, std::size_t bytes, const std::optional<GivenStream>& stream);

// Memory of a card with a shape, given to Python. C-contiguous.
struct DeviceArray {
  std::shared_ptr<std::byte> data;
  std::vector<std::int64_t> shape;
  char kind;  // as in NumPy's typestr: 'f' or 'i'
  std::size_t item_bytes;
  cuda::Stream stream;  // in whose order it is written; `data` keeps it alive
  int device = 0;

  std::size_t bytes() const;
  std::string typestr() const { return std::string("<") + kind + std::to_string(item_bytes); }
};

// A new one on the current card.
DeviceArray new_array(std::vector<std::int64_t> shape, char kind, std::size_t item_bytes, const GivenStream& stream);

// An array that a caller gave, on the host or on the card; C-contiguous, alive as long as `owner`.
struct GivenArray {
  const void* data = nullptr;
  std::vector<std::int64_t> shape;
  std::string typestr;  // "<f4"
  bool on_device = false;
  bool read_only = false;
  py::object owner;
};

// A NumPy array as it is; anything else by __cuda_array_interface__ or, if it has none, __dlpack__. What the array's
// own stream still has to write to it is done before the work of `stream`. ArgumentError where it is none of these, not
// C-contiguous, or on another card than the current one.
GivenArray given_array(const py::object& value, const char* name, cuda::Stream stream);

// Where to write to an array of the card that the caller gave and that is like `model`.
void* writable_like(const DeviceArray& model, const py::object& value, const char* name);

// The same as given_array, of float32 and shape (n, dim).
cuda::Floats given_rows(const GivenArray& array, const char* name, std::size_t dim);

// Values of the host, copied in the order of a stream. They may change when the caller has waited for the stream or,
// where it `returns_early`, when this returns: pinned memory, which copies may read late, is waited for.
cuda::Memory uploaded(const void* values, std::size_t bytes, cuda::Stream stream, bool returns_early);

// Where the hits of a search go: a pair (ids, distances) of the caller's on the card, or new arrays.
class HitArrays {
 public:
  HitArrays(const py::object& out, std::vector<std::int64_t> shape, const GivenStream& stream, bool on_device);

  void allocate();  // the new ones; needs no GIL
  std::int64_t* ids() const { return ids_at_; }
  float* distances() const { return distances_at_; }
  // Whether `results` returns before they are written: the caller's pair, or new arrays of the card.
  bool returns_early() const { return on_device_ || !given_.is_none(); }
  py::tuple results() const;

 private:
  py::object given_;
  GivenStream stream_;
  bool on_device_;
  DeviceArray ids_, distances_;
  std::size_t distances_offset_;  // both lie in one piece of memory
  std::int64_t* ids_at_ = nullptr;
  float* distances_at_ = nullptr;
};

}  // namespace semblance::bind
