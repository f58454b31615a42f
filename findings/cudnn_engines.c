// What cuDNN's heuristics offer for a 3x3 convolution (64 -> 64 channels, 64 images of 56x56, channels last) with bias
// and ReLU on a GPU that is only described, so that none is needed: one line with the number of engine configurations,
// and how many of them cuDNN must compile at run time.
//   cudnn_engines NAME TYPE BIAS_TYPE STEPS
// Types: half, float. Steps after the convolution, in order: b adds the bias, z adds a residual, r is the ReLU.
// Used by the cudnn_*.sh beside this file.
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cudnn.h>

typedef cudnnBackendDescriptor_t Descriptor;

static void check(cudnnStatus_t status, const char* what) {
    if (status == CUDNN_STATUS_SUCCESS) return;
    fprintf(stderr, "%s: %s\n", what, cudnnGetErrorString(status));
    exit(3);
}

static Descriptor create(cudnnBackendDescriptorType_t type) {
    Descriptor made;
    check(cudnnBackendCreateDescriptor(type, &made), "create");
    return made;
}

static void set(Descriptor to, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
                const void* value) {
    check(cudnnBackendSetAttribute(to, name, type, count, value), "set an attribute");
}

static void refer(Descriptor to, cudnnBackendAttributeName_t name, Descriptor other) {
    set(to, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &other);
}

static Descriptor finalize(Descriptor made) {
    check(cudnnBackendFinalize(made), "finalize");
    return made;
}

static Descriptor tensor(cudnnDataType_t type, int64_t n, int64_t c, int64_t h, int64_t w, bool between) {
    static int64_t id = 0;
    const int64_t size[] = {n, c, h, w}, stride[] = {h * w * c, 1, w * c, c}, alignment = 16;
    Descriptor made = create(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    ++id;
    set(made, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
    set(made, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, size);
    set(made, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, stride);
    set(made, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment);
    set(made, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &id);
    set(made, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &between);
    return finalize(made);
}

static Descriptor pointwise(cudnnPointwiseMode_t mode, Descriptor x, Descriptor added, Descriptor y) {
    const cudnnDataType_t single = CUDNN_DATA_FLOAT;
    Descriptor kind = create(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    set(kind, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
    set(kind, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &single);
    Descriptor made = create(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    refer(made, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, finalize(kind));
    refer(made, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
    if (added) refer(made, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, added);
    refer(made, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
    return finalize(made);
}

static Descriptor convolution(Descriptor x, Descriptor w, Descriptor y) {
    const cudnnDataType_t single = CUDNN_DATA_FLOAT;
    const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    const int64_t dimensions = 2, ones[] = {1, 1};
    const float one = 1, zero = 0;
    Descriptor kind = create(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    set(kind, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &single);
    set(kind, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
    set(kind, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &dimensions);
    set(kind, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, ones);
    set(kind, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, ones);
    set(kind, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, ones);
    set(kind, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, ones);
    Descriptor made = create(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
    refer(made, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, finalize(kind));
    refer(made, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, x);
    refer(made, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, w);
    refer(made, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, y);
    set(made, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_FLOAT, 1, &one);
    set(made, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_FLOAT, 1, &zero);
    return finalize(made);
}

// An NVIDIA H200, in the form that cuDNN reads (9.8 and newer).
static const char kH200[] =
    "{\"deviceName\": \"NVIDIA H200\", \"deviceVer\": 900, \"driverVer\": 13000, \"cudaDeviceId\": 0,"
    " \"pciDeviceId\": 590680286, \"isTccDriver\": 0, \"supportCoopLaunch\": 1, \"totalGlobalMem\": 150754820096,"
    " \"multiProcessorCount\": 132, \"warpSize\": 32, \"maxThreadsPerBlock\": 1024, \"maxThreadsPerSM\": 2048,"
    " \"maxCtasPerSM\": 32, \"maxGridSize\": [2147483647, 65535, 65535], \"maxBlockSize\": [1024, 1024, 64],"
    " \"regsPerBlock\": 65536, \"maxRegistersPerSM\": 65536, \"maxSharedMemoryPerBlock\": 49152,"
    " \"maxSharedMemoryPerBlockOptin\": 232448, \"reservedSharedMemoryPerBlock\": 1024, \"l2CacheSize\": 62914560,"
    " \"smClockRateKHz\": 1980000, \"memClockRateKHz\": 3201000, \"memoryBusWidth\": 6144}";

static Descriptor described_device(void) {
    Descriptor made = create(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
    set(made, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, (int64_t)strlen(kH200), kH200);
    return finalize(made);
}

static bool compiled_at_run_time(Descriptor configuration) {
    Descriptor engine = create(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    cudnnBackendBehaviorNote_t notes[16];
    int64_t count = 0;
    check(cudnnBackendGetAttribute(configuration, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &count,
                                   &engine),
          "read an engine");
    check(
        cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, CUDNN_TYPE_BEHAVIOR_NOTE, 16, &count, notes),
        "read the notes");
    for (int64_t i = 0; i < count; ++i)
        if (notes[i] == CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION) return true;
    return false;
}

int main(int argc, char** argv) {
    if (argc != 5) return 2;
    const cudnnDataType_t single = CUDNN_DATA_FLOAT;
    const cudnnDataType_t type = strcmp(argv[2], "half") ? single : CUDNN_DATA_HALF;
    const cudnnDataType_t bias_type = strcmp(argv[3], "half") ? single : CUDNN_DATA_HALF;
    const char* steps = argv[4];

    const Descriptor device = described_device();
    const Descriptor bias = tensor(bias_type, 1, 64, 1, 1, false), residual = tensor(type, 64, 64, 56, 56, false);
    Descriptor operations[4];
    int64_t count = 0;
    Descriptor last = tensor(single, 64, 64, 56, 56, true);
    operations[count++] = convolution(tensor(type, 64, 64, 56, 56, false), tensor(type, 64, 64, 3, 3, false), last);
    for (const char* step = steps; *step && count < 4; ++step) {
        const Descriptor y = step[1] ? tensor(single, 64, 64, 56, 56, true) : tensor(type, 64, 64, 56, 56, false);
        operations[count++] = *step == 'r' ? pointwise(CUDNN_POINTWISE_RELU_FWD, last, NULL, y)
                                           : pointwise(CUDNN_POINTWISE_ADD, last, *step == 'b' ? bias : residual, y);
        last = y;
    }
    Descriptor graph = create(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    set(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, count, operations);
    finalize(graph);

    const cudnnBackendHeurMode_t mode = CUDNN_HEUR_MODE_A;
    Descriptor heuristics = create(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    refer(heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
    set(heuristics, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
    refer(heuristics, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, device);
    finalize(heuristics);
    enum { kMost = 64 };
    Descriptor found[kMost];
    for (int i = 0; i < kMost; ++i) found[i] = create(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    check(cudnnBackendGetAttribute(heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, kMost,
                                   &count, found),
          "read the results");
    int64_t compiled = 0;
    for (int64_t i = 0; i < count; ++i) compiled += compiled_at_run_time(found[i]);
    printf("%s: %s, %d configurations, %d of them compiled at run time\n", argv[1],
           cudnnGetErrorString(CUDNN_STATUS_SUCCESS), (int)count, (int)compiled);
    return 0;
}
