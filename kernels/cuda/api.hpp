// The face of the CUDA kernels in plain C++: what the binding sees. No CUDA header is needed to include it, and
// whatever implements it may be compiled by nvcc or, for tests without a card, by the host's compiler over an emulator.
//
// Pointers called `device` point to memory of the card. Work goes to the stream it is given and may still run when a
// function returns; `synchronize` waits for it. Every function throws Failure and then has changed nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

namespace semblance::cuda {

using Stream = void*;  // a cudaStream_t; null is the default stream

enum class Cause : std::uint8_t {
  no_device,      // no card, no driver, or one that these kernels were not compiled for
  out_of_memory,  // the card's memory; what existed before stays usable
  failed,         // a kernel or a copy
};

struct Failure : std::runtime_error {
  Failure(Cause why, const std::string& message) : std::runtime_error(message), cause(why) {}
  Cause cause;
};

// ---- the card
// --------------------------------------------------------------------------------------------------------

struct Device {
  std::string name;  // "NVIDIA H200"
  int major = 0, minor = 0, multiprocessors = 0;
  std::size_t memory = 0, free_memory = 0;  // bytes
};

// Why no card can be used, "" where one can.
std::string missing();
// The card in use by the calling thread.
Device device();
// True for the emulator of the tests.
bool is_emulated();

void synchronize(Stream stream);

// Memory of the card. With a stream it is taken and given back in the stream's order, cheap and fit for capture in a
// CUDA graph: the workspace of one call. Without one it lasts, and giving it back waits for whatever uses it.
class Memory {
 public:
  Memory() = default;
  explicit Memory(std::size_t bytes);
  Memory(std::size_t bytes, Stream stream);
  Memory(Memory&& other) noexcept { *this = std::move(other); }
  Memory& operator=(Memory&& other) noexcept;
  ~Memory();

  std::byte* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }

 private:
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
  Stream stream_ = nullptr;
  bool ordered_ = false;
};

// Copies between the host, the card, or two places of the card: the addresses tell. Pageable host memory may be reused
// as soon as the call returns.
void copy(void* to, const void* from, std::size_t bytes, Stream stream);
void fill_zero(void* device, std::size_t bytes, Stream stream);

}  // namespace semblance::cuda
