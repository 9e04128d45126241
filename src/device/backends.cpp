#include "device/backends.h"

#include <dlfcn.h>

#include <pthread.h>

#include <cstdlib>

#include "device/host_backend.h"

namespace moeq {

namespace {

constexpr const char* kCudaLibrary = "libmoeq_cuda.so.1";
constexpr int kOpenFlags = RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE;

// What the search for the plug-in found: once, and for good.
struct Search {
    pthread_once_t once = PTHREAD_ONCE_INIT;
    const Backend* backend = nullptr;
    char reason[256] = "";
};

constinit Search cuda;

// Also takes what dlopen left for the next dlerror of the caller's.
const char* dlopen_said()
{
    const char* said = dlerror();
    return said != nullptr ? said : "no reason given";
}

// MOEQ_CUDA_LIBRARY alone where it is set; else beside this library, then where the loader looks.
void* open_plugin(Text& why)
{
    const char* given = std::getenv("MOEQ_CUDA_LIBRARY");
    if (given != nullptr && given[0] != '\0') {
        void* library = dlopen(given, kOpenFlags);
        if (library == nullptr)
            why.add("MOEQ_CUDA_LIBRARY: ").add(dlopen_said());
        return library;
    }
    Dl_info self{};
    char path[4096];
    Text beside(path, sizeof path);
    if (dladdr(&cuda, &self) != 0 && self.dli_fname != nullptr) {
        const char* slash = std::strrchr(self.dli_fname, '/');
        if (slash != nullptr)
            beside.add(self.dli_fname, static_cast<uint64_t>(slash + 1 - self.dli_fname)).add(kCudaLibrary);
    }
    if (beside.size() != 0)
        if (void* library = dlopen(beside.c_str(), kOpenFlags))
            return library;
    void* library = dlopen(kCudaLibrary, kOpenFlags);
    if (library == nullptr)
        why.add("nothing beside libmoeq.so, and ").add(dlopen_said());
    return library;
}

void shake_hands(void* library, Text& why)
{
    BackendFunction function = nullptr;
    void* symbol = dlsym(library, kCudaBackendSymbol);
    std::memcpy(&function, &symbol, sizeof function);
    if (function == nullptr) {
        static_cast<void>(dlopen_said());
        why.add("what was found as ").add(kCudaLibrary).add(" has no ").add(kCudaBackendSymbol);
        return;
    }
    uint32_t own = 0;
    const Backend* found = function(kBackendVersion, &own);
    const Backend& host = kHostBackend;
    if (found == nullptr)
        why.add("the plug-in is of version ")
            .add(own >> 16)
            .add('.')
            .add(own >> 8 & 0xFF)
            .add('.')
            .add(own & 0xFF)
            .add(", this library ")
            .add(moeq_version_string());
    else if (found->version != host.version || found->backend_bytes != host.backend_bytes ||
             found->call_bytes != host.call_bytes || found->weight_bytes != host.weight_bytes ||
             found->plan_bytes != host.plan_bytes)
        why.add("the plug-in is of another build of ").add(moeq_version_string());
    else
        cuda.backend = found;
}

void look()
{
    Text why(cuda.reason, sizeof cuda.reason);
    if (void* library = open_plugin(why))
        shake_hands(library, why);
}

} // namespace

const char* why_no_cuda()
{
    pthread_once(&cuda.once, look);
    return cuda.backend != nullptr ? nullptr : cuda.reason;
}

moeq_status find_backend(const Device& device, const Argument& argument, const Backend** out, Report& report)
{
    if (device.on_host()) {
        *out = &kHostBackend;
        return MOEQ_OK;
    }
    if (const char* reason = why_no_cuda())
        return report.fail(MOEQ_ERROR_BACKEND, argument)
               << "got CUDA device " << device.id << "; want host memory: there is no CUDA backend, " << reason;
    MOEQ_TRY(cuda.backend->open_device(device, report));
    *out = cuda.backend;
    return MOEQ_OK;
}

} // namespace moeq
