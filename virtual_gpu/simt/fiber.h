// A stack and the point where its code stopped. By switching between fibers, many CUDA threads share one OS thread.
#pragma once

#include <cstddef>
#include <cstdint>

#if !defined(__x86_64__) && !defined(SIMT_UCONTEXT)
#define SIMT_UCONTEXT  // portable, about ten times slower: glibc's switch makes system calls
#endif
#ifdef SIMT_UCONTEXT
#include <ucontext.h>
#endif

namespace simt {

class Fiber {
public:
    using Entry = void (*)(Fiber& self);

    Fiber() = default;                       // the stack that the OS thread runs on
    Fiber(size_t stack_bytes, Entry entry);  // throws std::bad_alloc; a guard page lies below the stack
    ~Fiber();
    Fiber(const Fiber&) = delete;

    // Forgets where it stopped: the next switch calls entry, which must never return. Nothing is unwound.
    void reset();
    // Stops the running fiber, `from`, and continues `to`.
    static void switch_to(Fiber& from, Fiber& to);

    bool owns(uintptr_t address) const { return address - uintptr_t(stack_) < bytes_; }

private:
    static void start(Fiber* self);
    static void arrived(Fiber& self, void* fake_stack);

    char* stack_ = nullptr;
    size_t bytes_ = 0;
    Entry entry_ = nullptr;
    Fiber* came_from_ = nullptr;
#ifdef SIMT_UCONTEXT
    ucontext_t context_{};
#else
    void* stack_pointer_ = nullptr;
    size_t colour_ = 0;
#endif
};

}  // namespace simt
