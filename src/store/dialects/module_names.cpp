#include "store/dialects/module_names.h"

#include <algorithm>

#include "store/container/safetensors.h"

namespace moeq::store {

namespace {

constexpr char kHead[] = "lm_head"; // the output layer of nearly every model

// Matches every name that has no segment "experts" in it, and so is the module of no expert.
constexpr char kOutsideOfExperts[] = "re:(?!(.*\\.)?experts(\\.|$)).*";
// The same for models whose files call the holder "moe"; in memory it is "experts".
constexpr char kOutsideOfMoe[] = "re:(?!(.*\\.)?(experts|moe)(\\.|$)).*";

bool begins_with(const char* name, const char* begin, int64_t length)
{
    return std::strncmp(name, begin, static_cast<uint64_t>(length)) == 0;
}

// Length of "a.experts" in "a.experts.3.up_proj.weight"; 0: no weight of experts.
int64_t holder_length(const char* name)
{
    static constexpr char kExperts[] = ".experts.";
    const char* found = std::strstr(name, kExperts);
    return found == nullptr ? 0 : found - name + static_cast<int64_t>(sizeof kExperts) - 2;
}

bool holds_any(const char* name, int64_t holder, const WrittenModel& model)
{
    for (int64_t i = 0; i < model.weight_count; ++i)
        if (begins_with(model.weights[i].name, name, holder + 1))
            return true;
    return false;
}

// Visits the dense modules: visit(name, length, whole), where `whole` stands for all experts in a module of that name.
template <class Visit>
void for_each_dense(const WrittenModel& model, const Visit& visit)
{
    const char* last = nullptr; // a name with the experts that were looked at last
    int64_t last_length = 0;
    bool last_whole = false;
    for (int64_t i = 0; i < model.dense_count; ++i) {
        const char* name = model.dense[i];
        const int64_t holder = holder_length(name);
        const bool again = holder != 0 && holder == last_length && begins_with(name, last, holder);
        if (again && last_whole)
            continue;
        const bool whole = holder != 0 && !again && !holds_any(name, holder, model);
        if (holder != 0) {
            last = name;
            last_length = holder;
            last_whole = whole;
        }
        visit(name, whole ? holder : module_name_length(name), whole);
    }
}

bool is_head(const char* name)
{
    const int64_t length = module_name_length(name);
    const int64_t head = static_cast<int64_t>(sizeof kHead) - 1;
    return length >= head && begins_with(name + length - head, kHead, head) &&
           (length == head || name[length - head - 1] == '.');
}

// A tied output layer is in no file. Loaders make it all the same, and would look for its scales.
bool lacks_head(const WrittenModel& model)
{
    for (int64_t i = 0; i < model.weight_count; ++i)
        if (is_head(model.weights[i].name))
            return false;
    for (int64_t i = 0; i < model.dense_count; ++i)
        if (is_head(model.dense[i]))
            return false;
    return true;
}

// ---- patterns

bool is_number(const char* begin, const char* end)
{
    for (const char* at = begin; at != end; ++at)
        if (*at < '0' || *at > '9')
            return false;
    return begin != end;
}

const char* end_of_segment(const char* begin, const char* end) { return std::find(begin, end, '.'); }

// Where a name begins that is the same below every prefix: at the segment before its first number, or behind "model.".
const char* fixed_part(const char* name, const char* end)
{
    const char* before = name;
    for (const char* at = name; at < end;) {
        const char* segment_end = end_of_segment(at, end);
        if (is_number(at, segment_end))
            return before;
        before = at;
        at = segment_end + 1;
    }
    constexpr char kModel[] = "model.";
    const int64_t length = static_cast<int64_t>(sizeof kModel) - 1;
    return end - name > length && begins_with(name, kModel, length) ? name + length : name;
}

// Modules, and which of them a list is about; the others are what no pattern may match.
class PatternList {
public:
    explicit PatternList(Allocator& allocator) : text_(allocator), modules_(allocator), order_(allocator) {}

