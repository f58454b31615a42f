// A stand-in for the parts of the CUDA runtime that engine/device_cuda.cpp uses, with settings for tests.
//
// Streams are queues of work that is done only when somebody waits for it, so a copy whose source changes too early, or
// a missing dependency between streams, gives wrong numbers in every run. Pageable memory is read at the call, pinned
// memory when the copy is done, as on a GPU. Pinned memory is for all threads, the rest for one. Not extern "C": a
// program may contain this and the real runtime.
//
// A capture takes in every stream that waits for one of its events, and a graph knows which of its parts wait for
// which. VIRTUAL_GPUS in the environment is the number of GPUs of a program that never calls reset(),
// VIRTUAL_GPU_ORDER=early its order of work, VIRTUAL_GPU_DROPS=begin or end the waits that it leaves out.
#pragma once

#include <cstddef>
#include <functional>

enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInsufficientDriver = 35,
    cudaErrorNoDevice = 100,
    cudaErrorNotReady = 600,
    cudaErrorIllegalAddress = 700,
    cudaErrorStreamCaptureUnsupported = 900,
    cudaErrorStreamCaptureInvalidated = 901,
    cudaErrorStreamCaptureUnjoined = 904,
    cudaErrorStreamCaptureIsolation = 905
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2, cudaMemcpyDeviceToDevice = 3 };
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal = 1 };
constexpr unsigned cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2, cudaEventBlockingSync = 1;

struct CUstream_st;
struct FakeEvent;
struct FakeGraph;
using cudaStream_t = CUstream_st*;
using cudaEvent_t = FakeEvent*;
using cudaGraph_t = FakeGraph*;
using cudaGraphExec_t = FakeGraph*;

struct cudaDeviceProp {
    char name[256];
    size_t totalGlobalMem;
    int major, minor;
};

const char* cudaGetErrorString(cudaError_t);
cudaError_t cudaGetLastError();
cudaError_t cudaPeekAtLastError();
cudaError_t cudaDriverGetVersion(int*);
cudaError_t cudaRuntimeGetVersion(int*);
cudaError_t cudaGetDeviceCount(int*);
cudaError_t cudaSetDevice(int);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp*, int);
cudaError_t cudaDeviceGetPCIBusId(char* text, int length, int device);
cudaError_t cudaMemGetInfo(size_t* free, size_t* total);
cudaError_t cudaMalloc(void**, size_t);
cudaError_t cudaFree(void*);
cudaError_t cudaMallocHost(void**, size_t);
cudaError_t cudaFreeHost(void*);
cudaError_t cudaMemcpyAsync(void*, const void*, size_t, cudaMemcpyKind, cudaStream_t);
cudaError_t cudaMemsetAsync(void*, int, size_t, cudaStream_t);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t*, unsigned);
cudaError_t cudaStreamDestroy(cudaStream_t);
cudaError_t cudaStreamSynchronize(cudaStream_t);
cudaError_t cudaStreamQuery(cudaStream_t);
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned);
cudaError_t cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode);
cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t*);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t*, unsigned);
cudaError_t cudaEventDestroy(cudaEvent_t);
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t);
cudaError_t cudaEventSynchronize(cudaEvent_t);
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t stop);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t*, cudaGraph_t, unsigned long long);
cudaError_t cudaGraphLaunch(cudaGraphExec_t, cudaStream_t);
cudaError_t cudaGraphDestroy(cudaGraph_t);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t);

namespace fake_cuda {
struct Settings {
    cudaError_t device = cudaSuccess;  // the result of looking for a GPU
    int driver = 13000;
    int major = 9;
    size_t memory = size_t(1) << 30;
    size_t lost_at_call = size_t(-1);  // from this call on, every call returns cudaErrorIllegalAddress
    bool refuses_capture = false;      // a library in the steps cannot be recorded
    bool no_cudnn = false;
    size_t to_choose = 0;  // convolutions whose engine takes a second to choose
    int gpus = 1;
    // Streams beside the first work as soon as their waits allow it; else as late as they may.
    bool early = false;
    // Leaves out what such streams wait for, or what waits for them: a mistake that tests must notice.
    bool drops_begin = false, drops_end = false;
};
struct Counts {
    size_t calls = 0;        // of any function
    size_t allocations = 0;  // of device and pinned memory
    size_t alive = 0;        // allocations, streams, events, graphs not given back
    size_t max_used = 0;     // bytes of device memory
    size_t graph_launches = 0;
    size_t overlapped_copies = 0;  // to the device, queued while steps were still queued on another stream
};
void reset(const Settings&);
size_t copies_from(const void*);  // to the device, since reset()
Counts counts();
size_t to_choose();  // of the settings, as the next
bool no_cudnn();
void break_gpu(cudaError_t);                        // every later call returns this code
void enqueue(cudaStream_t, std::function<void()>);  // a kernel
size_t number_of(cudaStream_t);                     // in the order in which they were created, from 0
bool is_capturing(cudaStream_t);
}  // namespace fake_cuda
