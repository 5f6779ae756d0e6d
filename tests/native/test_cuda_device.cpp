// Cards, streams and memory: what is called on which card and who waits, as the emulated runtime writes it down.
#include <string>
#include <thread>
#include <vector>

#include "check.hpp"
#include "cuda/device.cu"

using namespace semblance;
using namespace semblance::cuda;

namespace {

Stream stream_at(std::uintptr_t address) { return reinterpret_cast<Stream>(address); }

template <class F>
std::vector<emulated::Call> calls_of(F&& work) {
  emulated::calls.start();
  work();
  return emulated::calls.take();
}

void check_guards() {
  {
    const DeviceGuard guard(1);
    CHECK(device_number() == 1);
    const DeviceGuard inner(2);
    CHECK(device_number() == 2);
    std::thread([] { CHECK(device_number() == 0); }).join();  // another thread has its own
  }
  CHECK(device_number() == 0);
  try {
    const DeviceGuard none(3);
    CHECK(false);
  } catch (const Failure&) {
    CHECK(device_number() == 0);
  }
}

// Taken and given back on the card that was current when it was made; what is freed is kept once for each card.
void check_memory() {
  const std::vector<emulated::Call> calls = calls_of([] {
    std::vector<Memory> all;
    for (const int card : {0, 2, 0}) {
      const DeviceGuard guard(card);
      all.emplace_back(64, stream_at(80));
      CHECK(all.back().device() == card);
    }
    Memory moved;
    moved = std::move(all[1]);
    CHECK(moved.device() == 2);
  });
  std::vector<std::pair<std::string, int>> made;
  for (const emulated::Call& call : calls) made.emplace_back(call.name, call.card);
  CHECK((made == std::vector<std::pair<std::string, int>>{{"pool", 0},
                                                          {"malloc_async", 0},
                                                          {"pool", 2},
                                                          {"malloc_async", 2},
                                                          {"malloc_async", 0},
                                                          {"free_async", 2},
                                                          {"free_async", 0},
                                                          {"free_async", 0}}));
}

void check_places() {
  const DeviceGuard guard(1);
  std::vector<float> pageable(8), pinned(8);
  const Memory there(64);
  CHECK(cudaHostRegister(pinned.data(), 32, cudaHostRegisterDefault) == cudaSuccess);
  CHECK(place_of(there.data() + 63).device == 1 && !place_of(there.data()).pinned);
  CHECK(place_of(pageable.data()).device == -1 && !place_of(pageable.data()).pinned);
  CHECK(place_of(pinned.data() + 7).device == -1 && place_of(pinned.data() + 7).pinned);
  CHECK(place_of(nullptr).device == -1);
  CHECK(cudaHostUnregister(pinned.data()) == cudaSuccess);
}

void check_order() {
  CHECK(calls_of([] { follow(stream_at(80), stream_at(80)); }).empty());
  const std::vector<emulated::Call> calls = calls_of([] { follow(stream_at(80), nullptr); });
  CHECK(calls.size() == 1 && calls[0].name == std::string("wait"));
  CHECK(calls[0].stream == stream_at(80) && calls[0].other == nullptr);
}

}  // namespace

int main() {
  emulated::cards = 3;
  check_guards();
  check_memory();
  check_places();
  check_order();
  return 0;
}
