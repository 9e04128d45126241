#include "store/container/digest.h"

#include "core/text.h"
#include "text/json.h"

namespace moeq::store {

namespace {

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

Digest digest_of(const void* bytes, int64_t count, cpu::DigestRun run)
{
    uint64_t halves[2];
    run(bytes, count, halves);
    return {halves[0], halves[1]};
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

void write_digest(const Digest& digest, text::JsonWriter& out)
{
    char text[kDigestText];
    print_digest(digest, text);
    out.string(text);
}

bool read_digest(const text::JsonValue& value, Digest* out) { return parse_digest(value.text(), value.length(), out); }

} // namespace moeq::store
