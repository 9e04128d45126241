#include "core/text.h"

namespace moeq {

namespace {

constexpr uint64_t kQuotedLimit = 96;

} // namespace

Text& Text::add(int64_t value)
{
    char digits[20];
    uint64_t count = 0;
    uint64_t rest = value < 0 ? 0 - static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
    do {
        digits[count++] = static_cast<char>('0' + rest % 10);
        rest /= 10;
    } while (rest != 0);
    if (value < 0)
        add('-');
    while (count != 0)
        add(digits[--count]);
    return *this;
}

Text& Text::add_padded(int64_t value, int32_t digits)
{
    int64_t rest = value;
    for (int32_t i = 1; i < digits; ++i) {
        rest /= 10;
        if (rest == 0)
            add('0');
    }
    return add(value);
}

Text& Text::add_hex(uint64_t value)
{
    add("0x", 2);
    int shift = 60;
    while (shift > 0 && (value >> shift) == 0)
        shift -= 4;
    for (; shift >= 0; shift -= 4)
        add(kHexDigits[(value >> shift) & 15]);
    return *this;
}

Text& Text::add_quoted(const char* text)
{
    add('"');
    for (uint64_t i = 0; text[i] != '\0'; ++i) {
        if (i == kQuotedLimit) {
            add("...");
            break;
        }
        const unsigned char byte = static_cast<unsigned char>(text[i]);
        if (byte >= 0x20 && byte < 0x7F && byte != '"' && byte != '\\') {
            add(static_cast<char>(byte));
        } else {
            const char escaped[4] = {'\\', 'x', kHexDigits[byte >> 4], kHexDigits[byte & 15]};
            add(escaped, 4);
        }
    }
    return add('"');
}

Text& Text::add_shape(int32_t ndim, const int64_t* shape)
{
    add('[');
    for (int32_t i = 0; i < ndim; ++i) {
        if (i != 0)
            add(", ");
        add(shape[i]);
    }
    return add(']');
}

} // namespace moeq
