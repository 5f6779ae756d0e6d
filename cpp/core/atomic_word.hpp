// Atomic access to words that live in plain memory (arenas, mapped files). std::atomic_ref says the same, but is
// missing from the standard libraries of still common macOS versions.
#pragma once

namespace semblance {

template <class T>
T load_acquire(const T* word) {
  return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}
template <class T>
void store_release(T* word, T value) {
  __atomic_store_n(word, value, __ATOMIC_RELEASE);
}
template <class T>
void or_release(T* word, T bits) {
  __atomic_fetch_or(word, bits, __ATOMIC_RELEASE);
}
template <class T>
void and_release(T* word, T bits) {
  __atomic_fetch_and(word, bits, __ATOMIC_RELEASE);
}

}  // namespace semblance
