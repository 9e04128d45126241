// The digest of bytes, XXH3-128 of the package xxHash, for the instructions that the including file is compiled for: to be
// included by one file of each tier.
#pragma once

#include <cstddef>
#include <cstdint>

// Everything static, and only the one-shot functions, which need no memory.
#define XXH_INLINE_ALL
#define XXH_NO_STREAM
#define XXH_NO_STDLIB
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#include <xxhash.h>
#pragma GCC diagnostic pop

namespace moeq::cpu {

namespace {

void digest_run(const void* bytes, int64_t count, uint64_t* out)
{
    const XXH128_hash_t hash = XXH3_128bits(bytes, static_cast<size_t>(count));
    out[0] = hash.low64;
    out[1] = hash.high64;
}

} // namespace

} // namespace moeq::cpu
