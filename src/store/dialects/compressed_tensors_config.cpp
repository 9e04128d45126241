#include "store/dialects/compressed_tensors_config.h"

#include "store/dialects/module_names.h"

namespace moeq::store {

namespace {

CompressedScheme scheme_of(const moeq_spec& spec)
{
    return {.format = spec.format,
            .granularity = spec.granularity,
            .block_rows = spec.block_rows,
            .block_columns = spec.block_columns};
}

const char* strategy_of(const CompressedScheme& scheme)
{
    return scheme.is_block() ? "block" : scheme.granularity == MOEQ_GRANULARITY_ROW ? "channel" : "tensor";
}

void write_weights(const CompressedScheme& scheme, const char* type, text::JsonWriter& out)
{
    out.key("weights").begin_object();
    out.key("num_bits").integer(8).key("type").string(type);
    out.key("symmetric").boolean(true).key("dynamic").boolean(false);
    out.key("strategy").string(strategy_of(scheme));
    out.key("group_size").null();
    if (scheme.is_block())
        out.key("block_structure").begin_array().integer(scheme.block_rows).integer(scheme.block_columns).end_array();
    out.end_object();
}

// The activations' scheme that goes with it in the project's own presets: engines have kernels for these.
void write_activations(const CompressedScheme& scheme, const char* type, text::JsonWriter& out)
{
    out.begin_object();
    out.key("num_bits").integer(8).key("type").string(type);
    out.key("symmetric").boolean(true).key("dynamic").boolean(true);
    out.key("strategy").string(scheme.is_block() ? "group" : "token");
    out.key("group_size");
    scheme.is_block() ? out.integer(scheme.block_columns) : out.null();
    out.end_object();
}

class ConfigWriter {
public:
    static constexpr int32_t kSchemeLimit = 16;

    ConfigWriter(const WrittenModel& model, text::JsonWriter& out, Report& report)
        : model_(model), out_(out), report_(report), groups_(model.allocator)
    {
    }

    moeq_status run()
    {
        MOEQ_TRY(collect());
        out_.begin_object();
        out_.key("quant_method").string("compressed-tensors");
        out_.key("format").string(format());
        out_.key("quantization_status").string("compressed");
        out_.key("config_groups").begin_object();
        for (int32_t i = 0; i < scheme_count_; ++i)
            MOEQ_TRY(write_group(i));
        copy_groups();
        out_.end_object();
        out_.key("ignore");
        MOEQ_TRY(write_ignored_modules(model_, out_, report_));
        amends() ? copy_members() : write_defaults();
        out_.end_object();
        return MOEQ_OK;
    }

private:
    static constexpr int32_t kNone = -1; // of weights that are kept: the source's group

    bool amends() const { return model_.source.is_object(); }

    int32_t index_of(const CompressedScheme& scheme) const
    {
        int32_t i = 0;
        while (i < scheme_count_ && !(schemes_[i] == scheme))
            ++i;
        return i;
    }

    moeq_status collect()
    {
        if (!groups_.resize(model_.weight_count, kNone))
            return report_.out_of_memory(static_cast<uint64_t>(model_.weight_count) * sizeof(int32_t));
        for (int64_t i = 0; i < model_.weight_count; ++i) {
            if (amends() && model_.weights[i].kept)
                continue;
            const CompressedScheme scheme = scheme_of(model_.weights[i].geometry.spec);
            const int32_t index = index_of(scheme);
            if (index == kSchemeLimit)
                return report_.fail(MOEQ_ERROR_LIMIT)
                       << "got more than " << kSchemeLimit << " kinds of weights for config.json";
            if (index == scheme_count_)
                schemes_[scheme_count_++] = scheme;
            ++used_[index];
            groups_[i] = index;
        }
        for (int32_t i = 1; i < scheme_count_; ++i)
            most_used_ = used_[i] > used_[most_used_] ? i : most_used_;
        return MOEQ_OK;
    }

