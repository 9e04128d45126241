// Digests of bytes: XXH3 with 128 bits. They tell that bytes are those that were written; they are no proof against a
// forger.
#pragma once

#include <cstdint>

#include "cpu/digest.h"
#include "cpu/kernels.h"

namespace moeq::text {
class JsonValue;
class JsonWriter;
} // namespace moeq::text

namespace moeq::store {

struct Digest {
    uint64_t low = 0;
    uint64_t high = 0;
    bool operator==(const Digest& other) const { return low == other.low && high == other.high; }
    bool operator!=(const Digest& other) const { return !(*this == other); }
};
constexpr int64_t kDigestText = 33; // 32 hexadecimal digits and NUL

// By a tier's kernel; the same digest, sooner where there are many bytes.
Digest digest_of(const void* bytes, int64_t count, cpu::DigestRun run = cpu::digest_plain);
// Of a sequence of digests, in this order.
Digest digest_of_all(const Digest* digests, int64_t count);
void print_digest(const Digest& digest, char* out_text);
bool parse_digest(const char* text, int64_t length, Digest* out);
// As a string of JSON. False: the value is no digest.
void write_digest(const Digest& digest, text::JsonWriter& out);
bool read_digest(const text::JsonValue& value, Digest* out);

} // namespace moeq::store
