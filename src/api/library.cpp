// Facts about the library itself: versions, names of statuses, sizes of structs.
#include <cstring>

#include "moeq.h"

#define MOEQ_TEXT_OF(x) #x
#define MOEQ_TEXT(x) MOEQ_TEXT_OF(x)

extern "C" int32_t moeq_abi_version(void) { return MOEQ_ABI_VERSION; }

extern "C" int32_t moeq_version(void)
{
    return 10000 * MOEQ_VERSION_MAJOR + 100 * MOEQ_VERSION_MINOR + MOEQ_VERSION_PATCH;
}

extern "C" const char* moeq_version_string(void)
{
    return MOEQ_TEXT(MOEQ_VERSION_MAJOR) "." MOEQ_TEXT(MOEQ_VERSION_MINOR) "." MOEQ_TEXT(MOEQ_VERSION_PATCH);
}

extern "C" const char* moeq_status_name(moeq_status status)
{
    switch (status) {
#define MOEQ_NAME(constant) \
    case constant:          \
        return #constant;
        MOEQ_NAME(MOEQ_OK)
        MOEQ_NAME(MOEQ_ERROR_ARGUMENT)
        MOEQ_NAME(MOEQ_ERROR_SHAPE)
        MOEQ_NAME(MOEQ_ERROR_DTYPE)
        MOEQ_NAME(MOEQ_ERROR_LAYOUT)
        MOEQ_NAME(MOEQ_ERROR_DEVICE)
        MOEQ_NAME(MOEQ_ERROR_READ_ONLY)
        MOEQ_NAME(MOEQ_ERROR_RANGE)
        MOEQ_NAME(MOEQ_ERROR_VALUE)
        MOEQ_NAME(MOEQ_ERROR_VERSION)
        MOEQ_NAME(MOEQ_ERROR_STATE)
        MOEQ_NAME(MOEQ_ERROR_DUPLICATE)
        MOEQ_NAME(MOEQ_ERROR_INCOMPLETE)
        MOEQ_NAME(MOEQ_ERROR_NOT_FOUND)
        MOEQ_NAME(MOEQ_ERROR_MISMATCH)
        MOEQ_NAME(MOEQ_ERROR_UNSUPPORTED)
        MOEQ_NAME(MOEQ_ERROR_BACKEND)
        MOEQ_NAME(MOEQ_ERROR_MEMORY)
        MOEQ_NAME(MOEQ_ERROR_DEVICE_MEMORY)
        MOEQ_NAME(MOEQ_ERROR_LIMIT)
        MOEQ_NAME(MOEQ_ERROR_IO)
        MOEQ_NAME(MOEQ_ERROR_FORMAT)
        MOEQ_NAME(MOEQ_ERROR_TRUNCATED)
        MOEQ_NAME(MOEQ_ERROR_DIGEST)
        MOEQ_NAME(MOEQ_ERROR_CALLBACK)
        MOEQ_NAME(MOEQ_ERROR_CANCELLED)
        MOEQ_NAME(MOEQ_ERROR_CUDA)
        MOEQ_NAME(MOEQ_ERROR_CUDA_LOST)
        MOEQ_NAME(MOEQ_ERROR_CUDA_EARLIER)
        MOEQ_NAME(MOEQ_ERROR_CAPTURE)
        MOEQ_NAME(MOEQ_ERROR_FORKED)
        MOEQ_NAME(MOEQ_ERROR_INTERNAL)
#undef MOEQ_NAME
    default:
        return "unknown status";
    }
}

namespace {

struct NamedSize {
    const char* name;
    uint32_t size;
};

// Every public struct, the frozen ones too: bindings compare them all.
#define MOEQ_SIZE(type)     \
    {                       \
#type, sizeof(type) \
    }
constexpr NamedSize kStructs[] = {
    MOEQ_SIZE(moeq_error),
    MOEQ_SIZE(moeq_context_options),
    MOEQ_SIZE(moeq_memory),
    MOEQ_SIZE(moeq_spec),
    MOEQ_SIZE(moeq_component_info),
    MOEQ_SIZE(moeq_component),
    MOEQ_SIZE(moeq_quantize_options),
    MOEQ_SIZE(moeq_qtensor_info),
    MOEQ_SIZE(moeq_region),
    MOEQ_SIZE(moeq_block),
    MOEQ_SIZE(moeq_builder_state),
    MOEQ_SIZE(moeq_reduce_options),
    MOEQ_SIZE(moeq_progress),
    MOEQ_SIZE(moeq_reader_options),
    MOEQ_SIZE(moeq_reader_info),
    MOEQ_SIZE(moeq_tensor_info),
    MOEQ_SIZE(moeq_stack_info),
    MOEQ_SIZE(moeq_load_options),
    MOEQ_SIZE(moeq_writer_options),
    MOEQ_SIZE(moeq_convert_options),
};
#undef MOEQ_SIZE

} // namespace

extern "C" uint32_t moeq_struct_size(const char* name)
{
    if (name == nullptr)
        return 0;
    for (const NamedSize& known : kStructs)
        if (std::strcmp(name, known.name) == 0)
            return known.size;
    return 0;
}
