// index, config.json and the small files of the source.
#include <algorithm>
#include <cstring>

#include "store/convert/finish.h"

namespace moeq {

namespace {

constexpr int64_t kSmallFile = 64 << 20; // larger ones are no part of what a model needs besides its weights

// Weights in any container, and their indices.
constexpr const char* kWeightFiles[] = {kContainerSuffix, ".index.json", ".bin",     ".pth", ".pt",
                                        ".gguf",          ".h5",         ".msgpack", ".onnx"};

bool is_side_file(const char* name)
{
    if (name[0] == '.' || std::strcmp(name, kPlanFile) == 0 || std::strcmp(name, kReportFile) == 0)
        return false;
    if (std::strncmp(name, "unit-", 5) == 0 && ends_with(name, ".json"))
        return false;
    for (const char* end : kWeightFiles)
        if (ends_with(name, end))
            return false;
    return true;
}

// Names of tensors, and the unit that each is in.
class WeightMap {
public:
    WeightMap(const Conversion& conversion, Report& report)
        : c_(conversion), report_(report), text_(conversion.allocator), places_(conversion.allocator)
    {
    }

    moeq_status collect()
    {
        for (int64_t u = 0; u < c_.plan.units.size(); ++u) {
            const PlanUnit& unit = c_.plan.units[u];
            for (int64_t i = unit.first_item; i < unit.first_item + unit.item_count; ++i)
                MOEQ_TRY(collect_item(u, c_.plan.items[i]));
        }
        const char* text = text_.data();
        std::sort(places_.begin(), places_.end(),
                  [text](const Place& a, const Place& b) { return std::strcmp(text + a.name, text + b.name) < 0; });
        return MOEQ_OK;
    }

    void write(JsonWriter& json) const
    {
        char file[Plan::kFileNameLimit];
        json.begin_object();
        json.key("metadata").begin_object().key("total_size").integer(bytes_).end_object();
        json.key("weight_map").begin_object();
        for (const Place& place : places_)
            json.key(text_.data() + place.name).string(c_.plan.file_name(place.unit, file));
        json.end_object().end_object();
    }

private:
    struct Place {
        int64_t name; // offset
        int64_t unit;
    };

    moeq_status collect_item(int64_t unit, const PlanItem& item)
    {
        if (item.kind == ItemKind::kCopy) {
            const FileEntry& entry = c_.checkpoint.tensor(item.source).entry;
            const int64_t start = text_.size();
            if (!text_.reserve(start + entry.name_length + 1))
                return report_.out_of_memory(static_cast<uint64_t>(start));
            text_.append_reserved(entry.name, entry.name_length + 1);
            return add(start, unit, entry.bytes);
        }
        for (int64_t n = 0; n < item.name_count; ++n) {
            DialectEntries entries(c_.allocator);
            const char* name = c_.plan.name(item.first_name + n);
            MOEQ_TRY(c_.plan.dialect->list(item.out, name, &entries, report_));
            for (int32_t i = 0; i < entries.count; ++i) {
                const int64_t start = text_.size();
                if (!append_entry_name(name, entries.entries[i], &text_))
                    return report_.out_of_memory(static_cast<uint64_t>(start));
                MOEQ_TRY(add(start, unit, entries.entries[i].bytes));
            }
        }
        return MOEQ_OK;
    }

    moeq_status add(int64_t name, int64_t unit, int64_t bytes)
    {
        const Place place{name, unit};
        if (!places_.append(place))
            return report_.out_of_memory(static_cast<uint64_t>(places_.size()) * sizeof place);
        bytes_ += bytes;
        return MOEQ_OK;
    }

    const Conversion& c_;
    Report& report_;
    Array<char> text_;
    Array<Place> places_;
    int64_t bytes_ = 0;
};

// Whether a member tells how the source is quantized, which is not true of the target.
bool is_about_quantization(const JsonMember& member)
{
    for (const char* name : {"quantization_config", "compression_config", "modelopt_quant_config"})
        if (member.name().equals(name))
            return true;
    return member.name().equals("quantization") && member.value().is_object(); // of ModelOpt and MLX
}

// Models in parts say it in one of them, whatever that is called.
void copy_members(const JsonValue& config, JsonWriter& json)
{
    for (JsonMember member = config.first(); !member.done(); member = member.next()) {
        if (is_about_quantization(member))
            continue;
        json.key(member.name().text(), member.name().length());
        if (member.value().is_object()) {
            json.begin_object();
            copy_members(member.value(), json);
            json.end_object();
        } else {
            json.copy(member.value());
        }
    }
}

} // namespace

moeq_status SideFiles::add(const char* name, const Array<char>& text, int64_t bytes)
{
    MOEQ_TRY(write_file(c_.allocator, c_.folder(), name, text.data(), bytes, c_.durable, report_));
    const SideFile file{name, digest_of(text.data(), bytes)};
    return files_.append(file) ? MOEQ_OK : report_.out_of_memory(sizeof file);
}

moeq_status SideFiles::write_index()
{
    WeightMap map(c_, report_);
    MOEQ_TRY(map.collect());
    Array<char> text(c_.allocator);
    JsonWriter json(text);
    map.write(json);
    if (!json.ok())
        return report_.out_of_memory(static_cast<uint64_t>(text.size()));
    return add(kIndexFile, text, text.size());
}

moeq_status SideFiles::write_config()
{
    Array<char> text(c_.allocator);
    JsonWriter json(text);
    if (c_.plan.has_new_weights) {
        json.begin_object();
        copy_members(c_.checkpoint.config(), json);
        json.key("quantization_config");
        MOEQ_TRY(c_.plan.write_config(c_.checkpoint, c_.weights, json, report_));
        json.end_object();
    } else {
        json.copy(c_.checkpoint.config());
    }
    if (!json.ok())
        return report_.out_of_memory(static_cast<uint64_t>(text.size()));
    return add(kConfigFile, text, text.size());
}

moeq_status SideFiles::copy_small_files()
{
    const int folder = c_.checkpoint.directory().descriptor();
    MOEQ_TRY(source_names_.read(folder, report_));
    for (int64_t i = 0; i < source_names_.size(); ++i) {
        const char* name = source_names_[i];
        int64_t bytes = -1;
        if (!is_side_file(name))
            continue;
        MOEQ_TRY(find_bytes(folder, name, &bytes, report_));
        if (bytes < 0 || bytes > kSmallFile)
            continue;
        if (c_.plan.has_new_weights && (std::strcmp(name, kConfigFile) == 0 || is_about_source(name)))
            continue;
        File file(c_.allocator);
        Array<char> text(c_.allocator);
        MOEQ_TRY(file.open(folder, name, report_));
        MOEQ_TRY(read_text(file, kSmallFile, &text, report_));
        MOEQ_TRY(add(name, text, text.size() - 1));
    }
    return MOEQ_OK;
}

moeq_status SideFiles::write()
{
    MOEQ_TRY(write_index());
    const bool is_directory = c_.checkpoint.is_directory();
    // What a single file has beside it may belong to others: all but this one.
    if (!c_.checkpoint.config().missing() && (c_.plan.has_new_weights || !is_directory))
        MOEQ_TRY(write_config());
    return is_directory ? copy_small_files() : MOEQ_OK;
}

} // namespace moeq
