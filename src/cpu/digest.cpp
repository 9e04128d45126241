// Digests with what every processor of this kind has.
#include "cpu/digest.h"

#include "cpu/xxh3.h"

namespace moeq::cpu {

void digest_plain(const void* bytes, int64_t count, uint64_t* out) { digest_run(bytes, count, out); }

} // namespace moeq::cpu
