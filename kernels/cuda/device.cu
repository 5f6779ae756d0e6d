// The card itself: whether there is one, its memory, copies.
#include <mutex>
#include <set>
#include <utility>

#include "check.cuh"

namespace semblance::cuda {

namespace {

constexpr int kOldestMajor = 8;  // sm_80: what the kernels are compiled for at least

cudaDeviceProp properties() {
  cudaDeviceProp found;
  check(cudaGetDeviceProperties(&found, device_number()), "cudaGetDeviceProperties");
  return found;
}

std::string memory_of(std::size_t bytes) { return "device memory of " + std::to_string(bytes) + " bytes"; }

constexpr std::uint64_t kKeptBytes = std::uint64_t{1} << 30;

// Workspaces of one call are taken again by the next: without this the driver would unmap them whenever a stream idles.
void keep_freed_memory(int device) {
  static std::mutex mutex;
  static std::set<int> kept;
  const std::lock_guard lock(mutex);
  if (kept.contains(device)) return;
  cudaMemPool_t pool = nullptr;
  std::uint64_t bytes = kKeptBytes;
  check(cudaDeviceGetDefaultMemPool(&pool, device), "cudaDeviceGetDefaultMemPool");
  check(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &bytes), "cudaMemPoolSetAttribute");
  kept.insert(device);
}

struct Event {
  cudaEvent_t handle = nullptr;
  Event() { check(cudaEventCreateWithFlags(&handle, cudaEventDisableTiming), "cudaEventCreate"); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event() { static_cast<void>(cudaEventDestroy(handle)); }  // what waits for it still does
};

}  // namespace

std::string missing() {
  int devices = 0;
  const cudaError_t error = cudaGetDeviceCount(&devices);
  if (error != cudaSuccess) {
    static_cast<void>(cudaGetLastError());
    return std::string("the CUDA driver says: ") + cudaGetErrorString(error);
  }
  if (devices == 0) return "the CUDA driver finds no device";
  try {
    const cudaDeviceProp card = properties();
    if (card.major < kOldestMajor)
      return std::string(card.name) + " has compute capability " + std::to_string(card.major) + "." +
             std::to_string(card.minor) + ", 8.0 or later is needed";
  } catch (const Failure& failure) {
    return failure.what();
  }
  return "";
}

Device device() {
  const cudaDeviceProp card = properties();
  Device out{card.name, card.major, card.minor, card.multiProcessorCount, 0, 0};
  check(cudaMemGetInfo(&out.free_memory, &out.memory), "cudaMemGetInfo");
  return out;
}

int device_number() {
  int current = 0;
  check(cudaGetDevice(&current), "cudaGetDevice");
  return current;
}

DeviceGuard::DeviceGuard(int device) : before_(device_number()), device_(device) {
  if (device_ != before_) check(cudaSetDevice(device_), "cudaSetDevice");
}

DeviceGuard::~DeviceGuard() {
  if (device_ != before_) static_cast<void>(cudaSetDevice(before_));
}

Place place_of(const void* address) {
  cudaPointerAttributes found{};
  if (address == nullptr) return {};
  check(cudaPointerGetAttributes(&found, address), "cudaPointerGetAttributes");
  if (found.type == cudaMemoryTypeDevice) return {found.device, false};
  return {-1, found.type != cudaMemoryTypeUnregistered};
}

bool is_emulated() {
#ifdef __CUDACC__
  return false;
#else
  return true;
#endif
}

void synchronize(Stream stream) { check(cudaStreamSynchronize(stream_of(stream)), "cudaStreamSynchronize"); }

void follow(Stream stream, Stream other) {
  if (stream == other) return;
  const Event event;
  check(cudaEventRecord(event.handle, stream_of(other)), "cudaEventRecord");
  check(cudaStreamWaitEvent(stream_of(stream), event.handle, 0), "cudaStreamWaitEvent");
}

Memory::Memory(std::size_t bytes) : bytes_(bytes), device_(device_number()) {
  void* address = nullptr;
  if (bytes > 0) check(cudaMalloc(&address, bytes), memory_of(bytes).c_str());
  data_ = static_cast<std::byte*>(address);
}

Memory::Memory(std::size_t bytes, Stream stream)
    : bytes_(bytes), device_(device_number()), stream_(stream), ordered_(true) {
  keep_freed_memory(device_);
  void* address = nullptr;
  if (bytes > 0) check(cudaMallocAsync(&address, bytes, stream_of(stream)), memory_of(bytes).c_str());
  data_ = static_cast<std::byte*>(address);
}

Memory& Memory::operator=(Memory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(device_, other.device_);
  std::swap(stream_, other.stream_);
  std::swap(ordered_, other.ordered_);
  return *this;
}

// Errors of work before it come up here as well; whoever waits for that work is told.
Memory::~Memory() {
  if (data_ == nullptr) return;
  if (!ordered_) {
    static_cast<void>(cudaFree(data_));
    return;
  }
  try {
    const DeviceGuard guard(device_);  // the default stream is the current card's
    static_cast<void>(cudaFreeAsync(data_, stream_of(stream_)));
  } catch (const Failure&) {  // at the end of the process the driver may be gone, and all memory with it
  }
}

void copy(void* to, const void* from, std::size_t bytes, Stream stream) {
  if (bytes > 0) check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream_of(stream)), "cudaMemcpyAsync");
}

void fill_zero(void* device, std::size_t bytes, Stream stream) {
  if (bytes > 0) check(cudaMemsetAsync(device, 0, bytes, stream_of(stream)), "cudaMemsetAsync");
}

}  // namespace semblance::cuda
