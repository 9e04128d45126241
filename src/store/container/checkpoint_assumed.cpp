// A checkpoint of files that are not there yet.
#include "store/container/checkpoint.h"

namespace moeq::store {

moeq_status Checkpoint::assume(const AssumedFile* files, int64_t count, Array<char>* config, const AssumedBytes& bytes,
                               Report& report)
{
    assumed_ = bytes;
    for (int64_t i = 0; i < count; ++i)
        MOEQ_TRY(assume_file(files[i], report));
    if (!config->empty()) {
        config_.text.swap(*config);
        const text::JsonRules rules{.python_words = true, .what = kConfigFile};
        MOEQ_TRY(config_.document.parse(config_.text.data(), config_.text.size(), rules, report));
        config_.read = true;
    }
    return order_names(report);
}

moeq_status Checkpoint::assume_file(const AssumedFile& file, Report& report)
{
    if (!files_.reserve(files_.size() + 1) || !tensors_.reserve(tensors_.size() + file.entry_count))
        return report.out_of_memory(static_cast<uint64_t>(file.entry_count) * sizeof(CheckpointTensor));
    CheckpointFile* const added = create<CheckpointFile>(allocator_, allocator_);
    if (added == nullptr)
        return report.out_of_memory(sizeof(CheckpointFile));
    files_.append_reserved(&added, 1);
    MOEQ_TRY(added->file.assume(file.name, report));
    FileHeader& header = added->header;
    if (!header.text.reserve(file.metadata_length))
        return report.out_of_memory(static_cast<uint64_t>(file.metadata_length));
    header.text.append_reserved(file.metadata, file.metadata_length);
    MOEQ_TRY(header.metadata_document.parse(header.text.data(), header.text.size(), text::JsonRules(), report));
    header.has_metadata = true;
    added->first_tensor = tensors_.size();
    added->tensor_count = file.entry_count;
    for (int64_t i = 0; i < file.entry_count; ++i) {
        const CheckpointTensor tensor = {file.entries[i], files_.size() - 1};
        tensors_.append_reserved(&tensor, 1);
        bytes_ += file.entries[i].bytes;
    }
    return MOEQ_OK;
}

} // namespace moeq::store
