#include "store/model/linear_names.h"

#include "core/checked.h"
#include "core/text.h"

namespace moeq::store {

namespace {

struct StackName {
    const char* name;
    int64_t holder; // length of what the last segment is in
    const char* leaf;
    int64_t leaf_length;

    bool is(const char* text) const
    {
        const int64_t length = static_cast<int64_t>(std::strlen(text));
        return leaf_length == length && std::memcmp(leaf, text, static_cast<uint64_t>(length)) == 0;
    }
};

StackName split(const char* name, int64_t length)
{
    int64_t stem = length;
    while (stem != 0 && name[stem - 1] != '.')
        --stem;
    return {name, maximum(stem - 1, 0), name + stem, length - stem};
}

const LinearNames* find_names(const Family* family, const StackName& stack, PatternMatch* match)
{
    for (int32_t i = 0; family != nullptr && i < family->name_count; ++i)
        if (match_pattern(family->names[i].stacks, stack.name, stack.holder, match))
            return family->names + i;
    return nullptr;
}

// What one of them is called by the family; NULL: it is nothing that it has.
const char* find_leaf(const LinearNames& names, const StackName& stack, Part part)
{
    if (part == Part::kGate || stack.is("gate_proj"))
        return names.gate;
    if (part == Part::kUp || stack.is("up_proj"))
        return names.up;
    return stack.is("down_proj") ? names.down : nullptr;
}

bool append_text(const char* text, int64_t length, Array<char>* out)
{
    if (!out->reserve(out->size() + length))
        return false;
    out->append_reserved(text, length);
    return true;
}
bool append_text(const char* text, Array<char>* out)
{
    return append_text(text, static_cast<int64_t>(std::strlen(text)), out);
}

bool append_usual_name(const StackName& stack, int64_t expert, Part part, Array<char>* out)
{
    char buffer[32];
    Text number(buffer, sizeof buffer);
    number.add(expert).add('.');
    const int64_t stem = stack.leaf - stack.name; // with its dot
    if (!append_text(stack.name, stem, out) || !append_text(number.c_str(), out))
        return false;
    const bool fits = part == Part::kWhole ? append_text(stack.leaf, stack.leaf_length, out)
                                           : append_text(part == Part::kGate ? "gate_proj" : "up_proj", out);
    return fits && append_text(".weight", out);
}

} // namespace

Linears linears_of(const Family* family, const char* stack, int64_t length)
{
    if (family != nullptr && family->linears == Linears::kNone)
        return Linears::kNone;
    PatternMatch match;
    const StackName name = split(stack, length);
    const LinearNames* names = find_names(family, name, &match);
    const bool known =
        names != nullptr && (name.is("gate_up_proj") || find_leaf(*names, name, Part::kWhole) != nullptr);
    return known ? family->linears : Linears::kUnknown;
}

Kind kind_of(const Family* family, const char* stack, int64_t length)
{
    PatternMatch match;
    const LinearNames* names = find_names(family, split(stack, length), &match);
    return names == nullptr ? Kind::kOnly : names->kind;
}

bool append_linear_name(const Family* family, int64_t first_kind, const LinearOf& linear, Array<char>* out)
{
    PatternMatch match;
    const StackName name = split(linear.stack, linear.length);
    const LinearNames* names = find_names(family, name, &match);
    const char* leaf = names != nullptr ? find_leaf(*names, name, linear.part) : nullptr;
    if (leaf == nullptr)
        return append_usual_name(name, linear.expert, linear.part, out);
    match.expert = linear.expert + (names->kind == Kind::kSecond ? first_kind : 0);
    return append_filled(names->linears, match, out) && (*leaf == '\0' || append_text(".", out)) &&
           append_text(leaf, out) && append_text(".weight", out);
}

} // namespace moeq::store
