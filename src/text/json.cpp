#include "text/json.h"

#include <cstring>

#include "text/decimal.h"
#include "text/name_order.h"

namespace moeq::text {

namespace {

// So few names are compared each with each; more are sorted.
constexpr int64_t kFewNames = 16;

struct Level {
    JsonKind kind;
    int64_t node;
    int64_t members;
};

// Nodes of a document: appended where there is room for them, else only counted.
class Tape {
public:
    explicit Tape(Array<JsonNode>* nodes) : nodes_(nodes) {}

    int64_t count() const { return count_; }
    int64_t append(JsonKind kind, int64_t length, int64_t at)
    {
        const JsonNode node = {kind, static_cast<uint32_t>(length) & 0x1FFFFFFF, static_cast<uint32_t>(at)};
        if (nodes_ != nullptr)
            nodes_->append_reserved(&node, 1);
        return count_++;
    }
    void close(int64_t node, int64_t members)
    {
        if (nodes_ == nullptr)
            return;
        (*nodes_)[node].length = static_cast<uint32_t>(members) & 0x1FFFFFFF;
        (*nodes_)[node].at = static_cast<uint32_t>(count_);
    }

private:
    Array<JsonNode>* nodes_;
    int64_t count_ = 0;
};

moeq_status append_name(JsonCursor& cursor, Tape& tape)
{
    JsonText name;
    MOEQ_TRY(cursor.name(&name));
    tape.append(JsonKind::kString, name.length, name.text - cursor.text());
    return MOEQ_OK;
}

// Anything but an object or array that has members: those become a new level.
moeq_status append_value(JsonCursor& cursor, Tape& tape, Level* level, bool* out_entered)
{
    JsonKind kind;
    MOEQ_TRY(cursor.peek(&kind));
    *out_entered = false;
    JsonText text = {cursor.text(), 0};
    switch (kind) {
    case JsonKind::kObject:
    case JsonKind::kArray: {
        bool empty = false;
        MOEQ_TRY(cursor.enter(kind, &empty));
        *level = {kind, tape.append(kind, 0, tape.count() + 1), 0};
        *out_entered = !empty;
        return MOEQ_OK;
    }
    case JsonKind::kString:
        MOEQ_TRY(cursor.string(&text));
        break;
    case JsonKind::kInteger:
    case JsonKind::kNumber:
        MOEQ_TRY(cursor.number(&text, &kind));
        break;
    case JsonKind::kTrue:
    case JsonKind::kFalse:
    case JsonKind::kNull:
        MOEQ_TRY(cursor.word(kind));
        break;
    }
    tape.append(kind, text.length, text.text - cursor.text());
    return MOEQ_OK;
}

// One value and all that is in it. `closed(object)` is called for each object when its nodes are there.
template <class Closed>
moeq_status walk(JsonCursor& cursor, Tape& tape, const Closed& closed)
{
    Level levels[kJsonDepth + 1];
    int32_t depth = 0;
    for (;;) {
        bool entered = false;
        MOEQ_TRY(append_value(cursor, tape, &levels[depth], &entered));
        bool more = entered;
        depth += entered ? 1 : 0;
        while (!more && depth > 0) {
            Level& level = levels[depth - 1];
            ++level.members;
            MOEQ_TRY(cursor.next(level.kind, &more));
            if (more)
                break;
            tape.close(level.node, level.members);
            if (level.kind == JsonKind::kObject)
                MOEQ_TRY(closed(level.node));
            --depth;
        }
        if (depth == 0)
            return MOEQ_OK;
        if (levels[depth - 1].kind == JsonKind::kObject)
            MOEQ_TRY(append_name(cursor, tape));
    }
}

} // namespace

// ---- JsonDocument

moeq_status JsonDocument::parse(char* text, int64_t size, const JsonRules& rules, Report& report)
{
    if (size > kJsonBytes) {
        Failure failure = report.fail(MOEQ_ERROR_LIMIT);
        report.set_class("F02");
        return failure << rules.what << ": got " << size << " bytes; want " << kJsonBytes << " at most";
    }
    JsonCursor check(text, size, rules, JsonCursor::kCheck, report);
    Tape counter(nullptr);
    MOEQ_TRY(walk(check, counter, [](int64_t) { return MOEQ_OK; }));
    MOEQ_TRY(check.finish());
    JsonCursor cursor(text, size, rules, JsonCursor::kUnescape, report);
    return take(cursor, counter.count());
}

moeq_status JsonDocument::take(JsonCursor& cursor, int64_t node_count)
{
    nodes_.clear();
    text_ = cursor.text();
    if (!nodes_.reserve(node_count))
        return cursor.report().out_of_memory(static_cast<uint64_t>(node_count) * sizeof(JsonNode));
    Tape tape(&nodes_);
    const moeq_status status = walk(cursor, tape, [&](int64_t object) { return check_names(cursor, object); });
    if (status != MOEQ_OK)
        nodes_.clear();
    return status;
}

moeq_status JsonDocument::check_names(const JsonCursor& cursor, int64_t object)
{
    const JsonValue value(this, object);
    const int64_t count = value.size();
    const auto name_at = [&](int64_t node) { return NameView{text_ + nodes_[node].at, nodes_[node].length}; };
    int64_t duplicate = -1;
    if (count <= kFewNames) {
        int64_t names[kFewNames];
        int64_t known = 0;
        for (JsonMember member = value.first(); !member.done(); member = member.next()) {
            const int64_t node = member.index();
            for (int64_t i = 0; i < known && duplicate < 0; ++i)
                if (compare_names(name_at(names[i]), name_at(node)) == 0)
                    duplicate = node;
            names[known++] = node;
        }
    } else {
        NameOrder order(allocator_);
        if (!order.reserve(count))
            return cursor.report().out_of_memory(static_cast<uint64_t>(count) * sizeof(uint64_t));
        for (JsonMember member = value.first(); !member.done(); member = member.next())
            order.add(member.index(), name_at(member.index()));
        order.sort(name_at);
        duplicate = order.find_duplicate(name_at);
    }
    if (duplicate < 0)
        return MOEQ_OK;
    return cursor.fail("F11", nodes_[duplicate].at).quoted(JsonValue(this, duplicate).text())
           << " is there twice in one object; want each name once";
}

// ---- JsonValue

const JsonNode& JsonValue::node() const { return document_->nodes_[index_]; }

const char* JsonValue::kind_name() const
{
    if (missing())
        return "nothing";
    switch (node().kind) {
    case JsonKind::kObject:
        return "an object";
    case JsonKind::kArray:
        return "an array";
    case JsonKind::kString:
        return "a text";
    case JsonKind::kInteger:
    case JsonKind::kNumber:
        return "a number";
    case JsonKind::kNull:
        return "null";
    default:
        return node().kind == JsonKind::kTrue ? "true" : "false";
    }
}

JsonText JsonValue::spelling() const { return {document_->text_ + node().at, node().length}; }

int64_t JsonValue::end() const { return is_object() || is_array() ? node().at : index_ + 1; }

const char* JsonValue::text() const { return is_string() ? spelling().text : ""; }

bool JsonValue::equals(const char* wanted) const
{
    const int64_t size = static_cast<int64_t>(std::strlen(wanted));
    return is_string() && size == length() && std::memcmp(text(), wanted, static_cast<uint64_t>(size)) == 0;
}

bool JsonValue::get_integer(int64_t* out) const
{
    if (!is(JsonKind::kInteger))
        return false;
    const JsonText digits = spelling();
    const bool negative = digits.text[0] == '-';
    int64_t value = 0; // not above 0 on the way: there is one number more below
    for (int64_t i = negative ? 1 : 0; i < digits.length; ++i)
        if (__builtin_mul_overflow(value, 10, &value) || __builtin_sub_overflow(value, digits.text[i] - '0', &value))
            return false;
    if (!negative && __builtin_sub_overflow(0, value, &value))
        return false;
    *out = value;
    return true;
}

bool JsonValue::get_number(double* out) const
{
    if (!is(JsonKind::kInteger) && !is(JsonKind::kNumber))
        return false;
    const char last = spelling().text[spelling().length - 1];
    if (last < '0' || last > '9') // a word of Python's
        return false;
    return parse_double(spelling().text, spelling().length, out);
}

bool JsonValue::get_bool(bool* out) const
{
    if (!is(JsonKind::kTrue) && !is(JsonKind::kFalse))
        return false;
    *out = is(JsonKind::kTrue);
    return true;
}

JsonValue JsonValue::find(const char* name) const
{
    if (is_object())
        for (JsonMember member = first(); !member.done(); member = member.next())
            if (member.name().equals(name))
                return member.value();
    return {};
}

JsonMember JsonValue::first() const
{
    JsonMember member;
    if (is_object() || is_array()) {
        member.document_ = document_;
        member.at_ = index_ + 1;
        member.end_ = node().at;
        member.object_ = is_object();
    }
    return member;
}

JsonMember JsonMember::next() const
{
    JsonMember member = *this;
    member.at_ = value().end();
    return member;
}

} // namespace moeq::text