    // whole: it stands for all that is in the module, too.
    [[nodiscard]] bool add(const char* name, int64_t length, bool whole, bool wanted)
    {
        const Module module{name, length, text_.size(), 0, whole, wanted};
        if (!modules_.append(module) || !order_.append(modules_.size() - 1))
            return false;
        Module& added = modules_[modules_.size() - 1];
        if (!append_pattern(added, true))
            return false;
        added.exact = text_.size();
        return append_pattern(added, false);
    }

    // One pattern for modules that differ in numbers only, if all of them are wanted; else one for each; a plain name where
    // another one ends like it.
    void write(text::JsonWriter& out)
    {
        sort(order_.begin(), order_.end(), &Module::kind);
        for (int64_t begin = 0; begin < order_.size();) {
            const int64_t end = end_of_run(begin, order_.size(), &Module::kind);
            if (all_wanted(begin, end))
                out.string(text_.data() + modules_[order_[begin]].kind);
            else
                write_each(begin, end, out);
            begin = end;
        }
    }

private:
    struct Module {
        const char* name;
        int64_t length;
        int64_t kind, exact; // offsets into text_: with numbers left open, and without
        bool whole, wanted;
    };

    bool append_pattern(const Module& module, bool open_numbers)
    {
        const char* const end = module.name + module.length;
        const char* const begin = fixed_part(module.name, end);
        constexpr int64_t kAround = 64;
        if (!text_.reserve(text_.size() + 2 * (end - begin) + kAround))
            return false;
        put("re:(.*\\.)?");
        for (const char* at = begin; at < end;) {
            const char* segment_end = end_of_segment(at, end);
            if (open_numbers && is_number(at, segment_end))
                put("\\d+");
            else
                put_escaped(at, segment_end);
            if (segment_end != end)
                put("\\.");
            at = segment_end + 1;
        }
        put(module.whole ? "(\\..*)?$" : "$");
        text_.append_reserved("", 1);
        return true;
    }

    void put(const char* text) { text_.append_reserved(text, static_cast<int64_t>(std::strlen(text))); }
    void put_escaped(const char* begin, const char* end)
    {
        for (const char* at = begin; at != end; ++at) {
            const char c = *at;
            const bool word = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
            if (!word && static_cast<unsigned char>(c) < 0x80) // bytes of one character stay together
                text_.append_reserved("\\", 1);
            text_.append_reserved(at, 1);
        }
    }

    void sort(int64_t* begin, int64_t* end, int64_t Module::*key)
    {
        std::sort(begin, end, [&](int64_t a, int64_t b) {
            const int order = std::strcmp(text_.data() + modules_[a].*key, text_.data() + modules_[b].*key);
            return order != 0 ? order < 0 : a < b;
        });
    }
    int64_t end_of_run(int64_t begin, int64_t limit, int64_t Module::*key) const
    {
        const char* first = text_.data() + modules_[order_[begin]].*key;
        int64_t end = begin + 1;
        while (end < limit && std::strcmp(first, text_.data() + modules_[order_[end]].*key) == 0)
            ++end;
        return end;
    }
    bool all_wanted(int64_t begin, int64_t end) const
    {
        return std::all_of(order_.begin() + begin, order_.begin() + end, [&](int64_t i) { return modules_[i].wanted; });
    }

    void write_each(int64_t begin, int64_t end, text::JsonWriter& out)
    {
        sort(order_.begin() + begin, order_.begin() + end, &Module::exact);
        for (int64_t i = begin; i < end;) {
            const int64_t next = end_of_run(i, end, &Module::exact);
            if (all_wanted(i, next))
                out.string(text_.data() + modules_[order_[i]].exact);
            else
                for (int64_t k = i; k < next; ++k)
                    if (modules_[order_[k]].wanted)
                        out.string(modules_[order_[k]].name, modules_[order_[k]].length);
            i = next;
        }
    }

