#include "store/container/digest.h"

#include <cstddef>

// All of the package's code in this file alone, of which only the one-shot functions are used: they need no memory.
#define XXH_INLINE_ALL
#define XXH_NO_STREAM
#define XXH_NO_STDLIB
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#include <xxhash.h>
#pragma GCC diagnostic pop

namespace moeq {

namespace {

constexpr char kHexDigits[] = "0123456789abcdef";

void store_big_endian(uint64_t value, unsigned char* out)
{
    for (int i = 0; i < 8; ++i)
        out[i] = static_cast<unsigned char>(value >> (56 - 8 * i));
}

uint64_t load_big_endian(const unsigned char* bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < 8; ++i)
        value = value << 8 | bytes[i];
    return value;
}

int32_t hex_value(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

} // namespace

Digest digest_of(const void* bytes, int64_t count)
{
    const XXH128_hash_t hash = XXH3_128bits(bytes, static_cast<size_t>(count));
    return {hash.low64, hash.high64};
}

Digest digest_of_all(const Digest* digests, int64_t count)
{
    // A chain, so that it needs no memory whatever the count: each link takes in the digest so far, a digest, and its
    // place.
    Digest chain;
    for (int64_t i = 0; i < count; ++i) {
        unsigned char link[40];
        store_big_endian(chain.high, link);
        store_big_endian(chain.low, link + 8);
        store_big_endian(digests[i].high, link + 16);
        store_big_endian(digests[i].low, link + 24);
        store_big_endian(static_cast<uint64_t>(i), link + 32);
        chain = digest_of(link, sizeof link);
    }
    return chain;
}

// As xxhsum prints it: the high half first.
void print_digest(const Digest& digest, char* out_text)
{
    unsigned char bytes[16];
    store_big_endian(digest.high, bytes);
    store_big_endian(digest.low, bytes + 8);
    for (int i = 0; i < 16; ++i) {
        out_text[2 * i] = kHexDigits[bytes[i] >> 4];
        out_text[2 * i + 1] = kHexDigits[bytes[i] & 15];
    }
    out_text[32] = '\0';
}

bool parse_digest(const char* text, int64_t length, Digest* out)
{
    if (length != kDigestText - 1)
        return false;
    unsigned char bytes[16];
    for (int i = 0; i < 16; ++i) {
        const int32_t high = hex_value(text[2 * i]);
        const int32_t low = hex_value(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        bytes[i] = static_cast<unsigned char>(high << 4 | low);
    }
    out->high = load_big_endian(bytes);
    out->low = load_big_endian(bytes + 8);
    return true;
}

} // namespace moeq
