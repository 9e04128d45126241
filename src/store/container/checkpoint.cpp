#include "store/container/checkpoint.h"

#include <algorithm>
#include <cstring>

#include <fcntl.h>

#include "store/container/folder.h"

namespace moeq::store {

namespace {

Failure refuse(moeq_status status, const char* class_id, Report& report)
{
    Failure failure = report.fail(status);
    report.set_class(class_id);
    return failure;
}

// What begins with a dot is hidden, or being written.
bool is_container(const char* name) { return name[0] != '.' && ends_with(name, kContainerSuffix); }

bool less_text(const char* a, const char* b) { return std::strcmp(a, b) < 0; }

} // namespace

Checkpoint::Checkpoint(Allocator& allocator)
    : allocator_(allocator), files_(allocator), tensors_(allocator), order_(allocator), config_(allocator),
      stray_text_(allocator), strays_(allocator)
{
}

Checkpoint::~Checkpoint()
{
    for (CheckpointFile* file : files_)
        destroy(allocator_, file);
}

moeq_status Checkpoint::open(const char* path, int64_t header_limit, bool map, Report& report, const FileRules& rules)
{
    rules_ = rules;
    header_limit_ = header_limit == 0 ? kHeaderLimit : header_limit;
    map_ = map;
    bool found = false;
    MOEQ_TRY(directory_.open_if_directory(AT_FDCWD, path, &found, report));
    if (found)
        return open_directory(path, report);
    MOEQ_TRY(add_file(AT_FDCWD, nullptr, path, report));
    MOEQ_TRY(read_config_beside(path, report));
    return order_names(report);
}

// Beside the name that was given: a link of a hub's cache leads to where no other file has its name.
moeq_status Checkpoint::read_config_beside(const char* path, Report& report)
{
    const char* const last = std::strrchr(path, '/');
    const int64_t folder = last == nullptr ? 0 : last - path + 1;
    Array<char> name(allocator_);
    const int64_t length = static_cast<int64_t>(std::strlen(kConfigFile));
    if (!name.reserve(folder + length + 1))
        return report.out_of_memory(static_cast<uint64_t>(folder + length + 1));
    name.append_reserved(path, folder);
    name.append_reserved(kConfigFile, length + 1);
    if (!is_there(AT_FDCWD, name.data()))
        return MOEQ_OK;
    File file(allocator_);
    MOEQ_TRY(file.open(AT_FDCWD, name.data(), report));
    return parse_json(file, {.python_words = true, .what = kConfigFile}, &config_, report);
}

moeq_status Checkpoint::open_directory(const char* path, Report& report)
{
    if (directory_.has(kPlanFile) && !directory_.has(kReportFile))
        return (refuse(MOEQ_ERROR_INCOMPLETE, "F28", report) << "directory ").quoted(path)
               << ": got a conversion that is not finished; want the directory that it ends in; the command that began "
                  "it, "
                  "given again, goes on";
    return open_files(path, report);
}

moeq_status Checkpoint::open_folder(int folder, const char* shown, Report& report)
{
    MOEQ_TRY(directory_.open(folder, ".", report));
    return open_files(shown, report);
}

moeq_status Checkpoint::open_files(const char* path, Report& report)
{
    if (directory_.has(kConfigFile))
        MOEQ_TRY(read_json(kConfigFile, {.python_words = true, .what = kConfigFile}, &config_, report));
    return directory_.has(kIndexFile) ? open_index(path, report) : open_only_file(path, report);
}

moeq_status Checkpoint::read_json(const char* name, const text::JsonRules& rules, Json* out, Report& report) const
{
    File file(allocator_);
    MOEQ_TRY(file.open(directory_.descriptor(), name, report));
    return parse_json(file, rules, out, report);
}

moeq_status Checkpoint::parse_json(const File& file, const text::JsonRules& rules, Json* out, Report& report) const
{
    MOEQ_TRY(read_text(file, header_limit_, &out->text, report));
    MOEQ_TRY(out->document.parse(out->text.data(), out->text.size() - 1, rules, report));
    if (!out->document.root().is_object())
        return refuse(MOEQ_ERROR_FORMAT, "F12", report)
               << rules.what << ": got " << out->document.root().kind_name() << "; want an object";
    out->read = true;
    return MOEQ_OK;
}

// A directory without an index: the file is the only one of its kind.
moeq_status Checkpoint::open_only_file(const char* path, Report& report)
{
    FolderNames names(allocator_);
    MOEQ_TRY(names.read(directory_.descriptor(), report));
    int64_t count = 0;
    for (int64_t i = 0; i < names.size(); ++i)
        count += is_container(names[i]) ? 1 : 0;
    if (count == 1 || (count > 1 && rules_.all)) {
        for (int64_t i = 0; i < names.size(); ++i)
            if (is_container(names[i]))
                MOEQ_TRY(add_file(directory_.descriptor(), path, names[i], report));
        return order_names(report);
    }
    return (refuse(count == 0 ? MOEQ_ERROR_NOT_FOUND : MOEQ_ERROR_FORMAT, count == 0 ? "" : "F28", report)
            << "directory ")
               .quoted(path)
           << ": got no " << kIndexFile << " and " << count
           << " files that end in .safetensors; want the index, or one file";
}

// The files that the index names, sorted, then all that it says against all that they hold.
moeq_status Checkpoint::open_index(const char* path, Report& report)
{
    Json index(allocator_);
    MOEQ_TRY(read_json(kIndexFile, {.what = kIndexFile}, &index, report));
    const text::JsonValue weight_map = index.document.root().find("weight_map");
    if (!weight_map.is_object())
        return refuse(MOEQ_ERROR_FORMAT, "F28", report)
               << kIndexFile << ": got " << weight_map.kind_name() << " as weight_map; want an object";
    Array<const char*> names(allocator_);
    if (!names.reserve(weight_map.size()))
        return report.out_of_memory(static_cast<uint64_t>(weight_map.size()) * sizeof(char*));
    for (text::JsonMember member = weight_map.first(); !member.done(); member = member.next()) {
        const text::JsonValue file = member.value();
        if (!file.is_string() || !is_plain_name(file.text(), file.length()))
            return ((refuse(MOEQ_ERROR_FORMAT, "F17", report) << kIndexFile << ": tensor ").quoted(member.name().text())
                    << ": got the file ")
                       .quoted(file.text())
                   << "; want the plain name of a file in the same directory";
        const char* const name = file.text();
        if (names.empty() || std::strcmp(names[names.size() - 1], name) != 0)
            names.append_reserved(&name, 1);
    }
    std::sort(names.begin(), names.end(), less_text);
    for (int64_t i = 0; i < names.size(); ++i)
        if (i == 0 || std::strcmp(names[i - 1], names[i]) != 0)
            MOEQ_TRY(add_shard(path, names[i], report));
    MOEQ_TRY(add_strays(path, names, report));
    MOEQ_TRY(order_names(report));
    return check_index(weight_map, report);
}

// Files that the index does not name: part of the checkpoint where all are, else only known by name. named: sorted.
moeq_status Checkpoint::add_strays(const char* path, const Array<const char*>& named, Report& report)
{
    FolderNames names(allocator_);
    MOEQ_TRY(names.read(directory_.descriptor(), report));
    for (int64_t i = 0; i < names.size(); ++i) {
        if (!is_container(names[i]) || std::binary_search(named.begin(), named.end(), names[i], less_text))
            continue;
        if (rules_.all) {
            MOEQ_TRY(add_file(directory_.descriptor(), path, names[i], report));
            continue;
        }
        const int64_t length = static_cast<int64_t>(std::strlen(names[i])) + 1;
        if (!stray_text_.reserve(stray_text_.size() + length) || !strays_.append(stray_text_.size()))
            return report.out_of_memory(static_cast<uint64_t>(length));
        stray_text_.append_reserved(names[i], length);
    }
    return MOEQ_OK;
}

moeq_status Checkpoint::add_shard(const char* folder, const char* name, Report& report)
{
    moeq_error error{};
    Report inner(report.function(), &error);
    const moeq_status status = add_file(directory_.descriptor(), folder, name, inner);
    if (status == MOEQ_OK)
        return MOEQ_OK;
    if (status != MOEQ_ERROR_NOT_FOUND)
        return report.take_over(error);
    Failure failure = refuse(MOEQ_ERROR_NOT_FOUND, "F28", report);
    report.set_os_error(error.os_error);
    ((failure << "directory ").quoted(folder) << ": got no file ").quoted(name);
    return failure << "; want all files that " << kIndexFile << " names; download it";
}

moeq_status Checkpoint::check_index(const text::JsonValue& weight_map, Report& report)
{
    Array<bool> named(allocator_);
    if (!named.resize(tensor_count(), false))
        return report.out_of_memory(static_cast<uint64_t>(tensor_count()));
    for (text::JsonMember member = weight_map.first(); !member.done(); member = member.next()) {
        const text::JsonValue name = member.name();
        const int64_t tensor = find(name.text(), name.length());
        const char* const wanted = member.value().text();
        const char* const found = tensor < 0 ? nullptr : files_[tensors_[tensor].file]->file.name();
        if (found == nullptr || std::strcmp(found, wanted) != 0) {
            Failure failure = refuse(MOEQ_ERROR_FORMAT, "F28", report);
            ((failure << kIndexFile << ": tensor ").quoted(name.text()) << ": got ").quoted(wanted);
            if (found == nullptr)
                return failure << " as its file, which does not have it";
            return (failure << " as its file, but it is in ").quoted(found);
        }
        named[tensor] = true;
    }
    first_unlisted_ = std::find(named.begin(), named.end(), false) - named.begin();
    unlisted_ = rules_.all ? 0 : std::count(named.begin(), named.end(), false);
    if (unlisted_ == 0) {
        first_unlisted_ = -1;
        return MOEQ_OK;
    }
    if (!rules_.strict)
        return MOEQ_OK;
    const CheckpointTensor& tensor = tensors_[first_unlisted_];
    return (((refuse(MOEQ_ERROR_FORMAT, "F28", report) << "file ").quoted(files_[tensor.file]->file.name())
             << ": tensor ")
                .quoted(tensor.entry.name)
            << ": is not in ")
           << kIndexFile << "; want every tensor of the files there";
}

moeq_status Checkpoint::add_file(int directory, const char* folder, const char* path, Report& report)
{
    if (!files_.reserve(files_.size() + 1))
        return report.out_of_memory(sizeof(CheckpointFile*));
    CheckpointFile* const added = create<CheckpointFile>(allocator_, allocator_);
    if (added == nullptr)
        return report.out_of_memory(sizeof(CheckpointFile));
    files_.append_reserved(&added, 1);
    MOEQ_TRY(added->file.open(directory, path, report, folder));
    MOEQ_TRY(read_header(added->file, header_limit_, &added->header, report));
    if (map_)
        MOEQ_TRY(added->file.map(report));
    added->first_tensor = tensors_.size();
    added->tensor_count = added->header.entries.size();
    if (!tensors_.reserve(tensors_.size() + added->tensor_count))
        return report.out_of_memory(static_cast<uint64_t>(added->tensor_count) * sizeof(CheckpointTensor));
    for (const FileEntry& entry : added->header.entries) {
        const CheckpointTensor tensor = {entry, files_.size() - 1};
        tensors_.append_reserved(&tensor, 1);
        bytes_ += entry.bytes; // cannot overflow: bytes of files that are there
    }
    added->header.entries.clear();
    return MOEQ_OK;
}

moeq_status Checkpoint::order_names(Report& report)
{
    const auto name = [this](int64_t i) { return name_at(i); };
    if (!order_.reserve(tensor_count()))
        return report.out_of_memory(static_cast<uint64_t>(tensor_count()) * sizeof(uint64_t));
    for (int64_t i = 0; i < tensor_count(); ++i)
        order_.add(i, name_at(i));
    order_.sort(name);
    const int64_t duplicate = order_.find_duplicate(name);
    if (duplicate < 0)
        return MOEQ_OK;
    const CheckpointTensor& tensor = tensors_[duplicate];
    return ((refuse(MOEQ_ERROR_FORMAT, "F11", report) << "file ").quoted(files_[tensor.file]->file.name())
            << ": tensor ")
               .quoted(tensor.entry.name)
           << ": is in another file too; want each tensor once";
}

int64_t Checkpoint::find(const char* name, int64_t length) const
{
    return order_.find({name, length}, [this](int64_t i) { return name_at(i); });
}

moeq_status Checkpoint::read(int64_t tensor, int64_t begin, int64_t count, void* out, Report& report) const
{
    const FileEntry& entry = tensors_[tensor].entry;
    if (begin < 0 || count < 0 || begin > entry.bytes - count)
        return report.internal("a read beyond a tensor");
    if (assumed_.read != nullptr)
        return assumed_.read(assumed_.owner, tensor, begin, count, out, report);
    const char* const mapping = mapped(tensor);
    if (mapping == nullptr)
        return files_[tensors_[tensor].file]->file.read(entry.offset + begin, out, count, report);
    if (count != 0)
        std::memcpy(out, mapping + begin, static_cast<uint64_t>(count));
    return MOEQ_OK;
}

const char* Checkpoint::mapped(int64_t tensor) const
{
    const CheckpointTensor& found = tensors_[tensor];
    const char* const mapping = files_[found.file]->file.mapping();
    return mapping == nullptr ? nullptr : mapping + found.entry.offset;
}

} // namespace moeq::store
