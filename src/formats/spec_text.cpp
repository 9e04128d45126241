#include "formats/spec_text.h"

#include <cstring>

#include "formats/geometry.h"

namespace moeq {

namespace {

struct Word {
    const char* begin;
    int64_t length;

    bool is(const char* text) const
    {
        return std::strlen(text) == static_cast<uint64_t>(length) &&
               std::memcmp(begin, text, static_cast<uint64_t>(length)) == 0;
    }
    // The rest behind a prefix; false when it is not there.
    bool behind(const char* prefix, Word* rest) const
    {
        const int64_t size = static_cast<int64_t>(std::strlen(prefix));
        if (length < size || std::memcmp(begin, prefix, static_cast<uint64_t>(size)) != 0)
            return false;
        *rest = {begin + size, length - size};
        return true;
    }
    // Plain decimal digits up to 2^31 - 1.
    bool number(int32_t* out) const
    {
        int64_t value = 0;
        for (int64_t i = 0; i < length; ++i) {
            if (begin[i] < '0' || begin[i] > '9')
                return false;
            value = value * 10 + (begin[i] - '0');
            if (value > INT32_MAX)
                return false;
        }
        *out = static_cast<int32_t>(value);
        return length > 0;
    }
};

struct Choice {
    const char* text;
    int32_t value;
};

// A key, the field it sets, and what it may be set to. The first choice of each is what printing leaves out when it is zero.
struct Option {
    const char* key;
    int32_t moeq_spec::*field;
    Choice choices[4];
};

constexpr Option kOptions[] = {
    {"blocking=",
     &moeq_spec::blocking,
     {{"expert", MOEQ_BLOCKING_EXPERT}, {"row", MOEQ_BLOCKING_ROW}, {"flat", MOEQ_BLOCKING_FLAT}}},
    {"axis=", &moeq_spec::scale_axis, {{"-1", -1}, {"-2", -2}}},
    {"scale=", &moeq_spec::scale_kind, {{"absmax", MOEQ_SCALE_ABSMAX}, {"factor", MOEQ_SCALE_FACTOR}}},
    {"layout=",
     &moeq_spec::layout,
     {{"plain", MOEQ_LAYOUT_PLAIN},
      {"gate_up", MOEQ_LAYOUT_GATE_UP},
      {"up_gate", MOEQ_LAYOUT_UP_GATE},
      {"gate_up_interleaved", MOEQ_LAYOUT_GATE_UP_INTERLEAVED}}},
    {"nonfinite=", &moeq_spec::nonfinite, {{"refuse", MOEQ_NONFINITE_REFUSE}, {"saturate", MOEQ_NONFINITE_SATURATE}}},
    {"profile=",
     &moeq_spec::profile,
     {{"moeq", MOEQ_PROFILE_MOEQ}, {"bnb_cpu", MOEQ_PROFILE_BNB_CPU}, {"bnb_cpu_fp16", MOEQ_PROFILE_BNB_CPU_FP16}}},
    {"dtype=",
     &moeq_spec::logical_dtype,
     {{"fp32", MOEQ_DTYPE_FP32}, {"fp16", MOEQ_DTYPE_FP16}, {"bf16", MOEQ_DTYPE_BF16}}},
};

// What a text has set: each field once, so that no option silently overrules another.
class Settings {
public:
    // False when the field was set before.
    template <class Field>
    bool set(moeq_spec& spec, Field field, int32_t value)
    {
        const uint64_t bit =
            uint64_t{1} << (reinterpret_cast<char*>(&(spec.*field)) - reinterpret_cast<char*>(&spec)) / 4;
        const bool first = (seen_ & bit) == 0;
        seen_ |= bit;
        spec.*field = value;
        return first;
    }

private:
    uint64_t seen_ = 0;
};

bool parse_choice(Word word, moeq_spec& spec, Settings& settings)
{
    for (const Option& option : kOptions) {
        Word value;
        if (!word.behind(option.key, &value))
            continue;
        for (const Choice& choice : option.choices)
            if (choice.text != nullptr && value.is(choice.text))
                return settings.set(spec, option.field, choice.value);
        return false;
    }
    return false;
}

// "128x128"
bool parse_tile(Word word, moeq_spec& spec)
{
    const void* cross = word.length == 0 ? nullptr : std::memchr(word.begin, 'x', static_cast<uint64_t>(word.length));
    if (cross == nullptr)
        return false;
    const int64_t at = static_cast<const char*>(cross) - word.begin;
    return Word{word.begin, at}.number(&spec.block_rows) &&
           Word{word.begin + at + 1, word.length - at - 1}.number(&spec.block_columns) && spec.block_rows > 0 &&
           spec.block_columns > 0;
}

bool parse_option(Word word, const Format& format, moeq_spec& spec, Settings& settings)
{
    const bool runs = format.units == Units::kRuns;
    Word rest;
    int32_t block = 0;
    if (word.is("nested"))
        return settings.set(spec, &moeq_spec::nested, 1);
    if (runs && word.number(&block))
        return block > 0 && settings.set(spec, &moeq_spec::block_columns, block);
    if (!runs && word.is("row"))
        return settings.set(spec, &moeq_spec::granularity, MOEQ_GRANULARITY_ROW);
    if (!runs && word.is("expert"))
        return settings.set(spec, &moeq_spec::granularity, MOEQ_GRANULARITY_EXPERT);
    if (std::memchr(word.begin, '=', static_cast<uint64_t>(word.length)) != nullptr)
        return parse_choice(word, spec, settings);
    if (runs || !word.behind("block", &rest))
        return false;
    return settings.set(spec, &moeq_spec::granularity, MOEQ_GRANULARITY_BLOCK) &&
           (rest.length == 0 || parse_tile(rest, spec));
}

// Up to the next separator or the end.
Word next_word(const char* text, const char* separators)
{
    return {text, static_cast<int64_t>(std::strcspn(text, separators))};
}

} // namespace

moeq_status parse_spec(const char* text, moeq_spec* out, Report& report)
{
    moeq_spec spec{};
    spec.struct_size = sizeof spec;
    const Word name = next_word(text, ":");
    const Format* format = find_format(name.begin, name.length);
    if (format == nullptr) {
        Failure failure = report.fail(MOEQ_ERROR_ARGUMENT, 1, "text");
        failure << "got ";
        failure.quoted(text) << "; want a format first:";
        for (int32_t i = 0; i < kFormatCount; ++i)
            failure << (i == 0 ? " " : ", ") << format_at(i).name;
        return failure << "; for example \"nf4:64,nested\"";
    }
    spec.format = format->id;
    Settings settings;
    const char* at = text + name.length;
    while (*at != '\0') {
        const Word word = next_word(at + 1, ",");
        if (!parse_option(word, *format, spec, settings)) {
            Failure failure = report.fail(MOEQ_ERROR_ARGUMENT, 1, "text");
            failure << "got ";
            failure.quoted(text) << " with an option at character " << static_cast<int64_t>(word.begin - text)
                                 << " that " << format->name << " does not have or that was set before; want ";
            return failure << (format->units == Units::kRuns ? "a block size such as 64, nested, blocking=row|flat"
                                                             : "row, expert, block128x128, scale=absmax|factor")
                           << ", axis=-2, layout=gate_up, nonfinite=saturate, dtype=bf16";
        }
        at = word.begin + word.length;
    }
    moeq_spec resolved;
    const moeq_status status = resolve_spec(spec, 1, "text", &resolved, report);
    if (status == MOEQ_OK)
        *out = spec;
    return status;
}

moeq_status print_spec(const moeq_spec& given, char* out, Report& report)
{
    moeq_spec spec;
    const moeq_status status = resolve_spec(given, 1, "spec", &spec, report);
    if (status != MOEQ_OK)
        return status;
    const Format& format = *find_format(spec.format);
    Text text(out, MOEQ_SPEC_TEXT);
    text.add(format.name);
    const char* separator = ":";
    const auto start = [&]() -> Text& {
        text.add(separator);
        separator = ",";
        return text;
    };
    if (format.units == Units::kRuns) {
        if (spec.block_columns != format.default_block_columns)
            start().add(spec.block_columns);
        if (spec.nested != 0)
            start().add("nested");
    } else if (spec.granularity == MOEQ_GRANULARITY_BLOCK) {
        start().add("block").add(spec.block_rows).add('x').add(spec.block_columns);
    } else if (spec.granularity != format.default_granularity) {
        start().add(spec.granularity == MOEQ_GRANULARITY_ROW ? "row" : "expert");
    }
    if (spec.scale_axis == -1)
        spec.scale_axis = 0; // the default
    if (format.blocks.rows_only)
        spec.blocking = 0;
    if (spec.scale_kind == format.default_scale_kind)
        spec.scale_kind = 0;
    for (const Option& option : kOptions)
        for (const Choice& choice : option.choices)
            if (choice.text != nullptr && spec.*option.field != 0 && spec.*option.field == choice.value)
                start().add(option.key).add(choice.text);
    return MOEQ_OK;
}

} // namespace moeq
