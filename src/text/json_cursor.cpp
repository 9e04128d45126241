// The tokenizer: bytes that RFC 8259 does not allow end here.
#include <cstring>

#include "text/json.h"

namespace moeq::text {

namespace {

bool is_space(char byte) { return byte == ' ' || byte == '\n' || byte == '\t' || byte == '\r'; }
bool is_digit(char byte) { return byte >= '0' && byte <= '9'; }

// -1: no hexadecimal digit.
int32_t hex_value(char byte)
{
    if (is_digit(byte))
        return byte - '0';
    const char lower = static_cast<char>(byte | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

// Of four checked hexadecimal digits.
uint32_t hex4(const char* digits)
{
    uint32_t value = 0;
    for (int i = 0; i < 4; ++i)
        value = value << 4 | static_cast<uint32_t>(hex_value(digits[i]));
    return value;
}

char* put_utf8(uint32_t point, char* out)
{
    const auto tail = [&](uint32_t shift) { *out++ = static_cast<char>(0x80 | (point >> shift & 0x3F)); };
    if (point < 0x80) {
        *out++ = static_cast<char>(point);
    } else if (point < 0x800) {
        *out++ = static_cast<char>(0xC0 | point >> 6);
        tail(0);
    } else if (point < 0x10000) {
        *out++ = static_cast<char>(0xE0 | point >> 12);
        tail(6);
        tail(0);
    } else {
        *out++ = static_cast<char>(0xF0 | point >> 18);
        tail(12);
        tail(6);
        tail(0);
    }
    return out;
}

// Of checked text; out may be text, as nothing grows. The length.
int64_t unescape(const char* text, int64_t length, char* out)
{
    const char* const end = text + length;
    char* next = out;
    while (text != end) {
        if (*text != '\\') {
            *next++ = *text++;
            continue;
        }
        const char kind = text[1];
        text += 2;
        switch (kind) {
        case 'b':
            *next++ = '\b';
            break;
        case 'f':
            *next++ = '\f';
            break;
        case 'n':
            *next++ = '\n';
            break;
        case 'r':
            *next++ = '\r';
            break;
        case 't':
            *next++ = '\t';
            break;
        case 'u': {
            uint32_t point = hex4(text);
            text += 4;
            if (point >= 0xD800 && point < 0xDC00) { // a pair, as was checked
                point = 0x10000 + ((point - 0xD800) << 10) + (hex4(text + 2) - 0xDC00);
                text += 6;
            }
            next = put_utf8(point, next);
            break;
        }
        default:
            *next++ = kind; // quote, backslash, slash
        }
    }
    return next - out;
}

} // namespace

Failure JsonCursor::fail(const char* class_id, int64_t at) const
{
    Failure failure = report_.fail(MOEQ_ERROR_FORMAT);
    report_.set_class(class_id);
    failure << rules_.what << ": at byte " << at << ": ";
    return failure;
}

void JsonCursor::skip_space()
{
    while (at_ < size_ && is_space(text_[at_]))
        ++at_;
}

moeq_status JsonCursor::expected(const char* wanted)
{
    Failure failure = fail("F12", at_);
    if (at_ >= size_) {
        failure << "got the end of the text";
    } else {
        const char found[2] = {text_[at_], '\0'};
        failure << "got ";
        if (found[0] == '\0')
            failure << "a NUL byte";
        else
            failure.quoted(found);
    }
    return failure << "; want " << wanted;
}

moeq_status JsonCursor::peek(JsonKind* out)
{
    skip_space();
    switch (at_ < size_ ? text_[at_] : '\0') {
    case '{':
        *out = JsonKind::kObject;
        return MOEQ_OK;
    case '[':
        *out = JsonKind::kArray;
        return MOEQ_OK;
    case '"':
        *out = JsonKind::kString;
        return MOEQ_OK;
    case 't':
        *out = JsonKind::kTrue;
        return MOEQ_OK;
    case 'f':
        *out = JsonKind::kFalse;
        return MOEQ_OK;
    case 'n':
        *out = JsonKind::kNull;
        return MOEQ_OK;
    default:
        break;
    }
    const char first = at_ < size_ ? text_[at_] : '\0';
    if (first != '-' && !is_digit(first) && !(rules_.python_words && (first == 'N' || first == 'I')))
        return expected("a value");
    *out = JsonKind::kInteger;
    return MOEQ_OK;
}

moeq_status JsonCursor::enter(JsonKind kind, bool* out_empty)
{
    const bool object = kind == JsonKind::kObject;
    skip_space();
    if (at_ >= size_ || text_[at_] != (object ? '{' : '['))
        return expected(object ? "an object" : "an array");
    const int32_t limit = rules_.depth < kJsonDepth ? rules_.depth : kJsonDepth;
    if (depth_ == limit)
        return fail("F12", at_) << "got values nested more deeply; want a depth of " << limit << " at most";
    ++depth_;
    ++at_;
    skip_space();
    *out_empty = at_ < size_ && text_[at_] == (object ? '}' : ']');
    if (*out_empty) {
        ++at_;
        --depth_;
    }
    return MOEQ_OK;
}

moeq_status JsonCursor::next(JsonKind kind, bool* out_more)
{
    const bool object = kind == JsonKind::kObject;
    skip_space();
    *out_more = at_ < size_ && text_[at_] == ',';
    if (!*out_more && (at_ >= size_ || text_[at_] != (object ? '}' : ']')))
        return expected(object ? "\",\" or \"}\"" : "\",\" or \"]\"");
    ++at_;
    depth_ -= *out_more ? 0 : 1;
    return MOEQ_OK;
}

moeq_status JsonCursor::name(JsonText* out)
{
    skip_space();
    if (at_ >= size_ || text_[at_] != '"')
        return expected("a name in quotes");
    MOEQ_TRY(string(out));
    skip_space();
    if (at_ >= size_ || text_[at_] != ':')
        return expected("\":\"");
    ++at_;
    return MOEQ_OK;
}

moeq_status JsonCursor::string(JsonText* out)
{
    skip_space();
    if (at_ >= size_ || text_[at_] != '"')
        return expected("a string");
    ++at_;
    const int64_t begin = at_;
    int64_t end = 0;
    bool escaped = false;
    MOEQ_TRY(scan_string(&end, &escaped));
    at_ = end + 1;
    *out = {text_ + begin, end - begin};
    if (mode_ == kUnescape) {
        if (escaped)
            out->length = unescape(out->text, out->length, text_ + begin);
        text_[begin + out->length] = '\0'; // over the closing quote, or before it
    } else if (escaped && out->length <= kScratch) {
        *out = {scratch_, unescape(out->text, out->length, scratch_)};
    }
    return MOEQ_OK;
}

// From behind the opening quote to the closing one.
moeq_status JsonCursor::scan_string(int64_t* out_end, bool* out_escaped)
{
    int64_t at = at_;
    for (;;) {
        while (at < size_) { // what most strings are made of
            const unsigned char byte = static_cast<unsigned char>(text_[at]);
            if (byte < 0x20 || byte >= 0x80 || byte == '"' || byte == '\\')
                break;
            ++at;
        }
        if (at >= size_)
            return fail("F12", at_ - 1) << "got a string without an end; want a closing quote";
        const unsigned char byte = static_cast<unsigned char>(text_[at]);
        if (byte == '"')
            break;
        if (byte < 0x20)
            return fail("F12", at) << "got the control character " << static_cast<int64_t>(byte)
                                   << " in a string; want it escaped";
        if (byte == '\\') {
            *out_escaped = true;
            MOEQ_TRY(scan_escape(&at));
        } else {
            MOEQ_TRY(scan_utf8(&at));
        }
    }
    *out_end = at;
    return MOEQ_OK;
}

// At a backslash; then behind the escape, or behind both halves of a surrogate pair.
moeq_status JsonCursor::scan_escape(int64_t* at)
{
    const int64_t begin = *at;
    const char kind = begin + 1 < size_ ? text_[begin + 1] : '\0';
    *at += 2;
    if (kind != 'u') {
        if (kind == '\0' || std::strchr("\"\\/bfnrt", kind) == nullptr)
            return fail("F12", begin)
                   << "got a backslash with an unknown letter; want one of \", \\, /, b, f, n, r, t, u";
        return MOEQ_OK;
    }
    const auto four_digits = [&](int64_t from) {
        if (size_ - from < 4)
            return false;
        for (int64_t i = from; i < from + 4; ++i)
            if (hex_value(text_[i]) < 0)
                return false;
        return true;
    };
    if (!four_digits(*at))
        return fail("F12", begin) << "got \\u without four hexadecimal digits";
    const uint32_t unit = hex4(text_ + *at);
    *at += 4;
    if (unit < 0xD800 || unit > 0xDFFF)
        return MOEQ_OK;
    const bool pair = unit < 0xDC00 && size_ - *at >= 6 && text_[*at] == '\\' && text_[*at + 1] == 'u' &&
                      four_digits(*at + 2) && hex4(text_ + *at + 2) - 0xDC00 < 0x400;
    if (!pair)
        return fail("F12", begin) << "got half of a surrogate pair; want both";
    *at += 6;
    return MOEQ_OK;
}

// At a byte of 0x80 or more: over one character. The table is the one of Unicode's chapter 3: no overlong forms, no
// surrogates, nothing beyond U+10FFFF.
moeq_status JsonCursor::scan_utf8(int64_t* at)
{
    const auto byte_at = [&](int64_t i) { return i < size_ ? static_cast<unsigned char>(text_[i]) : 0u; };
    const uint32_t lead = byte_at(*at);
    const int64_t tails = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
    const uint32_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    const uint32_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    bool valid = lead >= 0xC2 && lead <= 0xF4 && byte_at(*at + 1) >= low && byte_at(*at + 1) <= high;
    for (int64_t i = 2; i <= tails; ++i)
        valid = valid && byte_at(*at + i) >= 0x80 && byte_at(*at + i) <= 0xBF;
    if (!valid)
        return fail("F12", *at) << "got bytes that are no UTF-8";
    *at += tails + 1;
    return MOEQ_OK;
}

bool JsonCursor::take_python_word()
{
    for (const char* const wanted : {"NaN", "Infinity", "-Infinity"}) {
        const int64_t length = static_cast<int64_t>(std::strlen(wanted));
        if (size_ - at_ >= length && std::memcmp(text_ + at_, wanted, static_cast<uint64_t>(length)) == 0) {
            at_ += length;
            return true;
        }
    }
    return false;
}

moeq_status JsonCursor::number(JsonText* out, JsonKind* out_kind)
{
    skip_space();
    const int64_t begin = at_;
    if (rules_.python_words && take_python_word()) {
        *out = {text_ + begin, at_ - begin};
        *out_kind = JsonKind::kNumber;
        return MOEQ_OK;
    }
    const auto digits = [&] {
        const int64_t from = at_;
        while (at_ < size_ && is_digit(text_[at_]))
            ++at_;
        return at_ - from;
    };
    const bool negative = at_ < size_ && text_[at_] == '-';
    at_ += negative ? 1 : 0;
    const int64_t whole = digits();
    if (whole == 0)
        return expected("a digit");
    if (whole > 1 && text_[at_ - whole] == '0')
        return fail("F12", begin) << "got a number that begins with 0; want no zeros in front";
    *out_kind = JsonKind::kInteger;
    if (at_ < size_ && text_[at_] == '.') {
        *out_kind = JsonKind::kNumber;
        ++at_;
        if (digits() == 0)
            return expected("a digit");
    }
    if (at_ < size_ && (text_[at_] == 'e' || text_[at_] == 'E')) {
        *out_kind = JsonKind::kNumber;
        ++at_;
        at_ += at_ < size_ && (text_[at_] == '-' || text_[at_] == '+') ? 1 : 0;
        if (digits() == 0)
            return expected("a digit");
    }
    *out = {text_ + begin, at_ - begin};
    if (!rules_.integers_only)
        return MOEQ_OK;
    if (negative)
        return fail("F12", begin) << "got a number with a minus sign; want integers from 0 to 9223372036854775807";
    if (*out_kind == JsonKind::kNumber)
        return fail("F12", begin)
               << "got a number with a fraction or exponent; want integers from 0 to 9223372036854775807";
    if (out->length > 19 || (out->length == 19 && std::memcmp(out->text, "9223372036854775807", 19) > 0))
        return fail("F12", begin) << "got an integer that is too large; want integers from 0 to 9223372036854775807";
    return MOEQ_OK;
}

moeq_status JsonCursor::count(int64_t* out)
{
    skip_space();
    const int64_t begin = at_;
    JsonText spelling;
    JsonKind kind;
    MOEQ_TRY(number(&spelling, &kind));
    int64_t value = 0;
    bool fits = kind == JsonKind::kInteger && spelling.text[0] != '-';
    for (int64_t i = 0; fits && i < spelling.length; ++i)
        fits = !__builtin_mul_overflow(value, 10, &value) &&
               !__builtin_add_overflow(value, spelling.text[i] - '0', &value);
    if (!fits)
        return fail("F12", begin) << "got another number; want an integer from 0 to 9223372036854775807";
    *out = value;
    return MOEQ_OK;
}

moeq_status JsonCursor::word(JsonKind kind)
{
    skip_space();
    const char* const wanted = kind == JsonKind::kTrue ? "true" : kind == JsonKind::kFalse ? "false" : "null";
    const int64_t length = static_cast<int64_t>(std::strlen(wanted));
    if (size_ - at_ < length || std::memcmp(text_ + at_, wanted, static_cast<uint64_t>(length)) != 0)
        return expected(wanted);
    at_ += length;
    return MOEQ_OK;
}

moeq_status JsonCursor::finish()
{
    skip_space();
    return at_ < size_ ? expected("the end of the text") : MOEQ_OK;
}

} // namespace moeq::text
