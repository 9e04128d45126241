// The digest of a file of the container: of its header, then of each entry in file order, each cut from its begin into pieces
// of one length, so that parts that are written in any order, by any threads, can be digested as they pass.
#pragma once

#include "core/checked.h"
#include "store/container/digest.h"

namespace moeq::store {

// Stays in a core's cache between digesting and writing. A piece costs 16 bytes of memory until the file is complete.
constexpr int64_t kDigestBytes = 256 << 10;

constexpr int64_t digest_count(int64_t bytes) { return ceil_divide(bytes, kDigestBytes); }

} // namespace moeq::store
