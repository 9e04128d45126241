// When results go around the cache, and how that is made known to other threads.
#pragma once

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include <cstdint>

#include "cpu/kernels.h"

namespace moeq::cpu {

// For an output of so many bytes in one call: streamed where the last-level cache could not keep it anyway.
Stores stores_for(int64_t bytes);

// To be called by each thread that streamed, before it reports its task as done.
inline void stream_fence([[maybe_unused]] Stores stores)
{
#if defined(__SSE2__)
    if (stores == kStreamed)
        _mm_sfence();
#endif
}

} // namespace moeq::cpu
