#include "api/blob.h"

#include <cstring>

struct moeq_blob {
    const moeq_context* context;
    int64_t size;
    char* data() { return reinterpret_cast<char*>(this + 1); }
    const char* data() const { return reinterpret_cast<const char*>(this + 1); }
    uint64_t allocated() const { return sizeof *this + static_cast<uint64_t>(size) + 1; }
};

namespace moeq {

moeq_status blob_create(const moeq_context& context, const void* data, int64_t size, moeq_blob** out, Report& report)
{
    const uint64_t bytes = sizeof(moeq_blob) + static_cast<uint64_t>(size) + 1;
    void* memory = context.allocator.allocate(bytes);
    if (memory == nullptr)
        return report.out_of_memory(bytes);
    auto* blob = ::new (memory) moeq_blob{&context, size};
    if (size != 0)
        std::memcpy(blob->data(), data, static_cast<uint64_t>(size));
    blob->data()[size] = '\0';
    context.retain();
    *out = blob;
    return MOEQ_OK;
}

} // namespace moeq

extern "C" const void* moeq_blob_data(const moeq_blob* blob) { return blob == nullptr ? "" : blob->data(); }

extern "C" int64_t moeq_blob_size(const moeq_blob* blob) { return blob == nullptr ? 0 : blob->size; }

extern "C" void moeq_blob_destroy(moeq_blob* blob)
{
    if (blob == nullptr)
        return;
    const moeq_context* context = blob->context;
    context->allocator.free(blob, blob->allocated());
    context->release();
}
