#include "store/convert/side_files.h"

#include <cstring>

#include "store/convert/planned_tensors.h"
#include "store/convert/unit.h"

namespace moeq::store {

namespace {

constexpr int64_t kSmallFile = 64 << 20; // larger ones are no part of what a model needs besides its weights

// Weights in any container, and their indices.
constexpr const char* kWeightFiles[] = {kContainerSuffix, ".index.json", ".bin",     ".pth", ".pt",
                                        ".gguf",          ".h5",         ".msgpack", ".onnx"};

bool is_of_conversion(const char* name)
{
    return std::strcmp(name, kPlanFile) == 0 || std::strcmp(name, kReportFile) == 0 ||
           (std::strncmp(name, "unit-", 5) == 0 && ends_with(name, ".json"));
}

bool is_of_weights(const char* name)
{
    for (const char* end : kWeightFiles)
        if (ends_with(name, end))
            return true;
    return false;
}

bool is_hidden(const char* name) { return name[0] == '.'; }

// *out: whether something of a folder belongs beside the weights of a target too.
moeq_status is_side_file(int folder, const char* name, bool* out, Report& report)
{
    *out = !is_hidden(name) && !is_of_conversion(name) && !is_of_weights(name);
    if (!*out)
        return MOEQ_OK;
    int64_t bytes = -1; // of what is no file
    MOEQ_TRY(find_bytes(folder, name, &bytes, report));
    *out = bytes >= 0 && bytes <= kSmallFile;
    return MOEQ_OK;
}

// Whether a member tells how the source is quantized, which is not true of the target.
bool is_about_quantization(const text::JsonMember& member)
{
    for (const char* name : {"quantization_config", "compression_config", "modelopt_quant_config"})
        if (member.name().equals(name))
            return true;
    return member.name().equals("quantization") && member.value().is_object(); // of ModelOpt and MLX
}

// Models in parts say it in one of them, whatever that is called.
void copy_members(const text::JsonValue& config, text::JsonWriter& json)
{
    for (text::JsonMember member = config.first(); !member.done(); member = member.next()) {
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

SideFiles::SideFiles(const Conversion& conversion, Report& report)
    : c_(conversion), report_(report), source_names_(conversion.allocator), files_(conversion.allocator)
{
}

moeq_status SideFiles::add(const char* name, const Array<char>& text, int64_t bytes)
{
    MOEQ_TRY(write_file(c_.allocator, c_.folder(), name, text.data(), bytes, c_.durable, report_));
    const SideFile file{name, digest_of(text.data(), bytes)};
    return files_.append(file) ? MOEQ_OK : report_.out_of_memory(sizeof file);
}

moeq_status write_target_config(const Plan& plan, const Checkpoint& source, const Weights& weights,
                                text::JsonWriter& json, Report& report)
{
    if (!plan.has_new_weights) {
        json.copy(source.config());
        return MOEQ_OK;
    }
    json.begin_object();
    copy_members(source.config(), json);
    if (!plan.is_dense) {
        json.key("quantization_config");
        MOEQ_TRY(plan.write_config(source, weights, json, report));
    }
    json.end_object();
    return MOEQ_OK;
}

// Names of tensors, sorted, and the file of the unit that each is in.
moeq_status SideFiles::write_index()
{
    PlannedTensors planned(c_.allocator);
    MOEQ_TRY(planned.list(c_.plan, c_.checkpoint, report_));
    int64_t bytes = 0;
    for (const FileEntry& entry : planned.entries)
        bytes += entry.bytes;
    Array<char> text(c_.allocator);
    char file[Plan::kFileNameLimit];
    text::JsonWriter json(text);
    json.begin_object();
    json.key("metadata").begin_object().key("total_size").integer(bytes).end_object();
    json.key("weight_map").begin_object();
    for (const int64_t i : planned.sorted)
        json.key(planned.entries[i].name).string(c_.plan.file_name(planned.origins[i].unit, file));
    json.end_object().end_object();
    if (!json.ok())
        return report_.out_of_memory(static_cast<uint64_t>(text.size()));
    return add(kIndexFile, text, text.size());
}

moeq_status SideFiles::write_config()
{
    Array<char> text(c_.allocator);
    text::JsonWriter json(text);
    MOEQ_TRY(write_target_config(c_.plan, c_.checkpoint, c_.weights, json, report_));
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
        bool beside = false;
        MOEQ_TRY(is_side_file(folder, name, &beside, report_));
        if (!beside)
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

moeq_status find_left_files(const Checkpoint& source, FolderNames* names, int64_t* count, const char** first,
                            Report& report)
{
    *count = 0;
    if (!source.is_directory())
        return MOEQ_OK;
    const int folder = source.directory().descriptor();
    MOEQ_TRY(names->read(folder, report));
    for (int64_t i = 0; i < names->size(); ++i) {
        const char* name = (*names)[i];
        bool beside = false;
        if (is_hidden(name) || is_of_conversion(name) || ends_with(name, kContainerSuffix) ||
            ends_with(name, ".index.json"))
            continue;
        MOEQ_TRY(is_side_file(folder, name, &beside, report));
        if (!beside && (*count)++ == 0)
            *first = name;
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

} // namespace moeq::store
