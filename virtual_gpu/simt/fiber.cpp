// Fibers: mapped stacks, the switch in assembler or by ucontext, and what AddressSanitizer has to be told.
#include "fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <new>

#include "asan.h"

#ifndef SIMT_UCONTEXT
// Saves what the System V ABI calls callee-saved, swaps stacks, returns into the other fiber. The trampoline is where a
// new fiber starts: r12 = the fiber, r13 = start(). Its caller is undefined, which ends backtraces.
extern "C" void simt_fiber_switch(void** save_stack_pointer, void* load_stack_pointer);
extern "C" void simt_fiber_trampoline();
asm(R"(
.text
.type simt_fiber_switch,@function
simt_fiber_switch:
  .cfi_startproc
  pushq %rbp
  .cfi_adjust_cfa_offset 8
  pushq %rbx
  .cfi_adjust_cfa_offset 8
  pushq %r12
  .cfi_adjust_cfa_offset 8
  pushq %r13
  .cfi_adjust_cfa_offset 8
  pushq %r14
  .cfi_adjust_cfa_offset 8
  pushq %r15
  .cfi_adjust_cfa_offset 8
  movq %rsp,(%rdi)
  movq %rsi,%rsp
  popq %r15
  .cfi_adjust_cfa_offset -8
  popq %r14
  .cfi_adjust_cfa_offset -8
  popq %r13
  .cfi_adjust_cfa_offset -8
  popq %r12
  .cfi_adjust_cfa_offset -8
  popq %rbx
  .cfi_adjust_cfa_offset -8
  popq %rbp
  .cfi_adjust_cfa_offset -8
  ret
  .cfi_endproc
.size simt_fiber_switch,.-simt_fiber_switch
.type simt_fiber_trampoline,@function
simt_fiber_trampoline:
  .cfi_startproc
  .cfi_undefined rip
  movq %r12,%rdi
  call *%r13
  ud2
  .cfi_endproc
.size simt_fiber_trampoline,.-simt_fiber_trampoline
)");
#endif

namespace simt {
namespace {
const size_t kPage = size_t(sysconf(_SC_PAGESIZE));  // 4 KiB; on Arm also 16 or 64
}

Fiber::Fiber(size_t stack_bytes, Entry entry) : bytes_((stack_bytes + kPage - 1) / kPage * kPage), entry_(entry) {
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void* memory = mmap(nullptr, bytes_ + kPage, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    mprotect(memory, kPage, PROT_NONE);
    stack_ = static_cast<char*>(memory) + kPage;
#ifndef SIMT_UCONTEXT
    static std::atomic<size_t> count = 0;
    colour_ = count++ % 16 * 192;  // stacks that begin at the same page offset would fight for the same cache sets
#endif
    reset();
}

Fiber::~Fiber() {
    if (!entry_) return;
    ASAN_UNPOISON_MEMORY_REGION(stack_, bytes_);
    munmap(stack_ - kPage, bytes_ + kPage);
}

void Fiber::reset() {
    ASAN_UNPOISON_MEMORY_REGION(stack_, bytes_);
#ifdef SIMT_UCONTEXT
    getcontext(&context_);
    context_.uc_stack.ss_sp = stack_;
    context_.uc_stack.ss_size = bytes_;
    context_.uc_link = nullptr;
    const auto call = [](unsigned low, unsigned high) {  // makecontext passes nothing but int
        start(reinterpret_cast<Fiber*>(uintptr_t(low) | uintptr_t(high) << 16 << 16));
    };
    const auto self = reinterpret_cast<uintptr_t>(this);
    void (*const function)(unsigned, unsigned) = call;
    makecontext(&context_, reinterpret_cast<void (*)()>(function), 2, unsigned(self), unsigned(self >> 16 >> 16));
#else
    // The stack as simt_fiber_switch leaves it. It must be aligned to 16 at the trampoline's call, or movaps faults.
    auto** top = reinterpret_cast<void**>(reinterpret_cast<uintptr_t>(stack_ + bytes_ - colour_) & ~uintptr_t(63));
    *--top = reinterpret_cast<void*>(&simt_fiber_trampoline);
    *--top = nullptr;                          // rbp
    *--top = nullptr;                          // rbx
    *--top = this;                             // r12
    *--top = reinterpret_cast<void*>(&start);  // r13
    *--top = nullptr;                          // r14
    *--top = nullptr;                          // r15
    stack_pointer_ = top;
#endif
}

void Fiber::switch_to(Fiber& from, Fiber& to) {
    to.came_from_ = &from;
    void* fake_stack = nullptr;
#ifdef SIMT_ASAN
    __sanitizer_start_switch_fiber(&fake_stack, to.stack_, to.bytes_);
#endif
#ifdef SIMT_UCONTEXT
    swapcontext(&from.context_, &to.context_);
#else
    simt_fiber_switch(&from.stack_pointer_, to.stack_pointer_);
#endif
    arrived(from, fake_stack);
}

void Fiber::start(Fiber* self) {
    arrived(*self, nullptr);
    self->entry_(*self);
}

// The bounds of the OS thread's own stack are only known here, when its first switch has been made.
void Fiber::arrived([[maybe_unused]] Fiber& self, [[maybe_unused]] void* fake_stack) {
#ifdef SIMT_ASAN
    const void* bottom = nullptr;
    size_t bytes = 0;
    __sanitizer_finish_switch_fiber(fake_stack, &bottom, &bytes);
    Fiber& other = *self.came_from_;
    if (!other.entry_) other.stack_ = const_cast<char*>(static_cast<const char*>(bottom)), other.bytes_ = bytes;
#endif
}

}  // namespace simt
