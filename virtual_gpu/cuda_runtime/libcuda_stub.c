/* A libcuda.so.1 whose entry points do nothing and succeed: cuDNN compiles code for a described GPU only where it finds
   one. For tests/cudnn_support_test.cpp, which asks what cuDNN supports and computes nothing. */
#define NOTHING(name) \
    int name(void) { return 0; }
#define GIVES_POINTER(name) \
    int name(void** out) {  \
        *out = (void*)16;   \
        return 0;           \
    }
#define GIVES_INT(name, value) \
    int name(int* out) {       \
        *out = value;          \
        return 0;              \
    }

/* clang-format off: it indents macros that follow each other without semicolons */
NOTHING(cuInit)
NOTHING(cuDeviceGet)
NOTHING(cuDeviceGetCount)
NOTHING(cuDeviceGetAttribute)
NOTHING(cuDevicePrimaryCtxRetain)
NOTHING(cuDevicePrimaryCtxRelease)
NOTHING(cuDevicePrimaryCtxReset)
NOTHING(cuCtxGetCurrent)
NOTHING(cuCtxGetDevice)
NOTHING(cuCtxGetLimit)
NOTHING(cuCtxPushCurrent)
NOTHING(cuCtxPopCurrent)
NOTHING(cuCtxPushCurrent_v2)
NOTHING(cuCtxPopCurrent_v2)
NOTHING(cuStreamGetCtx)
NOTHING(cuStreamGetCtx_v2)
NOTHING(cuStreamSynchronize)
NOTHING(cuLinkCreate)
NOTHING(cuLinkCreate_v2)
NOTHING(cuLinkAddData)
NOTHING(cuLinkAddData_v2)
NOTHING(cuLinkAddFile)
NOTHING(cuLinkAddFile_v2)
NOTHING(cuLinkComplete)
NOTHING(cuLinkDestroy)
NOTHING(cuLibraryUnload)
NOTHING(cuModuleUnload)
NOTHING(cuModuleGetGlobal_v2)
NOTHING(cuKernelSetAttribute)
NOTHING(cuKernelGetAttribute)
NOTHING(cuFuncSetAttribute)
NOTHING(cuFuncGetAttribute)
NOTHING(cuLaunchKernel)
NOTHING(cuLaunchKernelEx)
NOTHING(cuLaunchCooperativeKernel)
NOTHING(cuTensorMapEncodeTiled)
NOTHING(cuMemcpyDtoH_v2)
NOTHING(cuOccupancyMaxActiveBlocksPerMultiprocessor)
GIVES_POINTER(cuLibraryLoadData)
GIVES_POINTER(cuLibraryLoadFromFile)
GIVES_POINTER(cuLibraryGetKernel)
GIVES_POINTER(cuModuleLoadData)
GIVES_POINTER(cuModuleLoadDataEx)
GIVES_POINTER(cuModuleLoadFatBinary)
GIVES_POINTER(cuModuleGetFunction)
GIVES_INT(cuDriverGetVersion, 13000)
GIVES_INT(cuOccupancyMaxPotentialClusterSize, 8)
GIVES_INT(cuOccupancyMaxActiveClusters, 66)
/* clang-format on */

int cuGetErrorString(int error, const char** text) {
    (void)error;
    *text = "none";
    return 0;
}
int cuGetErrorName(int error, const char** text) {
    (void)error;
    *text = "none";
    return 0;
}
/* The runtime inside cuDNN then sees a driver that it cannot use, and leaves it alone. */
int cuGetExportTable(const void** table, const void* id) {
    (void)id;
    *table = 0;
    return 999;
}
