// JSON, strict and bounded: the only reader of it in the library and, but for what a context says of itself, the only writer.
// Text comes from outside, so every rule of RFC 8259 is enforced, names may not repeat, depth is limited, and time is linear.
#pragma once

#include "core/memory.h"
#include "core/report.h"

namespace moeq::text {

enum class JsonKind : uint32_t { kObject, kArray, kString, kInteger, kNumber, kTrue, kFalse, kNull };

constexpr int32_t kJsonDepth = 64;
constexpr int64_t kJsonBytes = (int64_t{1} << 29) - 1; // longest text: what a node can point to

struct JsonRules {
    int32_t depth = kJsonDepth; // nested objects and arrays; kJsonDepth at most
    // Of numbers: integers that int64_t holds and that are not negative, without a minus sign.
    bool integers_only = false;
    // NaN, Infinity and -Infinity are numbers, if none that get_number gives: Python writes them.
    bool python_words = false;
    const char* what = "JSON"; // what is being read, for messages: "the header of model.safetensors"
};

// A text in a document: unescaped, or the spelling of a number.
struct JsonText {
    const char* text;
    int64_t length;
};

// Walks over text value by value, checking each byte. The one tokenizer; JsonDocument is made with it, and what would
// be too large as a document is read with it directly. Every failure is FORMAT with the byte offset and class F12.
class JsonCursor {
public:
    // mode kCheck: text is not changed, and strings with escapes longer than kScratch come as they are spelled.
    // mode kUnescape: strings are unescaped in place and ended by NUL, so that no place may be walked over twice.
    enum Mode { kCheck, kUnescape };
    static constexpr int64_t kScratch = 128;

    JsonCursor(char* text, int64_t size, const JsonRules& rules, Mode mode, Report& report)
        : text_(text), size_(size), rules_(rules), mode_(mode), report_(report)
    {
    }

    // Skips white space and tells what comes: by its first byte, so a kInteger may turn out to be a kNumber.
    [[nodiscard]] moeq_status peek(JsonKind* out);
    // Into an object or array; *out_empty: and out of it again, as nothing is in it.
    [[nodiscard]] moeq_status enter(JsonKind kind, bool* out_empty);
    // After a member: whether another one follows, or the object or array has ended.
    [[nodiscard]] moeq_status next(JsonKind kind, bool* out_more);
    // A name and its colon.
    [[nodiscard]] moeq_status name(JsonText* out);
    // In mode kCheck `out` is valid until the next call.
    [[nodiscard]] moeq_status string(JsonText* out);
    [[nodiscard]] moeq_status number(JsonText* out, JsonKind* out_kind);
    [[nodiscard]] moeq_status word(JsonKind kind); // true, false, null
    // An integer that is not negative.
    [[nodiscard]] moeq_status count(int64_t* out);
    // Nothing but white space may follow.
    [[nodiscard]] moeq_status finish();

    int64_t at() const { return at_; }
    char* text() const { return text_; }
    const JsonRules& rules() const { return rules_; }
    Mode mode() const { return mode_; }
    Report& report() const { return report_; }
    // The begin of a message: "<what>: at byte N: "; FORMAT, of a class.
    Failure fail(const char* class_id, int64_t at) const;

private:
    void skip_space();
    [[nodiscard]] moeq_status expected(const char* wanted);
    bool take_python_word();
    [[nodiscard]] moeq_status scan_string(int64_t* out_end, bool* out_escaped);
    [[nodiscard]] moeq_status scan_escape(int64_t* at);
    [[nodiscard]] moeq_status scan_utf8(int64_t* at);

    char* text_;
    int64_t size_;
    JsonRules rules_;
    Mode mode_;
    Report& report_;
    int64_t at_ = 0;
    int32_t depth_ = 0;
    char scratch_[kScratch];
};

// One value on the tape of a document. The children of an object alternate: name, value.
struct JsonNode {
    JsonKind kind : 3;
    uint32_t length : 29; // bytes of a string or number; members of an object or array
    uint32_t at; // strings and numbers: offset in the text; objects and arrays: index of the node after all in it
};
static_assert(sizeof(JsonNode) == 8, "memory is bounded by a multiple of the text");

class JsonDocument;

// A reference into a document that must live longer. A value that is not there is `missing` and has no kind.
class JsonValue {
public:
    JsonValue() = default;
    JsonValue(const JsonDocument* document, int64_t index) : document_(document), index_(index) {}

