// The caller's status word: bits are OR-ed in, atomically, as several calls may share one.
#pragma once

#include <atomic>
#include <cstdint>

namespace moeq {

inline void see(uint32_t* status_word, uint32_t bits)
{
    if (status_word != nullptr && bits != 0)
        std::atomic_ref<uint32_t>(*status_word).fetch_or(bits, std::memory_order_relaxed);
}

} // namespace moeq
