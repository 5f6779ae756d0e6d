// What ThreadSanitizer is told of an emulated block, so that it finds the races a card would have: each of the block's
// threads is one of ThreadSanitizer's, and only what orders memory on a card orders it here: barriers and __syncwarp,
// not shuffles, votes or products. Built with -fsanitize=thread; nothing otherwise.
//
// Blocks count as one after the other, since their static __shared__ is the same memory here.
#pragma once

#include <cstddef>
#include <type_traits>

#if defined(__SANITIZE_THREAD__)
#define SEMBLANCE_TSAN_FIBERS 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SEMBLANCE_TSAN_FIBERS 1
#endif
#endif

#ifdef SEMBLANCE_TSAN_FIBERS
#include <sanitizer/tsan_interface.h>

// Of the sanitizer's library, but in no header of it.
extern "C" {
void __tsan_read_range(void* at, long bytes);
void __tsan_write_range(void* at, long bytes);
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}

#define SEMBLANCE_UNSEEN __attribute__((no_sanitize("thread"), noinline))

namespace semblance::emulated::races {

inline constexpr bool kTold = true;

// What the emulator itself reads and writes is no kernel's doing.
class Unseen {
 public:
  Unseen() {
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
  }
  ~Unseen() {
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
  }
  Unseen(const Unseen&) = delete;
  Unseen& operator=(const Unseen&) = delete;
};

// Who observes a place has before it all that came before others published there.
inline void publish(const void* place) { __tsan_release(const_cast<void*>(place)); }
inline void observe(const void* place) { __tsan_acquire(const_cast<void*>(place)); }

inline void reads(const void* p, std::size_t bytes) {
  __tsan_read_range(const_cast<void*>(p), static_cast<long>(bytes));
}
inline void writes(void* p, std::size_t bytes) { __tsan_write_range(p, static_cast<long>(bytes)); }

inline void* this_thread() { return __tsan_get_current_fiber(); }
inline void* new_thread() { return __tsan_create_fiber(0); }
constexpr unsigned kOrdersNothing = 1;
SEMBLANCE_UNSEEN inline void become(void* thread) { __tsan_switch_to_fiber(thread, kOrdersNothing); }

template <class T>
std::remove_const_t<T> load(T* at) {
  std::remove_const_t<T> value;
  __atomic_load(at, &value, __ATOMIC_RELAXED);
  return value;
}
template <class T>
void store(T* at, T value) {
  __atomic_store(at, &value, __ATOMIC_RELAXED);
}

}  // namespace semblance::emulated::races

#else
#define SEMBLANCE_UNSEEN

namespace semblance::emulated::races {

inline constexpr bool kTold = false;

struct Unseen {
  Unseen() {}  // not trivial, as the real one
};
inline void publish(const void*) {}
inline void observe(const void*) {}
inline void reads(const void*, std::size_t) {}
inline void writes(void*, std::size_t) {}
inline void* this_thread() { return nullptr; }
inline void* new_thread() { return nullptr; }
inline void become(void*) {}
template <class T>
std::remove_const_t<T> load(T* at) {
  return *at;
}
template <class T>
void store(T* at, T value) {
  *at = value;
}

}  // namespace semblance::emulated::races
#endif
