// A plug-in of another version of moeq.
#include <cstdint>

extern "C" const void* moeq_cuda_backend(uint32_t version, uint32_t* own)
{
    *own = 0x000009; // 0.0.9
    static const char row = 0;
    return version == *own ? &row : nullptr;
}
