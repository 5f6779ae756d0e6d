// Stacks to run on and a switch between them, told to AddressSanitizer and ThreadSanitizer.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <new>

#include "races.hpp"

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#define SEMBLANCE_ASAN_FIBERS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SEMBLANCE_ASAN_FIBERS 1
#endif
#endif
#ifdef SEMBLANCE_ASAN_FIBERS
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#if defined(__x86_64__)  // ucontext's switch makes two system calls
asm(R"(
  .text
  .type semblance_switch_stack, @function
semblance_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size semblance_switch_stack, . - semblance_switch_stack
)");
extern "C" void semblance_switch_stack(void** save, void* load);
#endif

namespace semblance::emulated {

// Its lowest page is out of bounds.
class Stack {
 public:
  static constexpr std::size_t kBytes = 1 << 17, kGuard = 1 << 14;
  Stack() : base_(static_cast<std::byte*>(mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, kFlags, -1, 0))) {
    if (base_ == MAP_FAILED || mprotect(base_, kGuard, PROT_NONE) != 0) throw std::bad_alloc();
  }
  ~Stack() { munmap(base_, kBytes); }
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;
  std::byte* bottom() const { return base_ + kGuard; }
  static constexpr std::size_t size() { return kBytes - kGuard; }

 private:
  static constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  std::byte* base_;
};

struct Fiber {
#if defined(__x86_64__)
  void* stack_pointer = nullptr;
#else
  ucontext_t context;
#endif
  const void* bottom = nullptr;  // of its stack; the thread's own is learnt at the first switch
  std::size_t size = 0;
  void* racer = nullptr;  // what ThreadSanitizer knows it as
};

// `entry` must end with leave_fiber.
inline void start_fiber(Fiber& fiber, const Stack& stack, void (*entry)()) {
  fiber.bottom = stack.bottom();
  fiber.size = Stack::size();
#ifdef SEMBLANCE_ASAN_FIBERS
  __asan_unpoison_memory_region(stack.bottom(), Stack::size());  // a fault may have left frames behind
#endif
#if defined(__x86_64__)
  auto* top = reinterpret_cast<std::uintptr_t*>(stack.bottom() + Stack::size());
  top[-2] = reinterpret_cast<std::uintptr_t>(entry);  // a return into it leaves the stack as a call would
  fiber.stack_pointer = top - 8;
#else
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = stack.bottom();
  fiber.context.uc_stack.ss_size = Stack::size();
  makecontext(&fiber.context, entry, 0);
#endif
}

inline Fiber* came_from = nullptr;

// To be called first on a fresh stack, and after every switch.
inline void arrived([[maybe_unused]] void* own_fake_stack) {
#ifdef SEMBLANCE_ASAN_FIBERS
  __sanitizer_finish_switch_fiber(own_fake_stack, &came_from->bottom, &came_from->size);
#endif
}

SEMBLANCE_UNSEEN inline void jump(Fiber& from, Fiber& to) {
  came_from = &from;
  races::become(to.racer);
#if defined(__x86_64__)
  semblance_switch_stack(&from.stack_pointer, to.stack_pointer);
#else
  swapcontext(&from.context, &to.context);
#endif
}

SEMBLANCE_UNSEEN inline void switch_fiber(Fiber& from, Fiber& to) {
  void* fake_stack = nullptr;
#ifdef SEMBLANCE_ASAN_FIBERS
  __sanitizer_start_switch_fiber(&fake_stack, to.bottom, to.size);
#endif
  jump(from, to);
  arrived(fake_stack);
}

[[noreturn]] SEMBLANCE_UNSEEN inline void leave_fiber(Fiber& to) {
  static Fiber gone;
#ifdef SEMBLANCE_ASAN_FIBERS
  __sanitizer_start_switch_fiber(nullptr, to.bottom, to.size);
#endif
  jump(gone, to);
  __builtin_unreachable();
}

}  // namespace semblance::emulated
