#include <cstring>

#include "core/text.h"
#include "text/decimal.h"
#include "text/json.h"

namespace moeq::text {

void JsonWriter::put(const char* text, int64_t length)
{
    ok_ = ok_ && out_.reserve(out_.size() + length);
    if (ok_)
        out_.append_reserved(text, length);
}

// Before every value and key.
void JsonWriter::separate()
{
    if (!after_key_ && !first_)
        put(", ", 2);
    first_ = after_key_ = false;
}

void JsonWriter::open(char bracket)
{
    separate();
    put(&bracket, 1);
    first_ = true;
}

void JsonWriter::close(char bracket)
{
    put(&bracket, 1);
    first_ = false;
}

JsonWriter& JsonWriter::begin_object() { return open('{'), *this; }
JsonWriter& JsonWriter::end_object() { return close('}'), *this; }
JsonWriter& JsonWriter::begin_array() { return open('['), *this; }
JsonWriter& JsonWriter::end_array() { return close(']'), *this; }

void JsonWriter::put_string(const char* text, int64_t length)
{
    put("\"", 1);
    int64_t begin = 0; // of what is not yet written
    for (int64_t i = 0; i < length; ++i) {
        const unsigned char byte = static_cast<unsigned char>(text[i]);
        if (byte >= 0x20 && byte != '"' && byte != '\\')
            continue;
        put(text + begin, i - begin);
        begin = i + 1;
        const char* const kShort = "\"\"\\\\\bb\ff\nn\rr\tt"; // pairs: byte, letter
        char escaped[6] = {'\\', 'u', '0', '0', kHexDigits[byte >> 4], kHexDigits[byte & 15]};
        int64_t size = 6;
        for (int pair = 0; pair < 14; pair += 2)
            if (kShort[pair] == text[i]) {
                escaped[1] = kShort[pair + 1];
                size = 2;
            }
        put(escaped, size);
    }
    put(text + begin, length - begin);
    put("\"", 1);
}

JsonWriter& JsonWriter::key(const char* name) { return key(name, static_cast<int64_t>(std::strlen(name))); }

JsonWriter& JsonWriter::key(const char* name, int64_t length)
{
    separate();
    put_string(name, length);
    put(": ", 2);
    after_key_ = true;
    return *this;
}

JsonWriter& JsonWriter::string(const char* text) { return string(text, static_cast<int64_t>(std::strlen(text))); }

JsonWriter& JsonWriter::string(const char* text, int64_t length)
{
    separate();
    put_string(text, length);
    return *this;
}

JsonWriter& JsonWriter::raw(const char* text, int64_t length)
{
    separate();
    put(text, length);
    return *this;
}

JsonWriter& JsonWriter::integer(int64_t value)
{
    char buffer[24];
    Text text(buffer, sizeof buffer);
    text.add(value);
    return raw(buffer, static_cast<int64_t>(text.size()));
}

JsonWriter& JsonWriter::number(double value)
{
    char buffer[kDoubleText];
    const int64_t length = print_double(value, buffer);
    return raw(buffer, length);
}

JsonWriter& JsonWriter::boolean(bool value) { return value ? raw("true", 4) : raw("false", 5); }
JsonWriter& JsonWriter::null() { return raw("null", 4); }

// Walks the tape, so that depth is no matter. `ends`: nodes where objects and arrays that are open end.
JsonWriter& JsonWriter::copy(const JsonValue& value)
{
    if (value.missing())
        return null();
    struct Open {
        int64_t end;
        bool object;
        bool name_next;
    } open_values[kJsonDepth + 1];
    int32_t depth = 0;
    const int64_t end = value.end();
    for (int64_t i = value.index_; i < end || depth > 0;) {
        if (depth > 0 && i == open_values[depth - 1].end) {
            open_values[--depth].object ? end_object() : end_array();
            continue;
        }
        const JsonValue item(value.document_, i++);
        Open* const parent = depth > 0 ? &open_values[depth - 1] : nullptr;
        if (parent != nullptr && parent->object) {
            parent->name_next = !parent->name_next;
            if (!parent->name_next) {
                key(item.text(), item.length());
                continue;
            }
        }
        switch (item.node().kind) {
        case JsonKind::kObject:
        case JsonKind::kArray:
            item.is_object() ? begin_object() : begin_array();
            open_values[depth++] = {item.end(), item.is_object(), true};
            break;
        case JsonKind::kString:
            string(item.text(), item.length());
            break;
        case JsonKind::kInteger:
        case JsonKind::kNumber:
            raw(item.spelling().text, item.spelling().length);
            break;
        case JsonKind::kTrue:
            boolean(true);
            break;
        case JsonKind::kFalse:
            boolean(false);
            break;
        case JsonKind::kNull:
            null();
            break;
        }
    }
    return *this;
}

} // namespace moeq::text
