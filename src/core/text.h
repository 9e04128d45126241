// Builds short texts into a fixed buffer: no allocation, no locale, no format strings. What does not fit is cut, and the
// text always ends with NUL.
#pragma once

#include <cstdint>
#include <cstring>

namespace moeq {

constexpr char kHexDigits[] = "0123456789abcdef";

// Whether text[0, length) ends with `end`.
inline bool ends_with(const char* text, int64_t length, const char* end)
{
    const int64_t tail = static_cast<int64_t>(std::strlen(end));
    return length >= tail && std::memcmp(text + length - tail, end, static_cast<uint64_t>(tail)) == 0;
}
inline bool ends_with(const char* text, const char* end)
{
    return ends_with(text, static_cast<int64_t>(std::strlen(text)), end);
}

class Text {
public:
    Text(char* buffer, uint64_t capacity) : begin_(buffer), next_(buffer), last_(buffer + capacity - 1)
    {
        *next_ = '\0';
    }

    Text& add(const char* text) { return add(text, std::strlen(text)); }
    Text& add(const char* text, uint64_t length)
    {
        const uint64_t room = static_cast<uint64_t>(last_ - next_);
        const uint64_t count = length < room ? length : room;
        std::memcpy(next_, text, count);
        next_ += count;
        *next_ = '\0';
        return *this;
    }
    Text& add(char character) { return add(&character, 1); }
    Text& add(int64_t value);
    Text& add(int32_t value) { return add(static_cast<int64_t>(value)); }
    Text& add(uint32_t value) { return add(static_cast<int64_t>(value)); }
    // With zeros in front, where it has fewer digits; not negative.
    Text& add_padded(int64_t value, int32_t digits);
    Text& add_hex(uint64_t value);
    // Text from outside: control characters, quotes, backslashes and non-ASCII bytes are escaped, and it is cut at 96 bytes.
    Text& add_quoted(const char* text);
    // "[2, 3, 64]"
    Text& add_shape(int32_t ndim, const int64_t* shape);

    const char* c_str() const { return begin_; }
    uint64_t size() const { return static_cast<uint64_t>(next_ - begin_); }

private:
    char* begin_;
    char* next_;
    char* last_;
};

} // namespace moeq