    Array<char> text_;
    Array<Module> modules_;
    Array<int64_t> order_;
};

moeq_status out_of_memory(const WrittenModel& model, Report& report)
{
    return report.out_of_memory(static_cast<uint64_t>(model.weight_count + model.dense_count) * kNameLimit);
}

// Whether all that is quantized are experts, and their modules are called so.
bool only_experts(const WrittenModel& model)
{
    for (int64_t i = 0; i < model.weight_count; ++i)
        if (!model.weights[i].expert || holder_length(model.weights[i].name) == 0)
            return false;
    return !model.foreign;
}

// What matches all modules outside of experts, if nothing but experts is quantized; else NULL.
const char* outside_pattern(const WrittenModel& model)
{
    if (model.weight_count == 0 || only_experts(model))
        return model.weight_count == 0 ? nullptr : kOutsideOfExperts;
    for (int64_t i = 0; i < model.weight_count; ++i) {
        const WrittenWeight& weight = model.weights[i];
        if (!weight.expert || (holder_length(weight.name) == 0 && std::strstr(weight.name, ".moe.") == nullptr))
            return nullptr;
    }
    return model.foreign ? nullptr : kOutsideOfMoe;
}

bool add_weights(const WrittenModel& model, const int32_t* groups, int32_t group, PatternList* list)
{
    for (int64_t i = 0; i < model.weight_count; ++i) {
        const char* name = model.weights[i].name;
        const int64_t holder = holder_length(name);
        const bool wanted = groups != nullptr && groups[i] == group && holder == 0;
        if (!list->add(name, module_name_length(name), false, wanted))
            return false;
        const bool first = i == 0 || holder != holder_length(model.weights[i - 1].name) ||
                           !begins_with(name, model.weights[i - 1].name, holder);
        if (holder != 0 && first && !list->add(name, holder, true, false))
            return false;
    }
    return true;
}

} // namespace

int64_t module_name_length(const char* name)
{
    const int64_t length = static_cast<int64_t>(std::strlen(name));
    return ends_with(name, length, ".weight") ? length - static_cast<int64_t>(std::strlen(".weight")) : length;
}

void write_dense_modules(const WrittenModel& model, text::JsonWriter& out, bool patterns)
{
    out.begin_array();
    if (const char* outside = outside_pattern(model); patterns && outside != nullptr)
        out.string(outside + 3); // without "re:"
    for_each_dense(model, [&](const char* name, int64_t length, bool) { out.string(name, length); });
    if (lacks_head(model))
        out.string(kHead);
    out.end_array();
}

moeq_status write_ignored_modules(const WrittenModel& model, text::JsonWriter& out, Report& report)
{
    const bool outside = only_experts(model);
    PatternList list(model.allocator);
    bool fits = add_weights(model, nullptr, 0, &list);
    out.begin_array();
    if (lacks_head(model) || outside)
        out.string(kHead); // for people: the pattern matches it too
    if (outside)
        out.string(kOutsideOfExperts);
    for_each_dense(model, [&](const char* name, int64_t length, bool whole) {
        if (!outside || holder_length(name) != 0)
            fits = fits && list.add(name, length, whole, true);
    });
    if (!fits)
        return out_of_memory(model, report);
    list.write(out);
    out.end_array();
    return MOEQ_OK;
}

moeq_status write_targeted_modules(const WrittenModel& model, const int32_t* groups, int32_t group,
                                   text::JsonWriter& out, Report& report)
{
    PatternList list(model.allocator);
    bool fits = add_weights(model, groups, group, &list);
    for_each_dense(model, [&](const char* name, int64_t length, bool whole) {
        fits = fits && list.add(name, length, whole, false);
    });
    if (!fits)
        return out_of_memory(model, report);
    out.begin_array();
    for (int64_t i = 0; i < model.weight_count; ++i)
        if (groups[i] == group)
            out.string(model.weights[i].name, module_name_length(model.weights[i].name));
    list.write(out);
    out.end_array();
    return MOEQ_OK;
}

} // namespace moeq::store
