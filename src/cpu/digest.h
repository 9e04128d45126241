// XXH3-128 without a tier's instructions; a DigestRun.
#pragma once

#include <cstdint>

namespace moeq::cpu {

void digest_plain(const void* bytes, int64_t count, uint64_t* out);

} // namespace moeq::cpu