    bool missing() const { return document_ == nullptr; }
    bool is(JsonKind kind) const { return !missing() && node().kind == kind; }
    bool is_object() const { return is(JsonKind::kObject); }
    bool is_array() const { return is(JsonKind::kArray); }
    bool is_string() const { return is(JsonKind::kString); }
    const char* kind_name() const; // for messages: "an object", "a text"; of what is missing, "nothing"
    int64_t size() const { return is_object() || is_array() ? node().length : 0; } // members
    // Strings only; "" for all else. Text may hold NUL: compare length() where that matters.
    const char* text() const;
    int64_t length() const { return is_string() ? node().length : 0; }
    bool equals(const char* text) const;
    // False where the value is not of that kind, or does not fit.
    bool get_integer(int64_t* out) const;
    bool get_number(double* out) const; // integers too
    bool get_bool(bool* out) const;
    // The value of a name; missing where there is none, or this is no object. Linear in the members.
    JsonValue find(const char* name) const;
    // Members of an array, or name-value pairs of an object: for (JsonMember m = v.first(); !m.done(); m = m.next())
    class JsonMember first() const;

private:
    friend class JsonMember;
    friend class JsonWriter;
    const JsonNode& node() const;
    JsonText spelling() const; // of strings and numbers
    int64_t end() const;       // index of the node after this value

    const JsonDocument* document_ = nullptr;
    int64_t index_ = 0;
};

class JsonMember {
public:
    bool done() const { return at_ >= end_; }
    JsonValue name() const { return object_ ? JsonValue(document_, at_) : JsonValue(); }
    JsonValue value() const { return {document_, at_ + (object_ ? 1 : 0)}; }
    JsonMember next() const;
    int64_t index() const { return at_; } // of its first node

private:
    friend class JsonValue;
    const JsonDocument* document_ = nullptr;
    int64_t at_ = 0;
    int64_t end_ = 0;
    bool object_ = false;
};

class JsonDocument {
public:
    explicit JsonDocument(Allocator& allocator) : allocator_(allocator), nodes_(allocator) {}

    // The one value in text[0, size), to its end. Strings are unescaped in place, so text is changed, and it must
    // outlive the document. FORMAT with class F11 or F12 and the byte offset; LIMIT beyond kJsonBytes; MEMORY.
    [[nodiscard]] moeq_status parse(char* text, int64_t size, const JsonRules& rules, Report& report);
    // The value at the cursor, of mode kUnescape, that has node_count nodes and was checked by a cursor of mode kCheck.
    [[nodiscard]] moeq_status take(JsonCursor& cursor, int64_t node_count);

    JsonValue root() const { return nodes_.empty() ? JsonValue() : JsonValue(this, 0); }

private:
    friend class JsonValue;

    [[nodiscard]] moeq_status check_names(const JsonCursor& cursor, int64_t object);

    Allocator& allocator_;
    const char* text_ = nullptr;
    Array<JsonNode> nodes_;
};

// Writes compact JSON (", " and ": " as separators) into an array. Failures are sticky: ok() tells once, at the end.
class JsonWriter {
public:
    explicit JsonWriter(Array<char>& out) : out_(out) {}

    JsonWriter& begin_object();
    JsonWriter& end_object();
    JsonWriter& begin_array();
    JsonWriter& end_array();
    JsonWriter& key(const char* name);
    JsonWriter& key(const char* name, int64_t length);
    JsonWriter& string(const char* text);
    JsonWriter& string(const char* text, int64_t length); // valid UTF-8; non-ASCII is written as it is
    JsonWriter& integer(int64_t value);
    JsonWriter& number(double value); // finite; the fewest digits that give the same double, as Python writes them
    JsonWriter& boolean(bool value);
    JsonWriter& null();
    // A value of a document, as it is.
    JsonWriter& copy(const JsonValue& value);
    // Already JSON.
    JsonWriter& raw(const char* text, int64_t length);

    bool ok() const { return ok_; } // false: out of memory

private:
    void separate();
    void open(char bracket);
    void close(char bracket);
    void put(const char* text, int64_t length);
    void put_string(const char* text, int64_t length);

    Array<char>& out_;
    bool ok_ = true;
    bool first_ = true; // nothing yet in the innermost object or array
    bool after_key_ = false;
};

} // namespace moeq::text
