// To be preloaded: a busy system that gives no more threads, from the FAIL_FROM-th on, or as soon as FAIL_FILE exists.
#include <dlfcn.h>
#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>

extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*), void* of) {
    static const auto real = reinterpret_cast<decltype(&pthread_create)>(dlsym(RTLD_NEXT, "pthread_create"));
    static std::atomic<int> calls = 0;
    const char *from = std::getenv("FAIL_FROM"), *file = std::getenv("FAIL_FILE");
    if ((from && ++calls >= std::atoi(from)) || (file && access(file, F_OK) == 0)) return EAGAIN;
    return real(thread, attributes, start, of);
}