    // Of all weights where it is the same for all.
    const char* format() const
    {
        const char* first = scheme_count_ != 0 ? schemes_[0].storage() : amends() ? "" : "dense";
        bool one = true;
        for (int32_t i = 1; i < scheme_count_; ++i)
            one = one && std::strcmp(schemes_[i].storage(), first) == 0;
        const text::JsonValue before = model_.source.find("format");
        if (amends() && scheme_count_ == 0)
            return before.is_string() ? before.text() : "mixed-precision";
        return one && (!amends() || before.equals(first)) ? first : "mixed-precision";
    }

    // "group_0", and so on, as far as the source has not taken it.
    const char* group_name(int32_t index, char* out, uint64_t size) const
    {
        const text::JsonValue taken = model_.source.find("config_groups");
        for (int64_t number = 0;; ++number) {
            const char* name = Text(out, size).add("group_").add(number).c_str();
            if (taken.find(name).missing() && index-- == 0)
                return name;
        }
    }

    // Readers match names before classes of modules, and some look for the class Linear to find out about experts: the
    // commonest scheme is that of the class, the others name their weights.
    moeq_status write_group(int32_t index)
    {
        const CompressedScheme& scheme = schemes_[index];
        const char* type = scheme.is_int() ? "int" : "float";
        char name[32];
        out_.key(group_name(index, name, sizeof name)).begin_object();
        out_.key("targets");
        if (index == most_used_ && !amends())
            out_.begin_array().string("Linear").end_array();
        else
            MOEQ_TRY(write_targeted_modules(model_, groups_.data(), index, out_, report_));
        out_.key("format").string(scheme.storage());
        write_weights(scheme, type, out_);
        out_.key("input_activations");
        model_.weights_only ? (void)out_.null() : write_activations(scheme, type, out_);
        out_.key("output_activations").null();
        out_.end_object();
        return MOEQ_OK;
    }

    // A group without a format of its own has the checkpoint's, which may be another one now.
    void copy_groups()
    {
        const text::JsonValue before = model_.source.find("format");
        const text::JsonValue groups = model_.source.find("config_groups");
        for (text::JsonMember group = groups.first(); groups.is_object() && !group.done(); group = group.next()) {
            out_.key(group.name().text(), group.name().length());
            if (!group.value().is_object()) {
                out_.copy(group.value());
                continue;
            }
            out_.begin_object();
            for (text::JsonMember member = group.value().first(); !member.done(); member = member.next())
                if (!member.name().equals("format"))
                    out_.key(member.name().text(), member.name().length()).copy(member.value());
            const text::JsonValue own = group.value().find("format");
            if (own.is_string() || before.is_string())
                out_.key("format").copy(own.is_string() ? own : before);
            out_.end_object();
        }
    }

    // Caches, transforms, versions: what is not about groups of weights.
    void copy_members()
    {
        for (text::JsonMember member = model_.source.first(); !member.done(); member = member.next()) {
            bool written = false;
            for (const char* own : {"quant_method", "format", "quantization_status", "config_groups", "ignore"})
                written = written || member.name().equals(own);
            if (!written)
                out_.key(member.name().text(), member.name().length()).copy(member.value());
        }
    }

    void write_defaults() { out_.key("kv_cache_scheme").null().key("global_compression_ratio").null(); }

    const WrittenModel& model_;
    text::JsonWriter& out_;
    Report& report_;
    Array<int32_t> groups_; // of each weight
    CompressedScheme schemes_[kSchemeLimit];
    int64_t used_[kSchemeLimit] = {};
    int32_t scheme_count_ = 0;
    int32_t most_used_ = 0;
};

} // namespace

moeq_status write_compressed_tensors_config(const WrittenModel& model, text::JsonWriter& out, Report& report)
{
    return ConfigWriter(model, out, report).run();
}

} // namespace moeq::store
